"""Shards in the WebDataset layout: uncompressed tars in which the files of a sample stand side by side, ``KEY.EXTENSION``."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_shard(path: Path) -> Iterator[Callable[[str, Mapping[str, bytes]], None]]:
    """Write a shard that is in its place only when it is whole. Gives a function that adds a sample: key, and extension ->
    bytes."""
    unfinished = path.with_suffix(".tar.tmp")
    with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as tar:

        def add(key: str, files: Mapping[str, bytes]) -> None:
            for extension, data in files.items():
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))

        yield add
    os.replace(unfinished, path)
