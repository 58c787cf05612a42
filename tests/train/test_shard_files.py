"""Photos from tars, folders and URLs; what cannot be read is counted, with its reason, and stops nothing."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pytest
from skimage.data import astronaut

from train import align_photos, shard_files
from train.data import PhotoShards
from train.shard_files import expand, local_shards, read_samples, sources


def portrait(side: int = 256) -> bytes:
    """A photo with a face."""
    return cv2.imencode(".jpg", cv2.resize(astronaut()[:300, 80:380, ::-1], (side, side)))[1].tobytes()


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A plain folder: a photo, the same as PNG in a folder of its own, one without a face, a broken one, and something else."""
    photos = tmp_path / "people"
    (photos / "ann").mkdir(parents=True)
    (photos / "ann" / "ann_0001.jpg").write_bytes(portrait())
    (photos / "ann" / "ann_0002.PNG").write_bytes(cv2.imencode(".png", cv2.imdecode(np.frombuffer(portrait(), np.uint8), 1))[1])
    (photos / "j.doe.jpg").write_bytes(cv2.imencode(".jpg", np.full((256, 256, 3), 90, np.uint8))[1].tobytes())
    (photos / "broken.jpg").write_bytes(portrait()[:2000])
    (photos / "notes.txt").write_text("no photo")
    return photos


def test_a_folder_of_photos_becomes_a_shard(folder: Path, tmp_path: Path) -> None:
    (source,) = sources([folder])
    assert source.name == "people-00000.tar"
    assert [(key, list(files)) for key, files in source.samples()] == [
        ("ann/ann_0001", ["jpg"]), ("ann/ann_0002", ["png"]), ("broken", ["jpg"]), ("j_doe", ["jpg"]),
    ]  # fmt: skip
    count = align_photos.align_photos([folder], tmp_path / "aligned", workers=1)
    assert count == {"aligned": 2, "no face": 1, "ImageDecodeError": 1}
    photos = PhotoShards(tmp_path / "aligned")
    assert photos.arrays["person"].tolist() == ["ann", "ann"] and photos.picture(0).shape == (256, 256, 3)
    assert not align_photos.align_photos([folder], tmp_path / "aligned", workers=1)  # all is there


def test_a_large_photo_is_aligned_in_its_own_pixels(tmp_path: Path) -> None:
    """The picture may be decoded at a fraction of its size; `transform` is from the photo as it is."""
    transforms = []
    for side in (600, 3000):
        aligned = align_photos.ShardAligner().align({"jpg": portrait(side)})
        assert aligned is not None
        transforms.append(np.array(json.loads(aligned["json"])["transform"]) * [[side, side, 1]])
    np.testing.assert_allclose(transforms[0], transforms[1], atol=2.5)


def test_large_folders_become_several_shards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_files, "PHOTOS_PER_SHARD", 3)
    assert [(source.name, len(source.photos)) for source in sources([folder])] == [
        ("people-00000.tar", 3),
        ("people-00001.tar", 1),
    ]


def test_what_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no shard or folder '.*nowhere\.tar'"):
        expand([tmp_path / "nowhere.tar"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="there are no photos"):
        sources([tmp_path / "empty"])
    (tmp_path / "other" / "people").mkdir(parents=True)
    (tmp_path / "other" / "people" / "a.jpg").write_bytes(portrait())
    with pytest.raises(ValueError, match=r"would become people-00000\.tar"):
        sources([folder, tmp_path / "other" / "people"])


def test_shards_of_a_url_are_read_and_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_files, "CACHE", tmp_path / "cache")
    remote = fsspec.filesystem("memory")
    for number in range(2):
        data = write_tar(tmp_path / "shard.tar", {f"a{number}.jpg": b"picture", f"a{number}.json": b"{}"}).read_bytes()
        remote.pipe_file(f"/bucket/photos-{number}.tar", data)
    remote.pipe_file("/bucket/other.tar", b"")
    found = expand(["memory://bucket/photos-*.tar"])
    assert [str(place) for place in found] == ["memory:///bucket/photos-0.tar", "memory:///bucket/photos-1.tar"]
    assert list(read_samples(found[1])) == [("a1", {"jpg": b"picture", "json": b"{}"})]
    here = local_shards("memory://bucket", "photos-*.tar")
    assert [path.name for path in here] == ["photos-0.tar", "photos-1.tar"]
    remote.rm("/bucket/photos-0.tar")
    remote.pipe_file("/bucket/photos-0.tar", b"changed")
    assert local_shards("memory://bucket", "photos-*.tar")[0].read_bytes() == here[0].read_bytes() != b"changed"
    with pytest.raises(FileNotFoundError, match="nothing at memory://bucket/none"):
        expand(["memory://bucket/none-*.tar"])
