"""The baked asset: every array of the rig and the styles, loaded once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt


class AssetError(RuntimeError):
    """The asset is missing or was baked by another version; the message says how to bake it."""


@cache
def load_asset() -> Mapping[str, npt.NDArray]:
    """All arrays of ``game/assets/face.npz`` by key ("rig/...", "styles/...", "provenance"); :class:`AssetError` where
    it is missing.

    Arrays are shared between callers: do not write to them.
    """
    resource = files("game") / "assets" / "face.npz"
    if not resource.is_file():
        raise AssetError("game/assets/face.npz is missing; bake it with: python -m game.bake")
    with resource.open("rb") as stream, np.load(stream) as arrays:
        return {key: _read_only(arrays[key]) for key in arrays.files}


def _read_only(array: npt.NDArray) -> npt.NDArray:
    array.setflags(write=False)
    return array
