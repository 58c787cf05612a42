"""Arrays that take minutes to make stay in a run's folder, under a name that says of what they were made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

FloatArray = npt.NDArray[np.float32]


def stamp(made_of: Iterable[npt.NDArray[Any]]) -> str:
    """A short hash of some arrays."""
    return hashlib.sha256(b"".join(values.tobytes() for values in made_of)).hexdigest()[:16]


def kept(folder: Path, name: str, made_of: Iterable[npt.NDArray[Any]], make: Callable[[], FloatArray]) -> FloatArray:
    """What `make` made when it was last made of the same arrays; else it is made now, and written to ``NAME-STAMP.npy``."""
    path = folder / f"{name}-{stamp(made_of)}.npy"
    if path.is_file():
        return np.asarray(np.load(path), np.float32)
    made = make()
    folder.mkdir(parents=True, exist_ok=True)
    np.save(path, made)
    return made


def fingerprint(modules: Iterable[nn.Module]) -> npt.NDArray[np.uint8]:
    """(32,) a hash of all values of some networks."""
    found = hashlib.sha256()
    for module in modules:
        for value in module.state_dict().values():
            found.update((value.cpu().numpy() + 0).tobytes())  # -0 is 0: averages of weights turn one into the other
    return np.frombuffer(found.digest(), np.uint8)
