"""Backgrounds cut from photos: strips along the left and right border, where a portrait shows little of the person."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_STRIP_SHARE = 0.19
_LEAST_ROWS = 80
_BLACK = 8
"""Border pixels darker than this in all channels, several in a row, come from a photo that was warped (as in funneled LFW)."""


def load_strips(sources: Sequence[str | Path], limit: int = 3000, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Border strips (rows, columns, 3) sRGB uint8 of photos in tar files or folders.

    At most ``limit`` strips, from photos chosen by ``seed``. :class:`FileNotFoundError` names a source that is not there,
    :class:`ValueError` one without photos.
    """
    strips: list[NDArray[np.uint8]] = []
    for source in map(Path, sources):
        photos = _photos_in_tar(source) if source.is_file() else _photos_in_folder(source)
        if not photos:
            raise ValueError(f"{source} holds no photos ({', '.join(_SUFFIXES)})")
        order = np.random.default_rng(seed).permutation(len(photos))[: max(1, limit // (2 * len(sources)))]
        for index in order:
            picture = np.asarray(Image.open(io.BytesIO(photos[index])).convert("RGB"))
            strips += [kept for strip in _border_strips(picture) if (kept := _without_black(strip)) is not None]
    return strips


def _photos_in_tar(path: Path) -> list[bytes]:
    with tarfile.open(path) as tar:
        members = [member for member in tar.getmembers() if member.isfile() and member.name.lower().endswith(_SUFFIXES)]
        members.sort(key=lambda member: member.name)
        return [tar.extractfile(member).read() for member in members]  # type: ignore[union-attr]


def _photos_in_folder(path: Path) -> list[bytes]:
    if not path.is_dir():
        raise FileNotFoundError(f"no such tar file or folder of backgrounds: {path}")
    return [file.read_bytes() for file in sorted(path.rglob("*")) if file.suffix.lower() in _SUFFIXES]


def _border_strips(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    width = max(8, int(picture.shape[1] * _STRIP_SHARE))
    return [picture[:, :width].copy(), picture[:, -width:][:, ::-1].copy()]


def _without_black(strip: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The longest run of rows without the black wedges of a warped photo; None if it is short."""
    clean = (strip.max(2) < _BLACK).mean(1) < 0.04
    edges = np.flatnonzero(np.diff(np.concatenate([[0], clean.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return None
    longest = int(np.argmax(ends - starts))
    rows = strip[starts[longest] : ends[longest]]
    return rows if len(rows) >= _LEAST_ROWS else None
