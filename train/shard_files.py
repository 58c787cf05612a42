"""Where photos and shards are: tars in the WebDataset layout, here or anywhere that fsspec reaches (``s3://``, ``gs://``,
``https://``; install its package, as s3fs), and plain folders of photos."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import fsspec
from tqdm import tqdm

Files = dict[str, bytes]
Place = str | Path
"""A path on this machine, or a URL."""

PHOTOS = (".jpg", ".jpeg", ".png", ".webp")
PHOTOS_PER_SHARD = 2000
"""Of a plain folder."""
CACHE = Path(os.environ.get("FACEPARAM_CACHE") or Path.home() / ".cache/faceparam")


def is_remote(place: Place) -> bool:
    """Whether it is a URL."""
    return "://" in str(place)


def expand(places: Sequence[Place]) -> list[Place]:
    """Places with the patterns (``*``) of URLs expanded; those of paths are the shell's to expand. FileNotFoundError names one
    that is not there."""
    found: list[Place] = []
    for place in places:
        if is_remote(place):
            filesystem, path = fsspec.core.url_to_fs(str(place))
            names = sorted(filesystem.glob(path)) if "*" in path else [path]
            if not names:
                raise FileNotFoundError(f"there is nothing at {place}")
            found += [filesystem.unstrip_protocol(name) for name in names]
        elif not Path(place).exists():
            raise FileNotFoundError(f"there is no shard or folder {str(place)!r}")
        else:
            found.append(Path(place))
    return found


def read_samples(place: Place) -> Iterator[tuple[str, Files]]:
    """The samples of a shard in order: key, and extension -> bytes. Files of a sample stand side by side.

    Raises:
        tarfile.TarError, OSError: it is no whole tar, or cannot be read.
    """
    key, files = "", Files()
    with fsspec.open(str(place), "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            if not member.isfile():
                continue
            folder, slash, file = member.name.rpartition("/")
            stem, _, extension = file.partition(".")
            name = folder + slash + stem
            if name != key and files:
                yield key, files
                files = {}
            key = name
            files[extension] = tar.extractfile(member).read()  # type: ignore[union-attr]
    if files:
        yield key, files


def photo_of(files: Files) -> bytes:
    """The photo or render of a sample, a file of PHOTOS; of a render, the JPEG, beside which the labels are a PNG. Empty where
    there is none."""
    return next((files[suffix[1:]] for suffix in PHOTOS if suffix[1:] in files), b"")


@dataclass(frozen=True)
class Source:
    """What becomes one shard: a shard, or some photos of a folder.

    Attributes:
        name: file name of the shard to be made.
        place: the shard, or the folder.
        photos: of a folder.
    """

    name: str
    place: Place
    photos: tuple[Path, ...] = ()

    def samples(self) -> Iterator[tuple[str, Files]]:
        """Key, and extension -> bytes. The key of a photo in a folder is its path in there: ``ann/ann_0001.jpg`` is
        ``ann/ann_0001``, a photo of ann."""
        if not self.photos:
            yield from read_samples(self.place)
        for photo in self.photos:
            key = photo.relative_to(self.place).with_suffix("").as_posix().replace(".", "_")
            yield key, {photo.suffix.lower().lstrip("."): photo.read_bytes()}


def sources(places: Sequence[Place]) -> list[Source]:
    """Shards, and the photos of folders in parts of PHOTOS_PER_SHARD. FileNotFoundError names a place that is not there,
    ValueError a folder without photos, or two that would become shards of one name."""
    found: list[Source] = []
    for place in expand(places):
        if is_remote(place) or Path(place).is_file():
            found.append(Source(str(place).rpartition("/")[2], place))
            continue
        photos = sorted(path for path in Path(place).rglob("*") if path.suffix.lower() in PHOTOS)
        if not photos:
            raise ValueError(f"there are no photos ({', '.join(PHOTOS)}) in the folder {str(place)!r}")
        for number, first in enumerate(range(0, len(photos), PHOTOS_PER_SHARD)):
            part = tuple(photos[first : first + PHOTOS_PER_SHARD])
            found.append(Source(f"{Path(place).resolve().name}-{number:05d}.tar", place, part))
    names = [source.name for source in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several of these would become {', '.join(twice)}: rename them, or align them apart")
    return found


def local_shards(folder: Place, pattern: str) -> list[Path]:
    """The shards of a folder whose names match, in order. Those of a URL are fetched once, into FACEPARAM_CACHE: training reads
    them in any order, again and again."""
    if not is_remote(folder):
        return sorted(Path(folder).glob(pattern))
    filesystem, path = fsspec.core.url_to_fs(str(folder))
    names = sorted(name for name in filesystem.ls(path, detail=False) if fnmatch(name.rpartition("/")[2], pattern))
    here = CACHE / "shards" / hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    here.mkdir(parents=True, exist_ok=True)
    targets = [here / name.rpartition("/")[2] for name in names]
    missing = [(name, target) for name, target in zip(names, targets, strict=True) if not target.exists()]
    for name, target in tqdm(missing, desc=f"fetching {folder}", unit="shard", disable=not missing):
        unfinished = target.with_name(target.name + ".part")
        filesystem.get_file(name, str(unfinished))
        unfinished.rename(target)
    return targets
