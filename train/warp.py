"""Sampling turned squares from a photo: the part of alignment that costs a CPU most after the networks.

One bilinear sample per output pixel must do, so a warp reads from a smaller copy of the canvas where the output is coarser
than the canvas (a mip map). The level is chosen per picture. Levels that no picture of a batch needs are not computed; for
portraits that is the full canvas.

Frames: *canvas* pixels (640). The centre of the first pixel is (0.5, 0.5), x to the right, y down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdk.contract import CANVAS_SIZE

HALF, QUARTER = CANVAS_SIZE // 2, CANVAS_SIZE // 4
"""Sides of the smaller levels."""
GAP = 4
"""Black rows between them in :attr:`Pyramid.small`, so that a sample just outside one level is black."""
SMALL_SIZE = (HALF + GAP + QUARTER, HALF)
"""Height and width of :attr:`Pyramid.small`."""
HALF_STEP, QUARTER_STEP = 1.75, 4.25
"""The half and the quarter level serve when output pixels lie at least this far apart, in canvas pixels: about where each comes
nearer to the mean over output pixels than the level before it (40 to 60 dB, by the picture; 38 dB at the worst step)."""

T = TypeVar("T")


class Pyramid(NamedTuple):
    """The canvas at three sizes, values in [0, 255].

    ``full`` (B, 640, 640, 3), channels last; ``half`` (B, 3, 320, 320); ``quarter`` (B, 3, 160, 160); and ``small``
    (B, 3, 484, 320), which is ``half`` above ``quarter``.
    """

    full: Tensor
    half: Tensor
    quarter: Tensor
    small: Tensor


class PyramidBuilder(nn.Module):
    """Canvas uint8 (B, 640, 640, 3) to its pyramid."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean_of_two", torch.eye(3).repeat(1, 2) / 4, persistent=False)  # two pixels -> one

    def forward(self, canvas: Tensor) -> Pyramid:
        full = canvas.float()
        # The mean of 2x2 pixels and the change of layout as a sum of row pairs and a product: a third faster in ONNX Runtime
        # than transposing the whole canvas and resizing it.
        rows = full.reshape(-1, HALF, 2, CANVAS_SIZE * 3).sum(2).reshape(-1, HALF * HALF, 6)
        half = torch.matmul(self.mean_of_two, rows.transpose(1, 2)).reshape(-1, 3, HALF, HALF)
        quarter = functional.interpolate(half, scale_factor=0.5, mode="bilinear")  # at exactly 1/2, the mean of 2x2 pixels
        small = torch.cat((half, functional.pad(quarter, (0, HALF - QUARTER, GAP, 0))), 2)
        return Pyramid(full, half, quarter, small)


def branch(condition: Tensor, yes: Callable[..., T], no: Callable[..., T], inputs: tuple[Tensor, ...]) -> T:
    """``yes(*inputs)`` or ``no(*inputs)`` by a condition on the data; a node of the graph when exported."""
    if torch.compiler.is_exporting():
        result: T = torch.cond(condition, yes, no, inputs)
        return result
    return (yes if condition else no)(*inputs)


class Warp(nn.Module):
    """Samples a square, turned picture from the pyramid.

    Coordinates are kept as one plane for x and one for y until the end: broadcasting over a last axis of two is slow in
    ONNX Runtime.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        centres = torch.arange(size, dtype=torch.float32) + 0.5
        self.register_buffer("columns", centres.reshape(1, 1, 1, size), persistent=False)
        self.register_buffer("rows", centres.reshape(1, 1, size, 1), persistent=False)

    def forward(self, pyramid: Pyramid, step: Tensor, corner: Tensor) -> tuple[Tensor, Tensor]:
        """Sample.

        Args:
            pyramid: of :class:`PyramidBuilder`.
            step: (B, 2) one output pixel to the right, in canvas pixels.
            corner: (B, 2) the output's corner (0, 0), in canvas pixels.

        Returns:
            The picture (B, 3, size, size) in [0, 1], black outside the canvas; and the mask (B, 1, size, size), the share of each
            pixel that is inside.
        """
        half_canvas = CANVAS_SIZE / 2
        length = torch.sqrt((step * step).sum(1) + 1e-12).reshape(-1, 1, 1, 1)
        a, b, x0, y0 = (torch.cat((step, corner - half_canvas), 1) / half_canvas).reshape(-1, 4, 1, 1).split(1, 1)
        x = self.columns * a + (x0 - self.rows * b)  # (B, 1, size, size), the canvas is [-1, 1]
        y = self.columns * b + (y0 + self.rows * a)
        return self._sample(pyramid, x, y, length) * (1 / 255), inside(x, length) * inside(y, length)

    def _sample(self, pyramid: Pyramid, x: Tensor, y: Tensor, length: Tensor) -> Tensor:
        coarse = length >= HALF_STEP

        def nothing(image: Tensor, x: Tensor, y: Tensor, length: Tensor) -> Tensor:
            return image.new_zeros(x.shape[0], 3, self.size, self.size)

        from_small = branch(coarse.any(), _sample_small, nothing, (pyramid.small, x, y, length))
        from_full = branch(coarse.logical_not().any(), _sample_full, nothing, (pyramid.full, x, y, length))
        return from_small + from_full  # one of them is black


ELSEWHERE = 4.0
"""Added to a coordinate of `grid_sample`, in [-1, 1] within a picture: beyond the border, where all is black."""


def _sample_full(full: Tensor, x: Tensor, y: Tensor, length: Tensor) -> Tensor:
    """Sample the canvas for pictures that are fine enough; the others are black."""
    coarse = (length >= HALF_STEP).to(x.dtype)
    return _grid_sample(full.permute(0, 3, 1, 2), x.clamp(-2, 2) + ELSEWHERE * coarse, y)


def _sample_small(small: Tensor, x: Tensor, y: Tensor, length: Tensor) -> Tensor:
    """Sample the half or the quarter level, whichever suits each picture; pictures that are too fine for both are black."""
    height, width = SMALL_SIZE
    fine = (length < HALF_STEP).to(x.dtype)
    quarter = (length >= QUARTER_STEP).to(x.dtype)
    limit = 1 + 2 / QUARTER  # a pixel of the quarter level outside: black in both
    span = 1 - quarter / 2  # share of the width that the level takes
    u = x.clamp(-limit, limit) * span + (span - 1 + ELSEWHERE * fine)
    top = quarter * (2 * (HALF + GAP) / height)
    v = y.clamp(-limit, limit) * (span * (width / height)) + (top + span * (width / height) - 1)
    return _grid_sample(small, u, v)


def _grid_sample(image: Tensor, u: Tensor, v: Tensor) -> Tensor:
    grid = torch.cat((u, v), 1).permute(0, 2, 3, 1)
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def inside(position: Tensor, length: Tensor) -> Tensor:
    """Share of pixels (B, 1, h, w), this many canvas pixels wide (B, 1, 1, 1), that lies inside the canvas [-1, 1]."""
    pixels = (CANVAS_SIZE / 2) / length
    return (pixels + 0.5 - position.abs() * pixels).clamp(0, 1)
