"""Random characters and scenes: reproducible, within range, and covering everything there is to learn."""

from __future__ import annotations

import io
import tarfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from game.backgrounds import load_strips
from game.character import Character
from game.sampling import EXCLUSIVE, sample_character, sample_expression, sample_pose
from game.scene import Scene
from game.scene_sampling import sample_background, sample_scene
from game.styles import linear_rgb
from sdk.schema import EXPRESSION, REFERENCE

COUNT = 1500


@pytest.fixture(scope="module")
def characters() -> list[Character]:
    rng = np.random.default_rng(0)
    return [sample_character(rng) for _ in range(COUNT)]


@pytest.fixture(scope="module")
def scenes(characters: list[Character]) -> list[Scene]:
    rng = np.random.default_rng(1)
    return [sample_scene(rng, None, character) for character in characters[:400]]


def test_the_same_generator_gives_the_same_sample() -> None:
    first, second = (sample_character(np.random.default_rng([7, 3])) for _ in range(2))
    assert np.array_equal(first.identity, second.identity) and np.array_equal(first.expression, second.expression)
    assert dict(first.style) == dict(second.style)
    one, other = (sample_scene(np.random.default_rng([7, 3]), None, first) for _ in range(2))
    assert asdict(one.look) == asdict(other.look) and one.camera == other.camera and one.key == other.key
    assert np.array_equal(one.background, other.background)


def test_identities_are_wide_and_leave_the_scale_alone(characters: list[Character]) -> None:
    identity = np.stack([character.identity for character in characters])
    assert np.abs(identity).max() <= 1
    assert np.all(identity[:, -1] == 0)
    assert 0.15 < identity[:, :-1].std() < 0.5
    assert np.all(identity[:, :-1].std(0) > 0.1)


def test_expressions_cover_every_unit_at_every_strength(characters: list[Character]) -> None:
    units = np.stack([character.expression for character in characters])
    assert 0.10 < (units.max(1) == 0).mean() < 0.3
    assert np.all((units > 0.05).mean(0) > 0.03), dict(zip(EXPRESSION, (units > 0.05).mean(0), strict=True))
    assert np.all(units.max(0) > 0.8)


def test_units_that_exclude_each_other_are_never_sampled_together() -> None:
    rng = np.random.default_rng(4)
    units = np.stack([sample_expression(rng) for _ in range(COUNT)])
    for first, second in EXCLUSIVE:
        assert not np.any((units[:, EXPRESSION.index(first)] > 0) & (units[:, EXPRESSION.index(second)] > 0)), (first, second)


def test_poses_stay_in_range_and_favour_the_front() -> None:
    rng = np.random.default_rng(5)
    pose = np.stack([sample_pose(rng) for _ in range(COUNT)])
    assert np.abs(pose[:, 0]).max() <= 20 and np.abs(pose[:, 1]).max() <= 40
    assert (np.abs(pose[:, 1]) < 10).mean() > 0.35
    assert (np.abs(pose[:, 1]) > 30).mean() > 0.08


def test_every_style_option_occurs(characters: list[Character]) -> None:
    for slot in REFERENCE.style:
        seen = np.bincount([character.style[slot.name] for character in characters], minlength=len(slot.options))
        assert seen.min() > 0.005 * COUNT, (slot.name, seen)


def test_tints_keep_the_nearest_palette_entry(characters: list[Character], scenes: list[Scene]) -> None:
    def srgb(linear: np.ndarray) -> np.ndarray:
        return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)

    for tint, name in (("skin_tint", "skin"), ("hair_tint", "hair_colour"), ("iris_tint", "iris"), ("lip_tint", "lip")):
        palette = linear_rgb(REFERENCE.slot(name).colours)
        for character, scene in zip(characters, scenes, strict=False):
            shown = srgb(palette[character.style[name]] * np.array(getattr(scene.look, tint)))
            assert np.argmin(np.square(srgb(palette) - shown).sum(1)) == character.style[name]


def test_scenes_vary(scenes: list[Scene]) -> None:
    wearing = np.mean([scene.glasses > 0 for scene in scenes])
    assert 0.06 < wearing < 0.2
    assert {scene.glasses for scene in scenes} == {0, 1, 2, 3, 4}
    exposures = [scene.exposure for scene in scenes]
    assert 0.2 < min(exposures) < 0.8 and max(exposures) > 1.3
    for scene in scenes:
        assert np.linalg.norm(scene.key.direction) == pytest.approx(1)
        assert scene.background.dtype == np.uint8 and scene.background.shape[2] == 3
        assert max(map(abs, scene.gaze)) <= 1


def photo(with_black_corner: bool = False) -> np.ndarray:
    rng = np.random.default_rng(3)
    picture = rng.integers(60, 255, (250, 250, 3), dtype=np.uint8)
    if with_black_corner:
        picture[:70, :60] = 0
    return picture


def photo_tar(path: Path, *pictures: np.ndarray) -> Path:
    with tarfile.open(path, "w") as tar:
        for number, picture in enumerate(pictures):
            data = io.BytesIO()
            Image.fromarray(picture).save(data, "PNG")
            member = tarfile.TarInfo(f"{number:04d}.png")
            member.size = data.tell()
            data.seek(0)
            tar.addfile(member, data)
    return path


def test_backgrounds_are_cut_from_photos_without_their_black_corners(tmp_path: Path) -> None:
    strips = load_strips([photo_tar(tmp_path / "photos.tar", photo(), photo(with_black_corner=True))])
    assert len(strips) == 4
    assert sorted(len(strip) for strip in strips) == [180, 250, 250, 250]
    rng = np.random.default_rng(0)
    for _ in range(20):
        background = sample_background(rng, strips)
        assert background.dtype == np.uint8 and background.ndim == 3 and background.shape[2] == 3


def test_missing_and_empty_background_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_strips([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="holds no photos"):
        load_strips([tmp_path])
