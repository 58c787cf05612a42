"""Painting on the texture cylinder: coordinates, strokes of hair, noise. Textures are (H, W) float in [0, 1] until
they are stored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from game.baking.head_surface import Floats
from game.styles import BOTTOM, TEXTURE_SHAPE, TOP

HEIGHT, WIDTH = TEXTURE_SHAPE
SUPERSAMPLE = 4
FACE_RADIUS = 1.08
"""Radius in dm of the face about the cylinder's axis: makes an angle a length."""


def grid() -> tuple[Floats, Floats]:
    """theta and y, both (H, W), of every texel's centre."""
    theta = ((np.arange(WIDTH) + 0.5) / WIDTH - 0.5) * 2 * np.pi
    y = TOP - (np.arange(HEIGHT) + 0.5) / HEIGHT * (TOP - BOTTOM)
    return np.meshgrid(theta, y)


def texels(theta: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Column and row of points on the cylinder, in texels from the upper left corner."""
    return (theta / (2 * np.pi) + 0.5) * WIDTH, (TOP - y) / (TOP - BOTTOM) * HEIGHT


def strokes(
    theta: Floats, y: Floats, direction: Floats, length: Floats, thickness: Floats, strength: Floats, bend: Floats
) -> Floats:
    """Hairs painted as tapering curves: (H, W) in [0, 1].

    For each of N hairs its root (theta, y), its direction (radians, 0 away to the person's left, pi/2 up), length and
    thickness in dm, strength in [0, 1] and bend (radians that it turns from root to tip).
    """
    column, row = texels(theta, y)
    left, right = int(column.min()) - 40, int(column.max()) + 40
    top, bottom = int(row.min()) - 40, int(row.max()) + 40
    size = ((right - left) * SUPERSAMPLE, (bottom - top) * SUPERSAMPLE)
    image = Image.new("L", size, 0)
    draw = ImageDraw.Draw(image)
    across = WIDTH / (2 * np.pi * FACE_RADIUS) * SUPERSAMPLE
    down = HEIGHT / (TOP - BOTTOM) * SUPERSAMPLE
    pieces = 4
    for i in np.argsort(strength):
        x, z = (column[i] - left) * SUPERSAMPLE, (row[i] - top) * SUPERSAMPLE
        for piece in range(pieces):
            heading = direction[i] + bend[i] * piece / pieces
            step = length[i] / pieces
            x1, z1 = x + np.cos(heading) * step * across, z - np.sin(heading) * step * down
            width = max(1, round(thickness[i] * down * (1 - 0.75 * piece / pieces)))
            draw.line([(x, z), (x1, z1)], fill=int(strength[i] * 255), width=width)
            x, z = x1, z1
    small = np.asarray(image.resize((right - left, bottom - top), Image.Resampling.BOX), float) / 255
    canvas = np.zeros((HEIGHT, WIDTH))
    r0, r1, c0, c1 = max(top, 0), min(bottom, HEIGHT), max(left, 0), min(right, WIDTH)
    canvas[r0:r1, c0:c1] = small[r0 - top : r1 - top, c0 - left : c1 - left]
    return canvas


def over(under: Floats, above: Floats) -> Floats:
    """Alpha of one layer of paint over another."""
    return 1 - (1 - under) * (1 - above)


def noise(shape: tuple[int, int], scale: float | tuple[float, float], rng: np.random.Generator) -> Floats:
    """Smooth noise of zero mean and unit deviation that tiles; ``scale``: its feature size in pixels (one, or rows
    and columns).
    """
    rows, columns = (scale, scale) if isinstance(scale, int | float) else scale
    fy = np.fft.fftfreq(shape[0])[:, None] * rows
    fx = np.fft.rfftfreq(shape[1])[None] * columns
    spectrum = np.fft.rfft2(rng.normal(size=shape)) * np.exp(-2 * np.pi**2 * (fy**2 + fx**2))
    field = np.fft.irfft2(spectrum, s=shape)
    return (field - field.mean()) / field.std()


def to_bytes(values: Floats) -> NDArray[np.uint8]:
    """[0, 1] -> uint8."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
