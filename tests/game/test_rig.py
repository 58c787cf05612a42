"""Invariants of the face rig."""

from __future__ import annotations

import numpy as np
import pytest

from game.apertures import GROUPS
from game.character import Character
from game.rig import PARTS, Rig, rotation
from sdk.schema import AXES, EXPRESSION, HANDLES

FLIP = np.array([-1, 1, 1], np.float32)
MILLIMETRE = 0.01  # dm


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig.load()


def unit(name: str, amount: float = 1.0) -> np.ndarray:
    expression = np.zeros(len(EXPRESSION), np.float32)
    expression[EXPRESSION.index(name)] = amount
    return expression


def random_character(rng: np.random.Generator) -> Character:
    return Character(identity=rng.uniform(-1, 1, 244), expression=rng.uniform(0, 1, 23), pose=rng.uniform(-1, 1, 2) * (30, 45))


def test_neutral_is_the_base_face(rig: Rig) -> None:
    np.testing.assert_array_equal(rig.vertices(), rig.base)
    neutral = rig.vertices(np.zeros(244), np.zeros(23), np.zeros(2), np.zeros(2))
    np.testing.assert_allclose(neutral, rig.base, atol=1e-6)


def test_identity_is_its_linear_basis(rig: Rig) -> None:
    identity = np.zeros(244, np.float32)
    # Away from lids and lips, whose correction is not linear.
    for name in ("nose_tip", "chin", "ear", "cranium", "jaw_line"):
        identity[HANDLES.index(name) * len(AXES) : (HANDLES.index(name) + 1) * len(AXES)] = 0.7
    expected = rig.base + np.tensordot(identity, rig.identity_basis, axes=1)
    far = np.setdiff1d(np.arange(len(rig.base)), np.union1d(rig.apertures.moved, rig.apertures.lids))
    np.testing.assert_allclose(rig.vertices(identity)[far], expected[far], atol=1e-5)


def test_every_slider_moves_the_face(rig: Rig) -> None:
    assert (np.linalg.norm(rig.identity_basis, axis=2).max(1) > 0.5 * MILLIMETRE).all()


def test_paired_handles_and_units_are_symmetric(rig: Rig) -> None:
    for name in ("brow_inner", "eye", "cheekbone", "ear"):
        first = HANDLES.index(name) * len(AXES)
        basis = rig.identity_basis[first : first + len(AXES)]
        np.testing.assert_allclose(basis, basis[:, rig.mirror] * FLIP, atol=1e-6)
    for name, basis in zip(EXPRESSION, rig.expression_basis, strict=True):
        if not name.endswith(("left", "right")):
            np.testing.assert_allclose(basis, basis[rig.mirror] * FLIP, atol=1e-6)


def test_mirrored_parameters_give_the_mirrored_face(rig: Rig) -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        character = random_character(rng)
        mirrored = character.mirrored()
        face = rig.vertices(character.identity, character.expression, character.pose, (0.4, -0.3))
        image = rig.vertices(mirrored.identity, mirrored.expression, mirrored.pose, (-0.4, -0.3))
        np.testing.assert_allclose(image, face[rig.mirror] * FLIP, atol=1e-5)


def test_lids_and_lips_never_cross(rig: Rig) -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        vertices = rig.vertices(rng.uniform(-1, 1, 244), rng.uniform(0, 1, 23), None, rng.uniform(-1, 1, 2))
        assert rig.apertures.gaps(vertices).min() > -1e-5


@pytest.mark.parametrize("eye", [0, 1])
def test_eye_close_closes_every_eye(rig: Rig, eye: int) -> None:
    rng = np.random.default_rng(3)
    pairs = rig.apertures.group == eye
    for _ in range(20):
        expression = rng.uniform(0, 1, 23) * (rng.random(23) < 0.3)
        expression[:2] = 0
        expression[eye] = 1
        gaps = rig.apertures.gaps(rig.vertices(rng.uniform(-1, 1, 244), expression))
        assert abs(gaps[pairs]).max() < 1e-5


def test_lids_stay_in_front_of_the_eyeballs(rig: Rig) -> None:
    rng = np.random.default_rng(4)
    apertures = rig.apertures
    for _ in range(20):
        vertices = rig.vertices(rng.uniform(-1, 1, 244), rng.uniform(0, 1, 23))
        balls = vertices[apertures.balls]
        centres = balls.mean(1)
        radius = np.linalg.norm(balls - centres[:, None], axis=2).mean(1)
        offset = vertices[apertures.lids] - centres[apertures.lid_ball]
        in_front = np.hypot(offset[:, 0], offset[:, 1]) < 0.9 * radius[apertures.lid_ball]
        assert (np.linalg.norm(offset, axis=1) > radius[apertures.lid_ball] - MILLIMETRE * 0.1)[in_front].all()


REGIONS = {
    # unit: where its largest movement lies on the base face (x, y, z ranges in dm), and the part of the head that must
    # rest
    "eye_close_left": ((0.1, 0.5), (7.2, 7.45), "mouth"),
    "eye_close_right": ((-0.5, -0.1), (7.2, 7.45), "mouth"),
    "upper_lid_raise": ((-0.5, 0.5), (7.15, 7.45), "mouth"),
    "lid_tighten": ((-0.7, 0.7), (6.9, 7.4), "mouth"),
    "inner_brow_raise": ((-0.3, 0.3), (7.3, 7.8), "mouth"),
    "outer_brow_raise": ((-0.8, 0.8), (7.3, 7.8), "mouth"),
    "brow_lower": ((-0.6, 0.6), (7.3, 7.7), "mouth"),
    "nose_wrinkle": ((-0.5, 0.5), (6.8, 7.6), "chin"),
    "mouth_open": ((-0.6, 0.6), (5.9, 6.7), "brows"),
    "smile": ((-0.6, 0.6), (6.4, 7.1), "brows"),
    "cheek_puff": ((-0.8, 0.8), (6.2, 7.0), "brows"),
    "pucker": ((-0.5, 0.5), (6.3, 6.9), "brows"),
    "jaw_left": ((-1.0, 1.0), (5.9, 6.8), "brows"),
    "lower_lip_depress": ((-0.4, 0.4), (6.0, 6.8), "brows"),
}


@pytest.mark.parametrize("name", REGIONS)
def test_units_move_their_region_only(rig: Rig, name: str) -> None:
    x_range, y_range, resting = REGIONS[name]
    moved = np.linalg.norm(rig.vertices(None, unit(name)) - rig.base, axis=1)
    skin = rig.vertex_part == PARTS.index("skin")
    x, y, _ = rig.base[np.where(skin, moved, 0).argmax()]
    assert x_range[0] <= x <= x_range[1] and y_range[0] <= y <= y_range[1]
    assert moved[skin].max() > 3 * MILLIMETRE
    still = {
        "mouth": rig.masks["lips"] > 0.5,
        "brows": skin & (rig.base[:, 1] > 7.4),
        "chin": skin & (rig.base[:, 1] < 6.4),
    }[resting]
    assert moved[still].max() < 0.5 * MILLIMETRE


@pytest.mark.parametrize("name", EXPRESSION)
def test_every_unit_is_visible(rig: Rig, name: str) -> None:
    moved = np.linalg.norm(rig.landmarks(rig.vertices(None, unit(name))) - rig.landmarks(rig.base), axis=1)
    assert moved.max() > 3 * MILLIMETRE


def test_directions_of_sided_units(rig: Rig) -> None:
    chin, lip = 152, 13
    base = rig.landmarks(rig.base)
    for name, landmark, sign in (
        ("jaw_left", chin, 1),
        ("jaw_right", chin, -1),
        ("mouth_left", lip, 1),
        ("mouth_right", lip, -1),
    ):
        moved = rig.landmarks(rig.vertices(None, unit(name))) - base
        assert sign * moved[landmark, 0] > 4 * MILLIMETRE, name


def test_pose_directions(rig: Rig) -> None:
    nose = 4
    base = rig.landmarks(rig.base)[nose]
    assert rig.landmarks(rig.vertices(pose=(20, 0)))[nose, 1] > base[1]
    assert rig.landmarks(rig.vertices(pose=(0, 20)))[nose, 0] > base[0]
    shoulders = rig.base[:, 1] < 5.0
    np.testing.assert_allclose(rig.vertices(pose=(20, 30))[shoulders], rig.base[shoulders], atol=1e-5)
    np.testing.assert_allclose(rotation(10, 20) @ rotation(10, 20).T, np.eye(3), atol=1e-6)


def test_gaze_turns_the_eyeballs(rig: Rig) -> None:
    front = (rig.vertex_part == PARTS.index("eye_left")) & (rig.base[:, 2] > 1.38)
    for gaze, axis, sign in (((1, 0), 0, 1), ((-1, 0), 0, -1), ((0, 1), 1, 1), ((0, -1), 1, -1)):
        moved = (rig.vertices(gaze=gaze) - rig.base)[front].mean(0)
        assert sign * moved[axis] > 2 * MILLIMETRE


def test_people_lie_inside_the_ranges(rig: Rig) -> None:
    size = np.abs(rig.phenotype_identity)
    assert size.max() <= 1 and np.percentile(size, 99) < 0.9
    assert (size[:, -1] == 0).all(), "global scale cannot be observed"
    woman = rig.phenotype_traits[:, rig.trait_names.index("gender")] > 0.5
    assert 0.3 < woman.mean() < 0.7


def test_landmarks_follow_lids_and_lips(rig: Rig) -> None:
    base = rig.landmarks(rig.base)
    opened = rig.landmarks(rig.vertices(None, unit("mouth_open")))
    upper, lower = 13, 14
    assert (opened[upper] - opened[lower])[1] > (base[upper] - base[lower])[1] + 10 * MILLIMETRE
    closed = rig.landmarks(rig.vertices(None, unit("eye_close_left")))
    assert abs(closed[386, 1] - closed[374, 1]) < 0.5 * MILLIMETRE < 5 * MILLIMETRE < base[386, 1] - base[374, 1]
    assert abs(closed[159] - base[159]).max() < 1e-6, "the right eye rests"


def test_landmarks_are_symmetric_and_68_run_from_right_to_left(rig: Rig) -> None:
    points = rig.landmarks(rig.base)
    np.testing.assert_allclose(points[rig.landmark_mirror] * FLIP, points, atol=0.2 * MILLIMETRE)
    assert sorted(rig.landmark_mirror) == list(range(468)) and rig.landmark_mirror[33] == 263
    points68 = points[rig.landmarks68]
    assert points68.shape == (68, 3)
    # The iBUG order starts at the picture's left, which is the person's own right (x < 0).
    for run in (points68[1:16], points68[17:22], points68[22:27], points68[31:36], points68[48:55]):
        assert (np.diff(run[:, 0]) > 0).all()
    assert points68[36:42, 0].max() < 0 < points68[42:48, 0].min()
    assert points68[8, 1] == points68[:17, 1].min(), "the chin is the middle of the jaw"


def test_arkit_weights_go_there_and_back(rig: Rig) -> None:
    rng = np.random.default_rng(5)
    expression = (rng.uniform(0, 0.8, 23) * (rng.random(23) < 0.4)).astype(np.float32)
    weights = rig.arkit_from_expression(expression)
    assert len(rig.arkit_names) == 52 and weights.min() >= 0 and weights.max() <= 1
    np.testing.assert_allclose(rig.expression_from_arkit(weights), expression, atol=0.02)
    gaze = rig.arkit_from_expression(np.zeros(23), (0.5, 0.25))
    assert {rig.arkit_names[i] for i in np.flatnonzero(gaze)} == {
        "eyeLookOutLeft", "eyeLookInRight", "eyeLookUpLeft", "eyeLookUpRight",
    }  # fmt: skip


def test_mesh_is_consistent(rig: Rig) -> None:
    assert rig.triangles.min() == 0 and rig.triangles.max() == len(rig.base) - 1
    assert rig.uv.shape == (len(rig.triangles), 3, 2) and rig.uv.min() >= 0 and rig.uv.max() <= 1
    assert set(np.unique(rig.part)) == set(range(len(PARTS)))
    assert set(rig.masks) == {"lips", "nose", "ears", "neck", "mouth_interior", "eyelids"}
    assert set(np.unique(rig.apertures.group)) == set(range(len(GROUPS)))


def test_wrong_shapes_are_named(rig: Rig) -> None:
    with pytest.raises(ValueError, match=r"identity must have shape \(244,\)"):
        rig.vertices(np.zeros(243))
    with pytest.raises(ValueError, match="gaze"):
        rig.vertices(gaze=(0, 0, 0))
