"""Spectacles: small meshes in front of the eyes of the base face, hung on nose bridge, temples and ears.

A frame is a tube along the rim of each lens, a bridge, and two arms to the ears; a lens is a fan inside its rim.
Frame and unit: x to the person's own left, y up, z forward; decimetres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from game.baking.head_surface import Floats, HeadSurface, unit

RIM_POINTS = 40
TUBE_SIDES = 6
ANCHORS = ("bridge", "temple_left", "temple_right", "ear_left", "ear_right")


@dataclass(frozen=True)
class Model:
    """A frame: the outline of the left lens about its middle, angle (n,) -> (x, y) (n, 2) in dm; radius of the rim's
    tube, and of its upper half; radius of the arms; colours "#rrggbb"; opacity of the lenses; height of the bridge over
    the middle."""

    outline: Callable[[Floats], Floats]
    rim: float
    brow_rim: float
    arm: float
    colour: str
    lens_colour: str
    lens_opacity: float
    bridge: float = 0.04


def _super_ellipse(width: float, height: float, power: float, drop: float = 0.0) -> Callable[[Floats], Floats]:
    """A rounded outline; ``drop`` sags its lower outer part (aviator)."""

    def outline(turn: Floats) -> Floats:
        cos, sin = np.cos(turn), np.sin(turn)
        x = width * np.sign(cos) * np.abs(cos) ** (2 / power)
        y = height * np.sign(sin) * np.abs(sin) ** (2 / power)
        return np.stack([x + drop * np.minimum(y, 0) * -0.25, y * (1 + drop * 0.5 * (sin < 0))], -1)

    return outline


MODELS = {
    "round": Model(_super_ellipse(0.235, 0.225, 2.0), 0.011, 0.011, 0.010, "#6e5a34", "#e8eef2", 0.05),
    "rectangular": Model(_super_ellipse(0.265, 0.165, 4.0), 0.020, 0.022, 0.020, "#17151a", "#e8eef2", 0.05, 0.03),
    "browline": Model(_super_ellipse(0.255, 0.195, 2.8), 0.009, 0.030, 0.018, "#3a2015", "#e8eef2", 0.05, 0.07),
    "sunglasses": Model(_super_ellipse(0.275, 0.215, 2.6, 0.3), 0.015, 0.017, 0.015, "#101012", "#0b0c0e", 0.93, 0.06),
}  # fmt: skip


def tube(path: Floats, radius: Floats, closed: bool) -> tuple[Floats, NDArray[np.integer]]:
    """A tube of radius (n,) along a path (n, 3): vertices and triangles."""
    n = len(path)
    tangent = unit(np.roll(path, -1, 0) - np.roll(path, 1, 0)) if closed else unit(np.gradient(path, axis=0))
    up = np.array([0.0, 0.0, 1.0]) if closed else np.array([0.0, 1.0, 0.0])
    side = unit(np.cross(tangent, up))
    other = np.cross(side, tangent)
    turn = np.arange(TUBE_SIDES) / TUBE_SIDES * 2 * np.pi
    ring = np.cos(turn)[None, :, None] * side[:, None] + np.sin(turn)[None, :, None] * other[:, None]
    vertices = path[:, None] + ring * radius[:, None, None]
    rows = np.arange(n if closed else n - 1)[:, None]
    first = rows * TUBE_SIDES + np.arange(TUBE_SIDES)
    beside = rows * TUBE_SIDES + (np.arange(TUBE_SIDES) + 1) % TUBE_SIDES
    step = n * TUBE_SIDES
    below, corner = (first + TUBE_SIDES) % step, (beside + TUBE_SIDES) % step
    quads = np.stack([first, below, beside, beside, below, corner], -1).reshape(-1, 3)
    return vertices.reshape(-1, 3), quads


@dataclass(frozen=True)
class Fit:
    """Where spectacles sit on the base face: middle of the left lens (3,), places of the five anchors (5, 3), dm."""

    lens: Floats
    anchors: Floats


def fit_face(surface: HeadSurface, eye_left: Floats) -> Fit:
    """Measure the base face: the eye's centre (3,), the nose's bridge, the temples and the tops of the ears."""
    points = surface.vertices[np.unique(surface.outer_triangles)]
    bridge = points[(np.abs(points[:, 0]) < 0.03) & (np.abs(points[:, 1] - eye_left[1] + 0.02) < 0.08)]
    bridge = bridge[bridge[:, 2].argmax()]
    ears = surface.vertices[surface.ears > 0.5]
    left = ears[ears[:, 0] > 0]
    ear = np.array([left[:, 0].max() - 0.10, left[:, 1].max() - 0.055, left[:, 2].mean() + 0.05])
    side = points[
        (np.abs(points[:, 1] - eye_left[1] - 0.06) < 0.08) & (np.abs(points[:, 2] - 0.95) < 0.12) & (points[:, 0] > 0.3)
    ]
    temple = np.array([side[:, 0].max(), eye_left[1] + 0.06, 0.95])
    mirror = np.array([-1.0, 1.0, 1.0])
    front = max(bridge[2] + 0.06, eye_left[2] + 0.30)
    lens = np.array([eye_left[0] + 0.005, eye_left[1] - 0.035, front])
    return Fit(lens, np.stack([bridge * [0, 1, 1], temple, temple * mirror, ear, ear * mirror]))


def build(surface: HeadSurface, fit: Fit, model: Model) -> dict[str, NDArray[np.generic]]:
    """The arrays of one model: vertices float32, triangles uint16, material uint8, anchor indices and weights, first,
    second, share (see ``game.styles.Anchors``), colours (3, 3) uint8 and opacity."""
    turn = np.arange(RIM_POINTS) / RIM_POINTS * 2 * np.pi
    outline = model.outline(turn)
    upper = (np.sin(turn) > -0.05) if model.brow_rim > model.rim + 0.005 else np.zeros(RIM_POINTS, bool)
    radius = np.where(upper, model.brow_rim, model.rim)
    pieces: list[tuple[Floats, NDArray[np.integer], int]] = []
    for side in (1.0, -1.0):
        rim = _bent(np.c_[outline + fit.lens[:2], np.full(RIM_POINTS, fit.lens[2])]) * [side, 1, 1]
        pieces.append((*tube(rim, radius, True), 0))
        pieces.append((*_lens(rim), 1))
        pieces.append((*_arm(rim, fit, side, model), 0))
    pieces.append((*_bridge(outline, fit, model), 0))
    starts = np.cumsum([0] + [len(v) for v, _, _ in pieces[:-1]])
    vertices = np.concatenate([v for v, _, _ in pieces])
    triangles = np.concatenate([t + s for (_, t, _), s in zip(pieces, starts, strict=True)])
    material = np.concatenate([np.full(len(v), m, np.uint8) for v, _, m in pieces])
    indices, weights = surface.bind(fit.anchors, 8)
    first, second, share = hang(vertices, fit)
    return {
        "vertices": vertices.astype(np.float32),
        "triangles": triangles.astype(np.uint16),
        "material": material,
        "anchor_indices": indices,
        "anchor_weights": weights.astype(np.float32),
        "first": first,
        "second": second,
        "share": share.astype(np.float32),
        "colours": np.array([_bytes(model.colour), _bytes(model.lens_colour)], np.uint8),
        "opacity": np.float32(model.lens_opacity),
    }


def _bytes(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _bent(points: Floats) -> Floats:
    """Points of the front curved gently back towards the temples, as frames are."""
    out = points.copy()
    out[:, 2] -= 0.22 * out[:, 0] ** 2
    return out


def _lens(rim: Floats) -> tuple[Floats, NDArray[np.integer]]:
    n = len(rim)
    vertices = np.concatenate([rim, rim.mean(0, keepdims=True)])
    return vertices, np.stack([np.full(n, n), np.arange(n), (np.arange(n) + 1) % n], 1)


def _arm(rim: Floats, fit: Fit, side: float, model: Model) -> tuple[Floats, NDArray[np.integer]]:
    """From the outer upper rim past the temple to the top of the ear, and a hook behind it."""
    mirror = np.array([side, 1.0, 1.0])
    bearing = np.arctan2(rim[:, 1] - fit.lens[1], (rim[:, 0] - side * fit.lens[0]) * side)
    outer = rim[np.abs(bearing - 0.45).argmin()]
    ear = fit.anchors[3] * mirror
    hinge = outer + mirror * np.array([0.05, 0.0, -0.02])
    behind = hinge + mirror * np.array([0.02, 0.0, -0.10])
    wide = max(abs(hinge[0]), abs(ear[0]) - 0.02, abs(fit.anchors[1][0]) + 0.03)
    before = np.array([side * wide, (hinge[1] + ear[1]) / 2 + 0.02, 0.95])
    hook = ear + mirror * np.array([-0.02, -0.16, -0.16])
    knots = np.stack([outer, hinge, behind, before, ear + np.array([0.0, 0.01, 0.0]), hook])
    distance = np.r_[0, np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))]
    along = np.linspace(0, distance[-1], 16)
    path = np.stack([np.interp(along, distance, knots[:, k]) for k in range(3)], 1)
    return tube(path, np.full(len(path), model.arm), False)


def _bridge(outline: Floats, fit: Fit, model: Model) -> tuple[Floats, NDArray[np.integer]]:
    inner = fit.lens[0] + outline[:, 0].min()
    x = np.linspace(-inner, inner, 9)
    arch = model.bridge * (1 - (x / inner) ** 2)
    path = _bent(np.stack([x, fit.lens[1] + 0.05 + arch, np.full(9, fit.lens[2])], 1))
    path[:, 2] += 0.03 * (1 - (x / inner) ** 2)
    side_up = tube(path[:, [1, 0, 2]], np.full(9, max(model.rim, 0.010)), False)
    return side_up[0][:, [1, 0, 2]], side_up[1][:, ::-1]


def hang(vertices: Floats, fit: Fit) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
    """Which two anchors each vertex (N, 3) hangs between, and the share of the second: the front between bridge and
    temples by x, the arms between temples and ears by z."""
    left = vertices[:, 0] >= 0
    temple, ear = np.where(left, 1, 2), np.where(left, 3, 4)
    along = ((fit.anchors[1, 2] - vertices[:, 2]) / (fit.anchors[1, 2] - fit.anchors[3, 2])).clip(0, 1)
    across = (np.abs(vertices[:, 0]) / fit.anchors[1, 0]).clip(0, 1)
    arm = along > 0
    first = np.where(arm, temple, 0)
    second = np.where(arm, ear, temple)
    return first.astype(np.int32), second.astype(np.int32), np.where(arm, along, across)
