"""FaceMesh, the landmark network: a face of 192x192 pixels to 468 points in three dimensions.

This is MediaPipe's ``face_landmark`` (Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile
GPUs", 2019; Apache-2.0). Its weights come from :mod:`train.mediapipe_weights`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.blazeface import BlazeBlock, SameConv

INPUT_SIZE = 192
POINTS = 468


class ChannelPReLU(nn.PReLU):
    """PReLU with a slope per channel, as a sum of two products.

    ONNX Runtime has no blocked-layout PRelu and runs it at a third of the speed of this form, which equals it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, x: Tensor) -> Tensor:
        slope = self.weight[:, None, None]
        return slope * x + (1 - slope) * functional.relu(x)


def _block(inputs: int, outputs: int, stride: int = 1) -> BlazeBlock:
    return BlazeBlock(inputs, outputs, stride, ChannelPReLU(outputs))


class FaceMesh(nn.Module):
    """The landmark network.

    Input: (B, 3, 192, 192) RGB in [0, 1], a face upright in the middle. Output: points (B, 468, 3) in pixels of the input
    (z in the same unit, smaller is nearer to the camera), and the logit (B,) of "this is a face".
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (16, 32, 64, 128, 128)  # at 96, 48, 24, 12 and 6 cells per side
        layers: list[nn.Module] = [SameConv(3, 16, 3, stride=2), ChannelPReLU(16)]
        for i, width in enumerate(widths):
            if i:
                layers.append(_block(widths[i - 1], width, stride=2))
            layers += [_block(width, width), _block(width, width)]
        self.trunk = nn.Sequential(*layers)  # (B, 128, 6, 6)
        self.points = nn.Sequential(_block(128, 128, stride=2), _block(128, 128), _block(128, 128), *_head(POINTS * 3))
        self.score = nn.Sequential(_block(128, 128, stride=2), *_head(1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self._heads(self.trunk(image))

    def forward_half(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The same for a picture (B, 3, 96, 96), as if it were enlarged to 192x192 by bilinear interpolation.

        Enlarging and the first convolution are one convolution of the small picture: its three taps per axis, at 2i, 2i + 1 and
        2i + 2 of the large picture, fall on i - 1, i and i + 1 of the small one.
        """
        stem, *rest = self.trunk
        enlarge = torch.tensor([[0.25, 0.0, 0.0], [0.75, 0.75, 0.25], [0.0, 0.25, 0.75]], dtype=stem.weight.dtype)
        weight = enlarge @ stem.weight @ enlarge.T
        x = functional.conv2d(image, weight, stem.bias, padding=1)
        for layer in rest:
            x = layer(x)
        return self._heads(x)

    def _heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.points(features).reshape(-1, POINTS, 3), self.score(features).reshape(-1)


def _head(outputs: int) -> tuple[nn.Module, ...]:
    """(B, 128, 3, 3) -> (B, outputs, 1, 1)."""
    return nn.Conv2d(128, 32, 1), ChannelPReLU(32), _block(32, 32), nn.Conv2d(32, outputs, 3)
