"""The base head as a surface that hair and eyewear can ask for distances, and the line where hair begins.

Frame and unit: x to the person's own left, y up, z forward; decimetres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from game.styles import AXIS_Z

Floats = NDArray[np.floating]


def unit(vectors: Floats) -> Floats:
    """Vectors (..., 3) scaled to length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def smoothstep(low: float | Floats, high: float | Floats, x: Floats) -> Floats:
    """0 at ``low``, 1 at ``high`` (which may be the lower one), smooth between."""
    t = np.clip((x - low) / (np.asarray(high) - low), 0, 1)
    return t * t * (3 - 2 * t)


def angle(points: Floats) -> Floats:
    """theta (...,) of points (..., 3) on the texture cylinder: 0 in front, pi/2 at the person's own left ear."""
    return np.arctan2(points[..., 0], points[..., 2] - AXIS_Z)


@dataclass(frozen=True)
class HeadSurface:
    """The skin of the base face.

    vertices: (V, 3) dm; triangles: (T, 3) of the skin only; ears: (V,) mask in [0, 1]; hidden: (V,) bool, inside of
    mouth, nostrils and eye sockets.
    """

    vertices: Floats
    triangles: NDArray[np.integer]
    ears: Floats
    hidden: NDArray[np.bool_]

    @cached_property
    def normals(self) -> Floats:
        """(V, 3) unit vertex normals."""
        corners = self.vertices[self.triangles]
        face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        out = np.zeros_like(self.vertices)
        for k in range(3):
            np.add.at(out, self.triangles[:, k], face)
        return unit(out)

    @cached_property
    def outer_triangles(self) -> NDArray[np.integer]:
        """Triangles (T', 3) without the insides."""
        return self.triangles[~self.hidden[self.triangles].any(1)]

    def scatter(
        self,
        triangles: NDArray[np.integer],
        count: int,
        rng: np.random.Generator,
        select: Callable[[Floats], NDArray[np.bool_]] | None = None,
    ) -> Floats:
        """``count`` points (count, 3) spread evenly (blue noise) over those parts of triangles (T, 3) that
        ``select`` keeps.
        """
        corners = self.vertices[triangles]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        which = rng.choice(len(triangles), 60000, p=area / area.sum())
        share = rng.random((60000, 2))
        share = np.where(share.sum(1, keepdims=True) > 1, 1 - share, share)
        points = (corners[which] * np.c_[1 - share.sum(1), share][:, :, None]).sum(1)
        points = points if select is None else points[select(points)]
        kept_area = area.sum() / 2 * len(points) / 60000
        points = points[: count * 6]
        return points[_spread(points, count, kept_area)]

    @cached_property
    def _samples(self) -> tuple[cKDTree, Floats, Floats]:
        triangles = self.outer_triangles
        share = np.array([(1, 1, 1), (4, 1, 1), (1, 4, 1), (1, 1, 4)]) / np.array([[3], [6], [6], [6]])
        points = np.einsum("sk,tkc->tsc", share, self.vertices[triangles]).reshape(-1, 3)
        normals = unit(np.einsum("sk,tkc->tsc", share, self.normals[triangles]).reshape(-1, 3))
        return cKDTree(points), points, normals

    def nearest(self, points: Floats) -> tuple[Floats, Floats]:
        """Signed distance (N,) of points (N, 3) to the skin (outside > 0) and the skin's unit normal (N, 3) there."""
        tree, samples, normals = self._samples
        _, index = tree.query(points, k=4)
        normal = unit(normals[index].mean(1))
        offset = points[:, None] - samples[index]
        return (offset * normals[index]).sum(-1).mean(1), normal

    @cached_property
    def _outer_vertices(self) -> tuple[cKDTree, NDArray[np.integer]]:
        index = np.unique(self.outer_triangles)
        return cKDTree(self.vertices[index]), index

    def bind(self, points: Floats, count: int = 6) -> tuple[NDArray[np.uint16], Floats]:
        """The ``count`` nearest skin vertices of points (N, 3): indices (N, count) and weights (N, count) that sum
        to 1.
        """
        tree, index = self._outer_vertices
        distance, nearest = tree.query(points, k=count)
        weights = 1.0 / (distance + 0.02) ** 2
        return index[nearest].astype(np.uint16), weights / weights.sum(1, keepdims=True)


def _spread(points: Floats, count: int, area: float) -> NDArray[np.integer]:
    """Indices of ``count`` points that keep away from each other: those that are too near go first."""
    radius = 0.95 * np.sqrt(area / count)
    alive = np.ones(len(points), bool)
    tree = cKDTree(points)
    for i in range(len(points)):
        if alive[i]:
            near = tree.query_ball_point(points[i], radius * 0.75)
            alive[near] = False
            alive[i] = True
    kept = np.flatnonzero(alive)
    rest = np.flatnonzero(~alive)
    return kept[:count] if len(kept) >= count else np.r_[kept, rest[: count - len(kept)]]


def hairline(theta: Floats) -> Floats:
    """y (...,) of the lower edge of the hair at an angle (...,): forehead, receding temples, sideburn, over the ear,
    nape.
    """
    side = np.abs(theta)
    knots = np.array(
        [
            (0.00, 7.995), (0.20, 8.005), (0.38, 8.015), (0.52, 7.985), (0.66, 7.84), (0.78, 7.66), (0.92, 7.52),
            (1.04, 7.36), (1.12, 7.12), (1.20, 7.04), (1.30, 7.10), (1.38, 7.36), (1.60, 7.42), (1.85, 7.26),
            (2.05, 6.86), (2.35, 6.55), (2.75, 6.45), (3.15, 6.42),
        ]
    )  # fmt: skip
    return np.interp(side, knots[:, 0], knots[:, 1])


def on_scalp(points: Floats, margin: float = 0.0) -> NDArray[np.bool_]:
    """Whether points (N, 3) on the skin lie above the hairline by more than ``margin`` dm."""
    return points[..., 1] > hairline(angle(points)) + margin
