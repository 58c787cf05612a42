"""Putting a photo of any size onto the square canvas that `align` takes.

Clients and training share this one function: the same photo must reach `align` as the same pixels everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.contract import CANVAS_SIZE


def letterbox(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Scale a photo to fit the canvas and centre it on black.

    Shrinking averages pixel areas, enlarging interpolates linearly. A photo that is larger than the canvas by a factor of
    two or more may be decoded at reduced size beforehand; the canvas hardly differs.

    Args:
        image: (H, W, 3) uint8 RGB, upright, any size.

    Returns:
        The canvas (640, 640, 3) uint8; and the transform (2, 3) float64 from photo to canvas pixels,
        ``canvas_xy = transform[:, :2] @ photo_xy + transform[:, 2]``, with the centre of the first pixel at (0.5, 0.5).
    """
    import cv2  # `import sdk` loads numpy only

    height, width = image.shape[:2]
    scale = CANVAS_SIZE / max(height, width)
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    pixels: Any = image
    if (columns, rows) != (width, height):
        pixels = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (CANVAS_SIZE - columns) // 2, (CANVAS_SIZE - rows) // 2
    canvas = np.zeros((CANVAS_SIZE, CANVAS_SIZE, 3), np.uint8)
    canvas[top : top + rows, left : left + columns] = pixels
    return canvas, np.array([[columns / width, 0, left], [0, rows / height, top]], np.float64)
