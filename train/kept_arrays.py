"""Arrays that take minutes to make stay in a run's folder, under a name that says of what they were made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def kept(folder: Path, name: str, made_of: Iterable[npt.NDArray[Any]], make: Callable[[], FloatArray]) -> FloatArray:
    """What `make` made when it was last made of the same arrays; else it is made now, and written to ``NAME-STAMP.npy``."""
    stamp = hashlib.sha256(b"".join(values.tobytes() for values in made_of)).hexdigest()[:16]
    path = folder / f"{name}-{stamp}.npy"
    if path.is_file():
        return np.asarray(np.load(path), np.float32)
    made = make()
    folder.mkdir(parents=True, exist_ok=True)
    np.save(path, made)
    return made
