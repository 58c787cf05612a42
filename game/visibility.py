"""The buffers that say which triangle every sample of a picture sees, and how they are filled."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from game.assembly import LAYERS, Assembly
from game.camera import Camera
from game.kernels import KERNEL
from game.lighting import scalars
from game.rasteriser import TILE, rasterise, tile_floors

Array = NDArray[np.float32]

_NO_OWNER = np.zeros((0, 3), np.float32)
_FACING = np.float32(-1.0)


class SampleBuffers:
    """2 x 2 samples a pixel for pictures of ``size`` pixels.

    ``nearness`` (2S, 2S) float32: 1 / depth, 0 where nothing is. ``index`` (2S, 2S) int32: the triangle seen, -1 for none.
    ``screen`` (N, 3) float32: the drawn assembly's vertices, x and y in samples and 1 / depth.
    """

    def __init__(self, size: int) -> None:
        samples = 2 * size
        tiles = -(-samples // TILE)
        if tiles * TILE != samples:
            raise ValueError(f"the size of a picture must be a multiple of {TILE // 2} pixels, not {size}")
        self.nearness = np.zeros((samples, samples), np.float32)
        self.index = np.full((samples, samples), -1, np.int32)
        self.screen = np.zeros((0, 3), np.float32)
        self._floors = np.zeros((tiles, tiles), np.float32)

    def draw(self, assembly: Assembly, camera: Camera) -> None:
        """Fill the buffers with an assembly, which has been placed, as seen by a camera of the picture's size."""
        fine = camera.scaled(2.0)
        self.screen = np.empty((len(assembly.packed), 3), np.float32)
        place = (fine.focal, *fine.position, *fine.centre, math.radians(fine.roll))
        _project(assembly.packed, scalars(place), self.screen)
        self.nearness[:] = 0.0
        self.index[:] = -1
        self._floors[:] = 0.0
        self._add(assembly.triangles[: assembly.head[1]], _NO_OWNER, False, 0)
        for first, last in (assembly.frame, *_chunks(*assembly.hair)):
            if last > first:
                owner = assembly.owner if first >= assembly.hair[0] else _NO_OWNER
                tile_floors(self.nearness, self._floors)
                self._add(assembly.triangles[first:last], owner, True, first)

    def draw_lenses(self, assembly: Assembly) -> NDArray[np.int32]:
        """Index buffer (2S, 2S) of the spectacles' lenses that nothing hides."""
        nearness, index = self.nearness.copy(), np.full_like(self.index, -1)
        rasterise(self.screen, assembly.lenses, _NO_OWNER, True, _FACING, 0, np.zeros_like(self._floors), nearness, index)
        return index

    def _add(self, triangles: NDArray[np.int32], owner: Array, two_sided: bool, first: int) -> None:
        rasterise(self.screen, triangles, owner, two_sided, _FACING, first, self._floors, self.nearness, self.index)


@njit(**KERNEL)
def _project(packed, camera, screen):
    """:meth:`game.camera.Camera.project` of packed vertices, with 1 / depth in place of depth."""
    focal, ex, ey, ez, cx, cy, roll = camera
    cos, sin = focal * math.cos(roll), focal * math.sin(roll)
    for i in range(packed.shape[0]):
        nearness = np.float32(1.0) / (ez - packed[i, 2])
        x, y = (packed[i, 0] - ex) * nearness, (ey - packed[i, 1]) * nearness
        screen[i, 0], screen[i, 1], screen[i, 2] = cos * x - sin * y + cx, sin * x + cos * y + cy, nearness


def _chunks(first: int, last: int) -> list[tuple[int, int]]:
    """The hair's triangles in as many parts as there are layers; before each the depth test's tiles are brought up to date."""
    edges = np.linspace(first, last, LAYERS + 1).astype(int).tolist()
    return list(pairwise(edges))
