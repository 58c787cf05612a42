"""LightCNN-29v2: a crop in, who it is out. The identity recogniser F_reg of CN112200236A ([0118]).

The network is that of Wu, He, Sun and Tan, "A Light CNN for Deep Face Representation with Noisy Labels" (IEEE TIFS 2018), in
the authors' second 29-layer version. Its activation is *max-feature-map*: a convolution makes twice the channels, and of each
pair the larger is kept. 29 convolutions, none normalised, so that a picture's embedding depends on nothing but the picture:

    grey 128x128 -> MFM 5x5 -> pool -> 1 residual block  -> group -> pool
                                    -> 2 residual blocks -> group -> pool
                                    -> 3 residual blocks -> group
                                    -> 4 residual blocks -> group -> pool -> linear, 256

A residual block is two 3x3 MFMs beside the identity; a group is a 1x1 and a 3x3 MFM. What the second version changed: pools
are the sum of max and average pooling (the first version's are max pools), and the last layer is linear (it was an MFM), which
makes 10.5 million weights of 12.6.

Other than published: the network cuts the face out of an aligned crop itself and takes out its mean brightness and contrast,
which a render chooses freely; its embedding has length 1, since all that is asked of it is the cosine of two; and it starts
from weights that keep the size of what flows through, without which 29 layers without normalisation learn nothing for long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.presets import named, restored

INPUT_SIZE = 128
EMBEDDING = 256
REGION = (54, 76, 150)
"""Left and upper edge and side, in crop pixels, of the square that is looked at, brows to chin and ear to ear: what the
teacher looks at (:data:`train.dlib_resnet.CORNER`)."""
LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601)."""
DEPTHS = (1, 2, 3, 4)
"""Residual blocks of the four stages."""
CONTRAST = 0.05
"""Added to the standard deviation of grey (in [0, 1]) that pictures are divided by: noise in the dark stays small."""
RESIDUAL_START = 0.3
"""What residual blocks add is made this much smaller at first."""


@dataclass(frozen=True)
class Preset:
    """Size of a network: channels of the four stages."""

    widths: tuple[int, int, int, int]


PRESETS: dict[str, Preset] = {
    "tiny": Preset((4, 8, 12, 12)),  # tests
    "cpu": Preset((16, 32, 64, 64)),  # hours on two cores
    "gpu": Preset((48, 96, 192, 128)),  # as published
}


class Larger(torch.autograd.Function):
    """The larger of two tensors of one shape. Of equal ones the second learns; :func:`torch.maximum` shares what they learn,
    which takes it four times as long."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        ctx.save_for_backward(first > second)
        return torch.maximum(first, second)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        (larger,) = ctx.saved_tensors
        first = gradient * larger
        return first, gradient - first


class MaxFeatureMap(nn.Module):
    """A convolution to twice the channels; of channels k and k + C the larger."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, 2 * outputs, size, 1, size // 2)
        # The larger of two normal values has the mean square of one: variance 1 / inputs keeps the size.
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="linear")
        nn.init.zeros_(self.convolution.bias)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.convolution(x).chunk(2, 1)
        return Larger.apply(first, second)


class Residual(nn.Sequential):
    """Two MFMs beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__(MaxFeatureMap(width, width, 3), MaxFeatureMap(width, width, 3))
        with torch.no_grad():
            self[1].convolution.weight *= RESIDUAL_START

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x


def _stage(width: int, depth: int, outputs: int) -> nn.Sequential:
    """Residual blocks, then a group to another width."""
    group = (MaxFeatureMap(width, width, 1), MaxFeatureMap(width, outputs, 3))
    return nn.Sequential(*(Residual(width) for _ in range(depth)), *group)


def _pool(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 2) + functional.avg_pool2d(x, 2)


def look(crop: Tensor) -> Tensor:
    """Aligned crops (B, 3, 256, 256) RGB in [0, 1] -> the faces in them, grey (B, 1, 128, 128), of mean 0 and about deviation
    1 each."""
    left, top, side = REGION
    face = crop[:, :, top : top + side, left : left + side]
    grey = (face * crop.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    grey = functional.interpolate(grey, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", align_corners=False)
    deviation, mean = torch.std_mean(grey, (2, 3), keepdim=True)
    return (grey - mean) / (deviation + CONTRAST)


class LightCNN(nn.Module):
    """The network."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        a, b, c, d = preset.widths
        self.stem = MaxFeatureMap(1, a, 5)
        self.stages = nn.ModuleList(
            _stage(width, depth, outputs) for width, depth, outputs in zip(preset.widths, DEPTHS, (b, c, d, d), strict=True)
        )
        self.embed = nn.Linear(d * (INPUT_SIZE // 16) ** 2, EMBEDDING)

    def forward(self, crop: Tensor) -> Tensor:
        """Aligned crops (B, 3, 256, 256) float32 RGB in [0, 1] -> embeddings (B, 256) float32 of length 1. Gradients
        reach the crop."""
        return functional.normalize(self.describe(look(crop)).float(), dim=1)

    def describe(self, face: Tensor) -> Tensor:
        """Faces of :func:`look` -> (B, 256), of any length."""
        x = _pool(self.stem(face))  # (B, a, 64, 64)
        first, second, third, fourth = self.stages
        x = _pool(first(x))  # (B, b, 32, 32)
        x = _pool(second(x))  # (B, c, 16, 16)
        x = _pool(fourth(third(x)))  # (B, d, 8, 8)
        return self.embed(x.flatten(1))


def build(preset: str) -> LightCNN:
    """A fresh network of a named preset; :class:`ValueError` names the presets there are."""
    return LightCNN(named(PRESETS, preset))


def describe(network: LightCNN) -> dict[str, Any]:
    """What a checkpoint must say so that :func:`rebuild` can make the network again."""
    return asdict(network.preset)


def rebuild(description: dict[str, Sequence[int]]) -> LightCNN:
    """A fresh network of that description."""
    return LightCNN(restored(Preset, description))
