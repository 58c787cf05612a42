"""How the renderer's numba functions are compiled, and when what numba keeps of them is out of date.

Numba keeps compiled kernels beside their source file and compiles them anew when that file changes, but it does not notice
changes in the files of the functions that a kernel calls. A kernel that calls functions of other files therefore mentions
:func:`source_stamp` in its closure, which is part of what numba looks a kernel up by.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numba import njit

_FAST = {"fastmath": True, "nogil": True, "error_model": "numpy"}

KERNEL = {**_FAST, "cache": True}
"""Options of what Python calls. Without threads or random numbers: same input, same bytes."""
DEVICE = {**_FAST, "forceinline": True}
"""Options of what kernels call for every sample: inlined, so that what they are handed costs nothing."""
BATCH = _FAST
"""Options of what kernels call for many points at a time: a function of its own, so that its loop becomes vector instructions."""


def source_stamp() -> int:
    """A number that changes when any source file of this package changes."""
    stamp = 0
    for path in sorted(Path(__file__).parent.glob("*.py")):
        stamp = zlib.crc32(path.read_bytes(), stamp)
    return stamp


@njit(**DEVICE)
def whole_below(value):
    """The largest integer not above a float: math.floor, without a call into the C library for every sample."""
    whole = int(value)
    return whole - 1 if value < np.float32(whole) else whole


@njit(**DEVICE)
def whole_above(value):
    """The smallest integer not below a float."""
    whole = int(value)
    return whole + 1 if value > np.float32(whole) else whole
