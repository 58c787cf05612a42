"""Brows and beards, painted hair by hair on the texture cylinder.

Places are those of the base face: theta in radians about the cylinder's axis (the pupils at 0.33, the corners of the
mouth at 0.23), y in dm (pupils 7.28, nose base 6.78, mouth 6.57, chin 6.13).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter

from game.baking.head_surface import Floats, smoothstep
from game.baking.painting import FACE_RADIUS, grid, noise, over, strokes, to_bytes


@dataclass(frozen=True)
class Brow:
    """The left brow.

    line: (theta, y) of its middle line from the inner end to the tail; half: half thickness in dm at the same points;
    hairs: their number; ground: how dark the skin between them is.
    """

    line: tuple[tuple[float, float], ...]
    half: tuple[float, ...]
    hairs: int
    ground: float


BROWS = {
    "natural": Brow(
        ((0.125, 7.478), (0.26, 7.498), (0.44, 7.518), (0.54, 7.502), (0.63, 7.462)),
        (0.034, 0.036, 0.030, 0.019, 0.005), 430, 0.30,
    ),
    "thick": Brow(
        ((0.095, 7.472), (0.26, 7.500), (0.45, 7.528), (0.56, 7.510), (0.665, 7.462)),
        (0.058, 0.064, 0.058, 0.040, 0.012), 1150, 0.52,
    ),
    "thin": Brow(
        ((0.140, 7.482), (0.27, 7.520), (0.44, 7.556), (0.54, 7.530), (0.615, 7.480)),
        (0.014, 0.015, 0.012, 0.009, 0.004), 210, 0.36,
    ),
    "straight": Brow(
        ((0.110, 7.474), (0.26, 7.480), (0.44, 7.482), (0.55, 7.476), (0.655, 7.462)),
        (0.040, 0.042, 0.040, 0.032, 0.012), 680, 0.42,
    ),
    "upswept": Brow(
        ((0.130, 7.486), (0.26, 7.506), (0.44, 7.545), (0.55, 7.568), (0.650, 7.570)),
        (0.036, 0.038, 0.034, 0.024, 0.006), 520, 0.36,
    ),
}  # fmt: skip


def brow_textures(options: tuple[str, ...]) -> NDArray[np.uint8]:
    """(options, H, W) uint8 alpha of every brow option, both sides."""
    return np.stack([to_bytes(_brow(BROWS[name], np.random.default_rng(i))) for i, name in enumerate(options)])


def _brow(brow: Brow, rng: np.random.Generator) -> Floats:
    at = np.array(brow.line)
    middle = PchipInterpolator(at[:, 0], at[:, 1])
    half = PchipInterpolator(at[:, 0], brow.half)
    first, last = at[0, 0], at[-1, 0]
    n = brow.hairs
    share = rng.beta(1.1, 1.15, n)
    theta = first + (last - first) * share
    offset = rng.normal(0, 0.45, n).clip(-1.15, 1.15)
    y = middle(theta) + offset * half(theta)
    slope = np.arctan(middle.derivative()(theta) / FACE_RADIUS)
    # Hairs stand up at the inner end, lean outward along the brow, and close towards its middle line.
    direction = slope + 1.25 * (1 - share) ** 2.2 - 0.12 - offset * (0.35 + 0.25 * share) + rng.normal(0, 0.16, n)
    thin = 0.55 + 0.45 * np.minimum(half(theta) / 0.03, 1)
    length = rng.uniform(0.05, 0.095, n) * thin * (1 - 0.25 * share)
    # Roots sit lower than the middle line where hairs grow upward, so that the brow as a whole keeps to its line.
    y = y - 0.45 * length * np.sin(direction - slope)
    theta = theta - 0.45 * length * np.cos(direction) / FACE_RADIUS
    inner = smoothstep(-0.02, 0.22, share)
    strength = rng.uniform(0.45, 0.95, n) * (0.45 + 0.55 * inner) * (1 - 0.3 * np.abs(offset))
    thickness = rng.uniform(0.006, 0.010, n)
    hairs = strokes(theta, y, direction, length, thickness, strength, -0.5 * (direction - slope))
    painted = over(hairs, brow.ground * _brow_ground(middle, half, first, last))
    painted = gaussian_filter(painted, 0.6)
    return np.maximum(painted, painted[:, ::-1])


def _brow_ground(middle: PchipInterpolator, half: PchipInterpolator, first: float, last: float) -> Floats:
    """The soft shade between the hairs: (H, W) in [0, 1]."""
    theta, y = grid()
    inside = theta.clip(first, last)
    across = (y - middle(inside)) / half(inside)
    ends = smoothstep(first - 0.03, first + 0.07, theta) * smoothstep(last + 0.015, last - 0.06, theta)
    return np.exp(-1.1 * np.abs(across) ** 2.5) * ends


def beard_textures(options: tuple[str, ...]) -> NDArray[np.uint8]:
    """(options, H, W) uint8 alpha of every beard option; "none" is empty."""
    areas = _beard_areas()
    painters = {
        "none": lambda: np.zeros(areas["full"].shape),
        "stubble": lambda: _stubble(areas["full"], np.random.default_rng(1)),
        "moustache": lambda: _grown(areas["moustache"], np.random.default_rng(2), 2600, 0.55, (0.05, 0.10)),
        "goatee": lambda: _grown(areas["goatee"], np.random.default_rng(3), 4600, 0.52, (0.05, 0.11)),
        "full": lambda: _grown(areas["full"], np.random.default_rng(4), 20000, 0.62, (0.05, 0.12)),
    }
    return np.stack([to_bytes(painters[name]()) for name in options])


def _beard_areas() -> dict[str, Floats]:
    """Where the hairs of each beard grow, (H, W) in [0, 1] with soft edges."""
    theta, y = grid()
    side = np.abs(theta)
    rng = np.random.default_rng(9)
    ragged = 0.018 * noise(theta.shape, 7, rng)
    # Moustache: from under the nose to the corners of the mouth; thin under the septum.
    upper = np.interp(side, [0.0, 0.05, 0.12, 0.20, 0.28, 0.33], [6.735, 6.752, 6.748, 6.705, 6.635, 6.56])
    lower = np.interp(side, [0.0, 0.10, 0.20, 0.26, 0.33], [6.655, 6.650, 6.600, 6.525, 6.46])
    moustache = smoothstep(upper + 0.022, upper - 0.025, y + ragged) * smoothstep(lower - 0.02, lower + 0.01, y + ragged)
    moustache *= smoothstep(0.325, 0.285, side)
    # Chin: a soul patch under the lower lip widens to the chin; bars join it to the moustache.
    width = np.interp(y, [6.05, 6.12, 6.25, 6.36, 6.42, 6.45], [0.19, 0.25, 0.265, 0.17, 0.09, 0.06])
    chin = smoothstep(width + 0.03, width - 0.03, side + ragged) * smoothstep(6.05, 6.11, y) * smoothstep(6.46, 6.42, y)
    bars = smoothstep(0.055, 0.03, np.abs(side - np.interp(y, [6.2, 6.35, 6.6], [0.235, 0.275, 0.29])) + ragged)
    bars *= smoothstep(6.62, 6.56, y) * smoothstep(6.15, 6.25, y)
    goatee = np.maximum(np.maximum(moustache, chin), bars)
    # Full: below a line from the sideburn over the cheek to the moustache, down to the throat.
    cheek = np.interp(
        side,
        [0.0, 0.28, 0.36, 0.52, 0.72, 0.92, 1.06, 1.14, 1.24],
        [6.70, 6.66, 6.645, 6.60, 6.62, 6.74, 6.98, 7.16, 7.20],
    )
    throat = np.interp(side, [0.0, 0.4, 0.8, 1.1, 1.24], [6.06, 6.09, 6.22, 6.42, 6.52])
    full = smoothstep(cheek + 0.05, cheek - 0.06, y + 1.6 * ragged) * smoothstep(throat - 0.07, throat + 0.06, y + ragged)
    full *= smoothstep(1.27, 1.20, side + ragged)
    # Bare skin beside the soul patch and round the lips.
    bare = smoothstep(0.055, 0.085, side) * smoothstep(0.235, 0.19, side) * smoothstep(6.365, 6.39, y) * smoothstep(6.48, 6.46, y)
    mouth = smoothstep(0.255, 0.235, side) * smoothstep(6.43, 6.455, y) * smoothstep(6.665, 6.645, y)
    full = np.maximum(full * (1 - 0.75 * bare), moustache) * (1 - mouth * (moustache < 0.3))
    return {"moustache": moustache, "goatee": goatee, "full": full}


def _roots(area: Floats, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """theta and y (count,) of hairs spread over an area (H, W)."""
    theta, y = grid()
    picked = rng.choice(area.size, count, p=area.ravel() / area.sum())
    jitter = rng.random((2, count)) - 0.5
    step_theta, step_y = theta[0, 1] - theta[0, 0], y[0, 0] - y[1, 0]
    return theta.ravel()[picked] + jitter[0] * step_theta, y.ravel()[picked] + jitter[1] * step_y


def _beard_direction(theta: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Hairs grow down; away from the philtrum on the lip, forward under the cheek."""
    lip = smoothstep(6.55, 6.66, y) * smoothstep(0.36, 0.30, np.abs(theta))
    lean = np.sign(theta) * (0.85 * lip * np.minimum(np.abs(theta) / 0.12, 1) - 0.25 * smoothstep(0.4, 0.9, np.abs(theta)))
    return -np.pi / 2 + lean + rng.normal(0, 0.22, len(theta))


def _grown(area: Floats, rng: np.random.Generator, count: int, ground: float, lengths: tuple[float, float]) -> Floats:
    theta, y = _roots(area, count, rng)
    y = y + 0.02
    n = len(theta)
    direction = _beard_direction(theta, y, rng)
    length = rng.uniform(*lengths, n) * smoothstep(5.98, 6.22, y)
    hairs = strokes(theta, y, direction, length, rng.uniform(0.006, 0.010, n), rng.uniform(0.35, 0.95, n), rng.normal(0, 0.35, n))
    patchy = 1 + 0.10 * noise(area.shape, 10, rng)
    return gaussian_filter(over(hairs, ground * gaussian_filter(area, 3) * patchy), 0.5) * 0.97


def _stubble(area: Floats, rng: np.random.Generator) -> Floats:
    """Short dark points over a bluish shade."""
    area = gaussian_filter(area, 4)
    theta, y = _roots(area, 16000, rng)
    n = len(theta)
    direction = _beard_direction(theta, y, rng)
    points = strokes(
        theta, y, direction, rng.uniform(0.008, 0.022, n), np.full(n, 0.006), rng.uniform(0.25, 0.75, n), np.zeros(n)
    )
    return over(points * 0.75, 0.27 * area * (1 + 0.12 * noise(area.shape, 14, rng)))
