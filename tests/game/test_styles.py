"""The style parts: complete, well formed, and following every face."""

from __future__ import annotations

import numpy as np
import pytest

from game.rig import Rig
from game.style_parts import HairStyle, Part, linear_rgb
from game.styles import EYEWEAR, TEXTURE_SHAPE, Styles, palettes, texture_coordinates
from sdk.schema import REFERENCE

HAIR = REFERENCE.slot("hair").options
STYLES = Styles.load()
BASE = Rig.load().base
PARTS: list[Part] = [part for part in (*STYLES.hair, *STYLES.eyewear) if part is not None]
PUPIL, MOUTH = (0.31, 7.285), (0.0, 6.57)


def by_name(part: Part) -> str:
    return part.name


def hair_style(name: str) -> HairStyle:
    style = STYLES.hair[HAIR.index(name)]
    assert style is not None
    return style


def test_every_option_has_its_part() -> None:
    assert [style and style.name for style in STYLES.hair] == [None, *HAIR[1:]]
    assert [wear and wear.name for wear in STYLES.eyewear] == [None, *EYEWEAR[1:]]
    for slot, textures in (("hair", STYLES.scalp), ("brow", STYLES.brow), ("beard", STYLES.beard)):
        assert textures.shape == (len(REFERENCE.slot(slot).options), *TEXTURE_SHAPE)
        assert textures.dtype == np.uint8


@pytest.mark.parametrize("part", PARTS, ids=by_name)
def test_part_is_well_formed(part: Part) -> None:
    count = len(part.vertices)
    assert part.triangles.min() >= 0
    assert part.triangles.max() < count
    np.testing.assert_allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(part.anchors.weights.sum(1), 1, atol=1e-5)
    assert part.anchors.weights.min() >= 0
    assert part.anchors.indices.max() < len(BASE)
    assert 0 <= part.anchors.share.min() <= part.anchors.share.max() <= 1
    if isinstance(part, HairStyle):
        assert part.across.size / 2 >= 1000
        assert len(part.triangles) <= 26000, "the renderer's speed depends on it"
        for values in (part.along, part.random, part.openness):
            assert 0 <= values.min() <= values.max() <= 1
        np.testing.assert_allclose(np.linalg.norm(part.tangents, axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("part", PARTS, ids=by_name)
def test_base_face_gives_the_rest_shape(part: Part) -> None:
    np.testing.assert_allclose(part.attach(BASE), part.vertices, atol=1e-5)


@pytest.mark.parametrize("part", PARTS, ids=by_name)
def test_part_follows_the_face(part: Part) -> None:
    shift = np.array([0.2, -0.1, 0.3], np.float32)
    np.testing.assert_allclose(part.attach(BASE + shift), part.vertices + shift, atol=1e-4)
    wide = BASE * np.array([1.2, 1, 1], np.float32)
    assert np.ptp(part.attach(wide)[:, 0]) > 1.1 * np.ptp(part.vertices[:, 0])


@pytest.mark.parametrize("part", PARTS, ids=by_name)
def test_pose_weights_are_shares(part: Part) -> None:
    weights = part.pose_weights(Rig.load().pose_weights)
    assert weights.shape == (len(part.vertices),)
    assert weights.min() >= 0
    assert weights.max() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", HAIR[1:])
def test_hair_leaves_eyes_and_mouth_free(name: str) -> None:
    in_front = hair_style(name).vertices
    in_front = in_front[in_front[:, 2] > 0.6]
    for side in (-1, 1):
        eye = (np.abs(in_front[:, 0] - side * PUPIL[0]) < 0.17) & (np.abs(in_front[:, 1] - PUPIL[1]) < 0.10)
        assert not eye.any()
    assert not ((np.abs(in_front[:, 0]) < 0.35) & (np.abs(in_front[:, 1] - MOUTH[1]) < 0.25)).any()


def test_styles_have_their_silhouettes() -> None:
    lowest = {name: hair_style(name).vertices[:, 1].min() for name in HAIR[1:]}
    highest = {name: hair_style(name).vertices[:, 1].max() for name in HAIR[1:]}
    assert lowest["long"] < lowest["wavy"] < lowest["bob"] < lowest["short"]
    assert highest["spiky"] > highest["short"] > highest["buzz"]
    assert np.ptp(hair_style("curly").vertices[:, 0]) > np.ptp(hair_style("short").vertices[:, 0]) + 0.2
    fringe = hair_style("fringe").vertices
    assert fringe[(np.abs(fringe[:, 0]) < 0.3) & (fringe[:, 2] > 1.2), 1].min() < 7.62


def test_hair_stays_out_of_the_head() -> None:
    """Strands' middle lines run nowhere deeper than 3 mm under the skin that is nearest to them."""
    rig = Rig.load()
    corners = BASE[rig.triangles]
    middle = corners.mean(1)
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    skin = (rig.part == 0) & (rig.masks["mouth_interior"][rig.triangles].max(1) < 0.5) & (np.linalg.norm(face, axis=1) > 0)
    middle, face = middle[skin], face[skin] / np.linalg.norm(face[skin], axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    for name in HAIR[1:]:
        points = hair_style(name).vertices.reshape(-1, 2, 3).mean(1)
        points = points[points[:, 1] > 6.1]  # lower down hair sinks into the shoulders
        points = points[rng.choice(len(points), 400, replace=False)]
        nearest = (((points[:, None] - middle) ** 2).sum(-1)).argmin(1)
        depth = -((points - middle[nearest]) * face[nearest]).sum(1)
        assert np.quantile(depth, 0.99) < 0.03, name


def test_bald_and_clean_shaven_paint_nothing() -> None:
    assert not STYLES.scalp[0].any()
    assert not STYLES.beard[REFERENCE.slot("beard").index("none")].any()


def value_at(texture: np.ndarray, point: tuple[float, float, float]) -> float:
    """Mean around the texel of a base position, in [0, 1]."""
    s, t = texture_coordinates(np.array(point))
    row, column = int(t * TEXTURE_SHAPE[0]), int(s * TEXTURE_SHAPE[1])
    return float(texture[row - 3 : row + 4, column - 3 : column + 4].mean() / 255)


def test_textures_paint_where_they_should() -> None:
    for side in (-1, 1):
        for brow in STYLES.brow:
            assert brow.max() > 180
            assert value_at(brow, (side * 0.31, 7.285, 1.4)) == 0, "no brow on the eye"
        natural = STYLES.brow[0]
        assert value_at(natural, (side * 0.36, 7.505, 1.38)) > 0.25
    beard = dict(zip(REFERENCE.slot("beard").options, STYLES.beard, strict=True))
    lip, chin, cheek, forehead = (0.1, 6.71, 1.55), (0.0, 6.22, 1.45), (0.62, 6.55, 0.95), (0.0, 7.7, 1.5)
    painted = {name: [value_at(texture, p) > 0.1 for p in (lip, chin, cheek, forehead)] for name, texture in beard.items()}
    assert painted["moustache"] == [True, False, False, False]
    assert painted["goatee"] == [True, True, False, False]
    assert painted["full"] == painted["stubble"] == [True, True, True, False]
    assert value_at(beard["full"], chin) > value_at(beard["stubble"], chin) + 0.2
    assert value_at(STYLES.lips, (0.0, 6.62, 1.58)) > 0.5 > value_at(STYLES.lips, (0.0, 6.2, 1.45))
    for scalp in STYLES.scalp[1:]:
        assert value_at(scalp, (0.5, 8.15, 0.6)) > 0.7
        assert value_at(scalp, (0.0, 7.6, 1.5)) == 0


def test_brows_and_lips_are_symmetric() -> None:
    for texture in (*STYLES.brow, STYLES.lips):
        np.testing.assert_array_equal(texture, texture[:, ::-1])


def test_brow_options_differ() -> None:
    flat = STYLES.brow.reshape(len(STYLES.brow), -1).astype(np.float32)
    for i, first in enumerate(flat):
        for second in flat[:i]:
            assert np.minimum(first, second).sum() / np.maximum(first, second).sum() < 0.6


def test_detail_is_centred_and_tiles() -> None:
    detail = STYLES.detail.astype(np.float32) - 128
    assert np.abs(detail.mean((0, 1))).max() < 2
    inside = np.abs(np.diff(detail, axis=0)).mean()
    assert np.abs(detail[0] - detail[-1]).mean() < 1.5 * inside


def test_palettes_follow_the_schema() -> None:
    colours = palettes()
    assert set(colours) == {"skin", "hair_colour", "iris", "lip"}
    for slot in REFERENCE.style:
        if slot.colours:
            assert colours[slot.name].shape == (len(slot.options), 3)
            assert colours[slot.name].dtype == np.float32
    np.testing.assert_allclose(linear_rgb(("#000000", "#ffffff", "#808080"))[:, 0], [0, 1, 0.2159], atol=1e-3)
    assert np.all(np.diff(colours["skin"].sum(1)) < 0), "skins run from light to dark"


def test_spectacles_sit_before_the_eyes() -> None:
    eyes = BASE[np.unique(Rig.load().triangles[Rig.load().part == 1])]
    for wear in STYLES.eyewear[1:]:
        assert wear is not None
        lens = wear.vertices[wear.material == 1]
        left = lens[lens[:, 0] > 0]
        assert left[:, 2].min() > eyes[:, 2].max() - 0.08
        assert left[:, 1].min() < eyes[:, 1].mean() < left[:, 1].max()
        assert 0 <= wear.lens_opacity <= 1
        assert wear.triangle_is_lens.any()
        assert not wear.triangle_is_lens.all()
