"""Random changes to a crop that make renders and photos harder, and more alike.

Heavy augmentation is a good part of what carries renders over to photos: blur and resolution, tone, colour
temperature, grey, noise, JPEG, things in front of the face, uneven light, the black corners of warped photos. Moves
stay small: crops come aligned, and only the noise of alignment is imitated. All on uint8 with OpenCV, a few
milliseconds a picture."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from sdk.contract import CROP_SIZE

Image = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Generator = np.random.Generator

SHIFT = 2.5
"""Pixels by which alignment may be off, each way."""
TURN = 2.5
"""Degrees by which alignment may be off, each way."""
ZOOM = 0.03
"""Relative size by which alignment may be off, each way."""

_NOISE_SIZE = 512
_NOISE = np.clip(np.random.default_rng(0).normal(128, 40, (_NOISE_SIZE, _NOISE_SIZE, 3)), 0, 255).astype(np.uint8)


def augment(image: Image, rng: Generator, mirror: bool, moved_only: bool = False) -> tuple[Image, FloatArray]:
    """Change a crop (256, 256, 3) RGB, or only move it. Returns the new crop and the matrix (2, 3) that takes its old pixel
    coordinates to the new ones (pixel centres at .5)."""
    matrix = jitter_matrix(rng, mirror)
    image = warp(image, matrix, rng)
    if moved_only:
        return np.ascontiguousarray(image), matrix
    if rng.random() < 0.2:
        image = cover(image, rng)
    image = looks(image, rng)
    if rng.random() < 0.25:
        image = black_corners(image, rng)
    return np.ascontiguousarray(image), matrix


def looks(image: Image, rng: Generator) -> Image:
    """The changes that move nothing and hide nothing: light, tone, colour, resolution, noise, compression."""
    if rng.random() < 0.3:
        image = uneven_light(image, rng)
    image = tone(image, rng)
    if rng.random() < 0.4:
        image = saturation(image, rng)
    if rng.random() < 0.6:
        image = resolution(image, rng)
    if rng.random() < 0.5:
        image = noise(image, rng)
    if rng.random() < 0.35:
        image = compress(image, rng)
    return image


def jitter_matrix(rng: Generator, mirror: bool) -> FloatArray:
    """(2, 3) small similarity about the crop's centre, after a mirroring where asked for."""
    angle, zoom = np.deg2rad(rng.uniform(-TURN, TURN)), rng.uniform(1 - ZOOM, 1 + ZOOM)
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    if mirror:
        linear = linear @ np.diag([-1.0, 1.0])
    centre = np.full(2, CROP_SIZE / 2)
    return np.c_[linear, centre + rng.uniform(-SHIFT, SHIFT, 2) - linear @ centre].astype(np.float32)


def warp(image: Image, matrix: FloatArray, rng: Generator) -> Image:
    """Apply a matrix of :func:`jitter_matrix`; the edge repeats, or is black as outside a photo."""
    shifted = matrix.astype(np.float64)
    shifted[:, 2] += 0.5 * shifted[:, :2].sum(1) - 0.5  # OpenCV puts pixel centres at whole numbers
    border = cv2.BORDER_REPLICATE if rng.random() < 0.7 else cv2.BORDER_CONSTANT
    return cv2.warpAffine(image, shifted, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR, borderMode=border)


def cover(image: Image, rng: Generator) -> Image:
    """A hand, a microphone, hair: an ellipse or a box in one colour, or a piece of the picture itself, in front of
    the face."""
    width, height = rng.integers(16, 80, 2)
    x, y = rng.integers(0, CROP_SIZE - width), rng.integers(0, CROP_SIZE - height)
    if rng.random() < 0.35:
        image[y : y + height, x : x + width] = image[::-1, ::-1][y : y + height, x : x + width].copy()
        return image
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    if rng.random() < 0.5:
        image[y : y + height, x : x + width] = colour
        return image
    centre, axes = (int(x + width // 2), int(y + height // 2)), (int(width // 2), int(height // 2))
    return cv2.ellipse(np.ascontiguousarray(image), centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)


def uneven_light(image: Image, rng: Generator) -> Image:
    """Light that falls off across the face in a random direction, softly or with an edge."""
    angle, steep, reach = rng.uniform(0, 2 * np.pi), rng.uniform(1, 6), rng.uniform(0.1, 0.5)
    axis = np.linspace(-1, 1, 32, dtype=np.float32)
    ramp = np.clip((np.cos(angle) * axis + np.sin(angle) * axis[:, None] + rng.uniform(-0.5, 0.5)) * steep, -1, 1)
    gain = cv2.resize(1 + reach * ramp, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(image, cv2.merge([gain] * 3), dtype=cv2.CV_8U)


def tone(image: Image, rng: Generator) -> Image:
    """Gamma, contrast, brightness and colour temperature in one table per channel."""
    value = np.linspace(0, 1, 256) ** rng.uniform(0.65, 1.5)
    value = (value - 0.45) * rng.uniform(0.75, 1.3) + 0.45 + rng.uniform(-0.1, 0.1)
    gains = rng.uniform(0.88, 1.12, 3)
    table = np.clip(255 * value[:, None] * gains, 0, 255).astype(np.uint8)
    return cv2.LUT(image, table[None])


def saturation(image: Image, rng: Generator) -> Image:
    """Towards grey (at times all the way), or more colourful."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    amount = 0.0 if rng.random() < 0.2 else rng.uniform(0.3, 1.4)
    return cv2.addWeighted(image, amount, grey, 1 - amount, 0)


def resolution(image: Image, rng: Generator) -> Image:
    """Blur, a smaller photo scaled up, or sharpening."""
    kind = rng.random()
    if kind < 0.3:
        return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 2.5)))
    if kind < 0.85:
        side = int(rng.uniform(80, 230))
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)
    return cv2.addWeighted(image, 1.7, cv2.blur(image, (3, 3)), -0.7, 0)


def noise(image: Image, rng: Generator) -> Image:
    """Sensor noise of a random strength, from a fixed sheet read at a random place."""
    x, y = rng.integers(0, _NOISE_SIZE - CROP_SIZE, 2)
    strength = float(rng.uniform(0.02, 0.25))
    return cv2.addWeighted(image, 1.0, _NOISE[y : y + CROP_SIZE, x : x + CROP_SIZE], strength, -128 * strength)


def compress(image: Image, rng: Generator) -> Image:
    """JPEG blocks and ringing."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(25, 90))])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def black_corners(image: Image, rng: Generator) -> Image:
    """Black outside a turned square, as where a warped or small photo ends."""
    angle = rng.uniform(-25, 25)
    side = CROP_SIZE * rng.uniform(0.95, 1.25)
    centre = CROP_SIZE / 2 + rng.uniform(-25, 25, 2)
    corners = cv2.boxPoints((tuple(map(float, centre)), (float(side), float(side)), float(angle)))
    mask = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)
    cv2.fillConvexPoly(mask, corners.astype(np.int32), 255)
    return cv2.bitwise_and(image, image, mask=mask)
