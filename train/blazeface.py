"""BlazeFace, the face detector: a picture of 256x256 pixels to 896 candidate boxes with scores.

This is MediaPipe's ``face_detection_back`` (Bazarevsky et al., "BlazeFace: Sub-millisecond neural face detection on mobile
GPUs", 2019; Apache-2.0). Its weights come from :mod:`train.mediapipe_weights`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUT_SIZE = 256
GRIDS = ((16, 2), (32, 6))
"""(pixels per cell, candidates per cell) of the two output maps; at 256 pixels 16*16*2 + 8*8*6 = 896 candidates."""
WIDTHS = (24, 24, 48, 96)
"""Channels at 128, 64, 32 and 16 cells per side."""
PADDED_WIDTHS = (32, 32, 48, 96)
"""As built: channels of zeros fill up to a multiple of 16, the block of ONNX Runtime's convolutions."""
VALUES = 16
"""Numbers per candidate: centre x, y, width, height, then x, y of right eye, left eye, nose tip, mouth, right and left ear."""


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: at stride 2 the odd row and column are added at the end."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        total = kernel - stride
        self.same = (total // 2, total - total // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, self.same) if any(self.same) else x)


class WidenChannels(nn.Module):
    """Adds channels of zeros. As a 1x1 convolution, so that ONNX Runtime stays in its blocked layout; bit-exact."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(outputs, inputs)[:, :, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight)


class BlazeBlock(nn.Module):
    """Depthwise 3x3 and pointwise convolution beside a skip connection; ``activation`` follows the sum.

    Stride 2 halves the skip by a maximum; more output channels are zeros in it.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.depthwise = SameConv(inputs, inputs, 3, stride, groups=inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)
        self.pool = nn.MaxPool2d(2) if stride == 2 else nn.Identity()
        self.widen = WidenChannels(inputs, outputs) if outputs > inputs else nn.Identity()
        self.activation = activation or nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.widen(self.pool(x)) + self.pointwise(self.depthwise(x)))


class BlazeFace(nn.Module):
    """The detector network.

    Input: (B, 3, 256, 256) RGB in [-1, 1]; any other multiple of 32 pixels does too, and finds faces that are as large in pixels.
    Output: boxes (B, 896, 16) in pixels of the input, positions relative to the candidate's anchor (:func:`anchors`), and score
    logits (B, 896).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, PADDED_WIDTHS[0], 5, stride=2)
        blocks: list[nn.Module] = []
        inputs = PADDED_WIDTHS[0]
        for outputs in PADDED_WIDTHS:
            if blocks:
                blocks.append(BlazeBlock(inputs, outputs, stride=2))
            blocks += [BlazeBlock(outputs, outputs) for _ in range(7)]
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.reduce = nn.Sequential(SameConv(96, 96, 3, stride=2, groups=96), nn.Conv2d(96, 96, 1), nn.ReLU())
        self.scores = nn.ModuleList(nn.Conv2d(96, count, 1) for _, count in GRIDS)
        self.boxes = nn.ModuleList(nn.Conv2d(96, count * VALUES, 1) for _, count in GRIDS)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        near = self.blocks(functional.relu(self.stem(image)))  # (B, 96, 16, 16)
        maps = (near, self.reduce(near))  # and (B, 96, 8, 8)
        boxes = [_rows(head(x), VALUES) for head, x in zip(self.boxes, maps, strict=True)]
        scores = [_rows(head(x), 1) for head, x in zip(self.scores, maps, strict=True)]
        return torch.cat(boxes, 1), torch.cat(scores, 1)[..., 0]


def _rows(x: Tensor, values: int) -> Tensor:
    """(B, candidates * values, H, W) -> (B, H * W * candidates, values), in the order of the anchors."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)


def anchors(size: int = INPUT_SIZE) -> Tensor:
    """(N, 2) anchor centres x, y in pixels of an input of this side, in the order of the candidates; N = 896 at 256 pixels."""
    grids = []
    for cell, count in GRIDS:
        centre = (torch.arange(size // cell, dtype=torch.float32) + 0.5) * cell
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        grids.append(torch.stack((x, y), -1).reshape(-1, 1, 2).expand(-1, count, 2).reshape(-1, 2))
    return torch.cat(grids)
