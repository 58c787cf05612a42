"""What hair styles are made with: a head to grow layers of strands on, and directions for them.

Frame and unit: x to the person's own left, y up, z forward; decimetres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from game.baking.hair_flow import Flow, Growth, Strands, before_face, gathered, grow, smoothed
from game.baking.head_surface import Floats, HeadSurface, angle, hairline, on_scalp, smoothstep, unit

Select = Callable[[Floats], NDArray[np.bool_]]
Range = tuple[float, float]

PARTINGS = {"parted": 0.30, "bob": 0.16, "long": 0.0, "wavy": -0.22}
"""x in dm of the line from which a style's hair is combed to both sides."""


@dataclass(frozen=True)
class Groom:
    """A head with a random generator, from which layers of hair are grown."""

    surface: HeadSurface
    rng: np.random.Generator

    def roots(self, count: int, select: Select | None = None) -> Floats:
        """Points (count, 3) spread over the part of the scalp that ``select`` keeps."""
        triangles = self.surface.outer_triangles
        corners = self.surface.vertices[triangles]
        scalp = (corners[..., 1] > hairline(angle(corners)) - 0.1).any(1) & (self.surface.ears[triangles].max(1) < 0.3)
        return self.surface.scatter(
            triangles[scalp], count, self.rng, lambda p: on_scalp(p) & (True if select is None else select(p))
        )

    def between(self, low: float | Floats, high: float | Floats, count: int) -> Floats:
        """(count,) random values between ``low`` and ``high``."""
        return low + (high - np.asarray(low)) * self.rng.random(count)

    def layer(self, roots: Floats, flow: Flow, length: Floats, height: Floats, width: float, growth: Growth) -> Strands:
        """Strands grown from ``roots`` (N, 3); lengths and heights (N,) in dm."""
        paths = smoothed(grow(self.surface, roots, flow, length, height, growth))
        if growth.face:
            keep = ~before_face(paths)
            paths = paths[keep]
        n = len(paths)
        return Strands(paths, width * self.between(0.65, 1.25, n), self.rng.random(n), growth.points)

    def locked(self, strands: Strands, locks: int, share: float, power: float = 1.5) -> Strands:
        """The strands gathered into locks."""
        return replace(strands, paths=gathered(strands.paths, locks, share, self.rng, power))

    def baby_hair(self, flow: Flow, count: int = 200, length: Range = (0.07, 0.16), width: float = 0.014) -> Strands:
        """Thin short strands along the hairline, which soften it."""
        roots = self.roots(count, lambda p: p[:, 1] < hairline(angle(p)) + 0.07)
        roots = roots - np.array([0, 1.0, 0]) * self.rng.random((len(roots), 1)) ** 2 * 0.05
        n = len(roots)
        height = self.between(0.004, 0.02, n)
        return self.layer(roots, flow, self.between(*length, n), height, width, Growth(4, 12, lean=0.3))

    def edge_row(self, count: int) -> Floats:
        """Roots (count, 3) in a band along the front hairline."""
        return self.roots(count, lambda p: (p[:, 1] < hairline(angle(p)) + 0.05) & (np.abs(angle(p)) < 1.3))

    def parting_row(self, x: float, count: int) -> Floats:
        """Roots (count, 3) close to the parting line at ``x`` dm, on both sides."""
        return self.roots(count, lambda p: (np.abs(p[:, 0] - x) < 0.035) & (p[:, 1] > 7.85) & (p[:, 2] > 0.1))


def along_skin(direction: Floats, normals: Floats) -> Floats:
    """Directions (N, 3) laid flat on the skin of normals (N, 3), unit length."""
    return unit(direction - (direction * normals).sum(-1, keepdims=True) * normals)


def rows(*columns: Floats | float) -> Floats:
    """Directions (N, 3) from three columns."""
    return np.stack(np.broadcast_arrays(*columns), -1).astype(float)


def top_share(points: Floats) -> Floats:
    """0 on the sides, 1 on top of the head, for points (N, 3)."""
    return smoothstep(7.62, 7.95, points[:, 1])


def front_share(points: Floats) -> Floats:
    """0 behind, 1 at the forehead."""
    return smoothstep(0.45, 1.1, points[:, 2])


def down_sides(points: Floats) -> Floats:
    """Short hair on the sides and behind: down, a little back in front of the ear."""
    return rows(0.0, -1.0, np.where(points[:, 2] > 0.2, -0.45, -0.15))


def blended(share: Floats, first: Floats, second: Floats) -> Floats:
    """Directions (N, 3): ``first`` where share (N,) is 0, ``second`` where it is 1."""
    return first + share[:, None] * (second - first)


def cropped_flow(p: Floats, r: Floats, n: Floats) -> Floats:
    """Short hair lying on the head: forward on top, down on the sides."""
    return along_skin(blended(top_share(r), down_sides(r), rows(-0.25, 0.25, 0.85)), n)
