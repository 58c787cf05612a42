"""Data sets: format, resuming, and samples that depend on nothing but seed and index."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from game.labels import LABELS
from game.render_dataset import (
    DatasetError,
    Settings,
    check_settings,
    draw,
    encode,
    main,
    render_dataset,
    shard_path,
    write_shard,
)
from game.renderer import Renderer
from sdk.schema import REFERENCE

SETTINGS = Settings(count=5, seed=11, shard_size=2, size=64)


def files(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("renders")
    assert render_dataset(out, SETTINGS, workers=2) == SETTINGS.count
    return out


def test_shards_hold_every_sample_once(dataset: Path) -> None:
    shards = sorted(dataset.glob("*.tar"))
    assert shards == [shard_path(dataset, shard) for shard in range(3)]
    names = [name for shard in shards for name in files(shard)]
    suffixes = ("jpg", "png", "json", "landmarks.npy")
    assert names == [f"{index:08d}.{suffix}" for index in range(SETTINGS.count) for suffix in suffixes]


def test_one_sample_has_picture_labels_parameters_and_landmarks(dataset: Path) -> None:
    sample = files(shard_path(dataset, 0))
    picture = Image.open(io.BytesIO(sample["00000001.jpg"]))
    assert picture.size == (64, 64) and picture.mode == "RGB"
    label = np.asarray(Image.open(io.BytesIO(sample["00000001.png"])))
    assert label.shape == (64, 64) and label.max() < len(LABELS)
    landmarks = np.load(io.BytesIO(sample["00000001.landmarks.npy"]))
    assert landmarks.shape == (468, 2) and landmarks.dtype == np.float32
    fields = json.loads(sample["00000001.json"])
    assert len(fields["identity"]) == 244 and len(fields["expression"]) == 23 and len(fields["pose"]) == 2
    assert fields["seed"] == SETTINGS.seed and len(fields["gaze"]) == 2
    for slot in REFERENCE.style:
        assert fields["style"][slot.name] in slot.options
    assert set(fields["camera"]) == {"focal", "position", "centre", "roll"}


def test_a_sample_does_not_depend_on_workers_or_shards(dataset: Path) -> None:
    renderer = Renderer(SETTINGS.size)
    alone = encode(*draw(SETTINGS, 3, renderer, []), SETTINGS.seed)
    there = files(shard_path(dataset, 1))
    assert all(there[f"00000003.{suffix}"] == data for suffix, data in alone.items())


def test_a_stopped_run_goes_on_with_what_is_missing(dataset: Path, tmp_path: Path) -> None:
    whole = shard_path(dataset, 1).read_bytes()
    for shard in (0, 2):
        (tmp_path / shard_path(dataset, shard).name).write_bytes(shard_path(dataset, shard).read_bytes())
    (tmp_path / "dataset.json").write_bytes((dataset / "dataset.json").read_bytes())
    unfinished = shard_path(tmp_path, 1).with_suffix(".tar.tmp")
    unfinished.write_bytes(b"half a shard")
    assert render_dataset(tmp_path, SETTINGS, workers=1) == 2
    assert shard_path(tmp_path, 1).read_bytes() == whole
    assert not unfinished.exists()
    assert render_dataset(tmp_path, SETTINGS, workers=1) == 0


def test_an_interrupted_shard_leaves_no_finished_file(tmp_path: Path) -> None:
    steps = write_shard(tmp_path, SETTINGS, 0, Renderer(SETTINGS.size), [])
    next(steps)
    steps.close()
    assert not shard_path(tmp_path, 0).exists()


def test_other_settings_in_the_same_folder_are_refused(dataset: Path) -> None:
    with pytest.raises(DatasetError, match="seed"):
        render_dataset(dataset, Settings(count=5, seed=12, shard_size=2, size=64))
    with pytest.raises(DatasetError, match="count"):
        render_dataset(dataset, Settings(count=9, seed=11, shard_size=2, size=64))


def test_the_command_line_names_wrong_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--count", "0", "--out", str(tmp_path)])
    assert "--count" in capsys.readouterr().err


def test_samples_of_one_identity_differ_in_all_else(tmp_path: Path) -> None:
    several = replace(SETTINGS, per_identity=2)
    renderer = Renderer(SETTINGS.size)
    first, second, third = (draw(several, index, renderer, [])[0] for index in (2, 3, 4))
    assert np.array_equal(first.identity, second.identity) and first.style == second.style
    assert not np.array_equal(first.pose, second.pose)
    assert not np.array_equal(second.identity, third.identity)
    assert np.array_equal(first.identity, draw(SETTINGS, 2, renderer, [])[0].identity)
    check_settings(tmp_path, SETTINGS)
    with pytest.raises(DatasetError, match="per_identity is 1 there, but 2 was asked for"):
        check_settings(tmp_path, several)
