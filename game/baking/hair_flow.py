"""How strands of hair grow over the base head.

A strand starts on the scalp and walks in small steps along a *flow* (a field of directions that knows where the
strand's root is), pulled down by gravity, kept at its own height above the skin and out of the face. Then strands
gather into locks, wave or coil, and at the end each is thinned to a few points, most of them where it bends. All
strands of a layer are handled at once.

Frame and unit: x to the person's own left, y up, z forward; decimetres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from game.baking.head_surface import Floats, HeadSurface, angle, smoothstep, unit
from game.style_parts import outward
from game.styles import AXIS_Z

Flow = Callable[[Floats, Floats, Floats], Floats]
"""(points (N, 3), roots (N, 3), skin normals (N, 3)) -> directions (N, 3)."""

_HEAD_RADIUS = 0.7
"""dm, about that of the skull."""


@dataclass(frozen=True)
class Growth:
    """How one layer of hair grows.

    points: points per strand in the end. steps: steps of the walk. gravity: how much of each step's direction is down.
    stiffness: share of the direction kept from step to step. hug: how firmly a strand that flies off is pulled back to
    its height, 0 not at all. rise: dm from the root on which a strand rises to its height. lean: how much of the first
    direction is away from the skin. face: whether strands keep beside the face (not so for fringes).
    """

    points: int = 8
    steps: int = 36
    gravity: float = 0.1
    stiffness: float = 0.6
    hug: float = 0.5
    rise: float = 0.15
    lean: float = 0.5
    face: bool = False


@dataclass(frozen=True)
class Strands:
    """paths: (N, S, 3) dm from root to tip; width: (N,) dm at the widest; random: (N,) in [0, 1]; count: points per
    strand that are kept in the end."""

    paths: Floats
    width: Floats
    random: Floats
    count: int

    def kept(self, keep: NDArray[np.bool_]) -> Strands:
        """The strands for which ``keep`` (N,) holds."""
        return replace(self, paths=self.paths[keep], width=self.width[keep], random=self.random[keep])

    def thinned(self, bends: float = 0.16) -> Strands:
        """The same strands with ``count`` points: evenly in length plus ``bends`` dm per radian of bend."""
        step = np.diff(self.paths, axis=1)
        length = np.linalg.norm(step, axis=2)
        direction = unit(step)
        turn = np.arccos(np.clip((direction[:, 1:] * direction[:, :-1]).sum(-1), -1, 1))
        weight = length + bends * 0.5 * (np.c_[turn, turn[:, -1:]] + np.c_[turn[:, :1], turn])
        position = np.c_[np.zeros(len(weight)), np.cumsum(weight, 1)]
        wanted = np.linspace(0, 1, self.count)
        paths = np.empty((len(self.paths), self.count, 3))
        for i, (path, at) in enumerate(zip(self.paths, position, strict=True)):
            for k in range(3):
                paths[i, :, k] = np.interp(wanted * at[-1], at, path[:, k])
        return replace(self, paths=paths)


def face_edge(y: Floats) -> Floats:
    """The angle (...,) in front of which long hair must not hang at height y."""
    return np.interp(y, [4.6, 5.6, 6.15, 6.6, 7.25, 7.6, 7.85, 8.05], [0.62, 0.80, 0.86, 0.88, 0.88, 0.74, 0.48, 0.0])


def keep_off_face(points: Floats) -> Floats:
    """Points (N, 3) turned about the vertical axis, where needed, so that they stay beside the face."""
    theta = angle(points)
    short = np.maximum(face_edge(points[:, 1]) - np.abs(theta), 0) * (points[:, 1] < 8.05)
    turned = theta + np.where(theta >= 0, 1.0, -1.0) * short
    radius = np.hypot(points[:, 0], points[:, 2] - AXIS_Z)
    moved = short > 0
    out = points.copy()
    out[moved, 0] = (np.sin(turned) * radius)[moved]
    out[moved, 2] = (np.cos(turned) * radius)[moved] + AXIS_Z
    return out


def before_face(paths: Floats, slack: float = 0.06) -> NDArray[np.bool_]:
    """Strands (N,) of which some point of paths (N, S, 3) hangs in front of the face or the throat."""
    inside = (np.abs(angle(paths)) < face_edge(paths[..., 1]) - slack) & (paths[..., 1] < 7.85)
    return inside.any(1)


def above_shoulders(points: Floats) -> Floats:
    """1 on head and neck, 0 at the shoulders (...,): what falls on these sinks into them rather than slide off
    sideways.
    """
    return smoothstep(5.75, 6.05, points[..., 1])


def grow(surface: HeadSurface, roots: Floats, flow: Flow, length: Floats, height: Floats, growth: Growth) -> Floats:
    """Strands (N, steps + 1, 3) from roots (N, 3) on the skin, of lengths (N,) and heights above the skin (N,), in
    dm.
    """
    point = roots.copy()
    _, normal = surface.nearest(point)
    point = point - 0.004 * normal
    direction = unit(normal * growth.lean + unit(flow(point, roots, normal)))
    path = [point.copy()]
    step_length = length / growth.steps
    for step in range(1, growth.steps + 1):
        wanted = unit(unit(flow(point, roots, normal)) + np.array([0.0, -growth.gravity, 0.0]))
        direction = unit(direction * growth.stiffness + wanted * (1 - growth.stiffness))
        point = point + direction * step_length[:, None]
        distance, normal = surface.nearest(point)
        clearance = 0.006 + height * np.minimum(1.0, step * step_length / growth.rise)
        push = np.maximum(clearance - distance, 0) * above_shoulders(point)
        pull = np.maximum(distance - clearance - 0.03, 0) * growth.hug * (point[:, 1] > 7.0)
        if growth.face:
            # Long hair falls over the ear as over one smooth bump; the ear's own normals would part it like a curtain.
            away = outward(point)
            over = smoothstep(7.6, 7.4, point[:, 1])[:, None]
            normal = unit(normal + over * (away * np.array([1.0, 0.0, 0.35]) - normal))
        point = point + normal * (push - pull)[:, None]
        if growth.face:
            point = keep_off_face(point)
        path.append(point.copy())
    return np.stack(path, 1)


def smoothed(paths: Floats, rounds: int = 6) -> Floats:
    """Strands (N, S, 3) without kinks; ends stay."""
    out = paths.copy()
    for _ in range(rounds):
        out[:, 1:-1] = 0.5 * out[:, 1:-1] + 0.25 * (out[:, :-2] + out[:, 2:])
    return out


def travelled(paths: Floats) -> Floats:
    """Length (N, S) in dm from the root to each point."""
    return np.c_[np.zeros(len(paths)), np.cumsum(np.linalg.norm(np.diff(paths, axis=1), axis=2), 1)]


def locks_of(paths: Floats, locks: int, rng: np.random.Generator) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """``locks`` leading strands, by index, and which of them each strand (N,) follows: the one whose first half is
    nearest.
    """
    leaders = rng.choice(len(paths), min(locks, len(paths)), replace=False)
    quarter = paths.shape[1] // 4
    way = paths[:, [0, quarter, 2 * quarter]].reshape(len(paths), 9)
    return leaders, cKDTree(way[leaders]).query(way)[1]


def gathered(paths: Floats, locks: int, share: float, rng: np.random.Generator, power: float = 1.5) -> Floats:
    """Strands (N, S, 3) drawn together into ``locks``: at the tip by ``share`` of their distance to the lock's
    leader.
    """
    leaders, lock = locks_of(paths, locks, rng)
    along = np.linspace(0, 1, paths.shape[1])[None, :, None] ** power
    return paths + (paths[leaders[lock]] - paths) * along * share


def waved(paths: Floats, amplitude: float, period: float, locks: int, rng: np.random.Generator) -> Floats:
    """Strands (N, S, 3) with waves of ``amplitude`` and ``period`` (dm) to both sides of their way; neighbours wave
    together.
    """
    leaders, lock = locks_of(paths, locks, rng)
    phase = rng.normal(0, 0.6, len(leaders))[lock][:, None] + rng.normal(0, 0.15, (len(paths), 1))
    position = travelled(paths)
    strength = amplitude * smoothstep(0.35, 1.3, position) * rng.uniform(0.8, 1.15, (len(paths), 1))
    # Measured from the tips' height, so that the waves of long and short strands lie side by side.
    turn = 2 * np.pi * (paths[..., 1] * 0.8 - 0.2 * position) / period + phase
    away = outward(paths)
    beside = unit(np.cross(unit(np.gradient(paths, axis=1)), away))
    return paths + strength[..., None] * (np.sin(turn)[..., None] * beside + 0.8 * np.cos(turn)[..., None] * away)


def coiled(paths: Floats, radius: Floats, turns: Floats, rng: np.random.Generator) -> Floats:
    """Strands (N, S, 3) wound into ringlets of ``radius`` (N,) dm, ``turns`` (N,) times."""
    along = np.linspace(0, 1, paths.shape[1])[None]
    turn = 2 * np.pi * (turns[:, None] * along + rng.random((len(paths), 1)))
    tangent = unit(np.gradient(paths, axis=1))
    first = unit(np.cross(tangent, outward(paths)) + 1e-6)
    second = np.cross(first, tangent)
    size = (radius[:, None] * smoothstep(0.0, 0.2, along) * (0.8 + 0.4 * along))[..., None]
    return paths + size * (np.cos(turn)[..., None] * first + np.sin(turn)[..., None] * second)


def lifted_out(surface: HeadSurface, paths: Floats, clearance: float = 0.016) -> Floats:
    """Thinned strands (N, S, 3) moved out of the skin where they would pass nearer than ``clearance`` dm; roots stay.

    Between its points a strand is straight and the head is round, so points keep the more distance the farther apart.
    """
    step = np.linalg.norm(np.diff(paths, axis=1), axis=2)
    sag = np.maximum(step, np.c_[step[:, 1:], step[:, -1:]]).ravel() ** 2 / (8 * _HEAD_RADIUS)
    inner = paths[:, 1:].reshape(-1, 3)
    for _ in range(3):
        distance, normal = surface.nearest(inner)
        short = np.maximum(clearance + sag - distance, 0)
        inner = inner + normal * (short * above_shoulders(inner))[:, None]
    return np.concatenate([paths[:, :1], inner.reshape(paths[:, 1:].shape)], 1)
