"""dlib's face-recognition ResNet in PyTorch: the teacher of :mod:`train.recogniser`.

Davis King trained it on three million photos and gave it to the public domain (``dlib_face_recognition_resnet_model_v1``:
99.38 % on LFW). The network is that of dlib's example ``dnn_face_recognition_ex.cpp``: 29 convolutions, residual blocks whose
shortcuts are average-pooled and padded with zero channels, 128 numbers of no particular length. Its file, which the PyPI
package ``face_recognition_models`` carries, is read here without dlib, and takes 21 ms a picture on one core where dlib took 126.

Its input is a *chip*: 150x150 pixels about the face, placed by five landmarks. Aligned crops have their faces in the same place
and, as it happens, at the same scale, so that a chip is cut out of one (:func:`chips`). On 6,000 pairs of LFW that is as good as
chips placed by landmarks: 98.5 % of pairs told right against 98.6 %."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

CHIP = 150
"""Side of a chip in pixels."""
EMBEDDING = 128
PACKAGE = "face_recognition_models"
FILE = "models/dlib_face_recognition_resnet_model_v1.dat"

CORNER = (54, 76)
"""Left and upper edge of the chip in an aligned crop: the median of where dlib's five points place it."""

_MEAN = (122.782, 117.001, 104.298)
_SCALE = 256.0
_WIDTHS = (32, 32, 32, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256, 256)
_HALVED = (3, 7, 10, 13)
"""Blocks at whose entry the picture is halved."""


class WeightsMissing(RuntimeError):
    """The file of weights is not there; the message says which package has it."""


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which has no weights."""

    def __init__(self, inputs: int, outputs: int, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.first = nn.Conv2d(inputs, outputs, 3, 2 if halve else 1, 0 if halve else 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.second(functional.relu(self.first(x)))
        if not self.halve:
            return functional.relu(seen + x)
        # Whichever is smaller, in height, width or channels, is padded with zeros at its end.
        shortcut = functional.avg_pool2d(x, 2)
        sides = shortcut.shape[-1] - seen.shape[-1]
        seen = functional.pad(seen, (0, sides, 0, sides))
        return functional.relu(seen + functional.pad(shortcut, (0, 0, 0, 0, 0, seen.shape[1] - shortcut.shape[1])))


class DlibResNet(nn.Module):
    """The network. dlib's affine layers are folded into the convolutions before them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])
        self.stem = nn.Conv2d(3, 32, 7, 2)
        inputs = (32, *_WIDTHS)
        self.blocks = nn.Sequential(*(Block(inputs[k], width, k in _HALVED) for k, width in enumerate(_WIDTHS)))
        self.head = nn.Linear(256, EMBEDDING, bias=False)

    def forward(self, chips: Tensor) -> Tensor:
        """RGB chips (B, 3, 150, 150) in [0, 255] -> (B, 128); pictures of one person are less than 0.6 apart."""
        x = functional.relu(self.stem((chips - self.mean) / _SCALE))
        x = self.blocks(functional.max_pool2d(x, 3, 2))
        return self.head(x.mean((2, 3)))


def load_teacher(path: Path | None = None) -> DlibResNet:
    """The network with its weights, in evaluation mode and frozen.

    `path`: the .dat file; the one of the installed package where None. :class:`WeightsMissing` where there is none."""
    path = path or _packaged()
    if not path.is_file():
        raise WeightsMissing(f"there is no {path}")
    network = DlibResNet()
    tensors = _tensors(path.read_bytes())
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for convolution in convolutions:
            weight, bias = _split(next(tensors), convolution.weight.numel())
            gamma, beta = _split(next(tensors), convolution.out_channels)
            convolution.weight.copy_(weight.view_as(convolution.weight) * gamma[:, None, None, None])
            convolution.bias.copy_(bias * gamma + beta)  # type: ignore[union-attr]
        network.head.weight.copy_(next(tensors).view(256, EMBEDDING).T)
    return network.eval().requires_grad_(False)


def _packaged() -> Path:
    # Not imported: it wants setuptools, for nothing but the path of this file.
    location = importlib.util.find_spec(PACKAGE)
    if location is None or not location.submodule_search_locations:
        raise WeightsMissing(f"dlib's weights are in a package: pip install {PACKAGE}")
    return Path(location.submodule_search_locations[0]) / FILE


def _split(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    return values[:count], values[count:]


def _tensors(data: bytes) -> Iterator[Tensor]:
    """The layers' parameters in order of execution. dlib writes each as the layer's name, at times its size, then the
    tensor: version, four sizes, little-endian floats. A whole number is a byte that says how many bytes follow."""
    place = 0
    while True:
        found = {name: data.find(name, place) for name in (b"con_4", b"affine_", b"fc_2")}
        name, place = min(((n, p) for n, p in found.items() if p >= 0), key=lambda item: item[1], default=(b"", -1))
        if place < 0:
            return
        place += len(name)
        numbers = []
        for _ in range(7 if name == b"fc_2" else 5):
            size = data[place]
            numbers.append(int.from_bytes(data[place + 1 : place + 1 + size], "little"))
            place += 1 + size
        count = int(np.prod(numbers[-4:]))
        yield torch.from_numpy(np.frombuffer(data, "<f4", count, place).copy())
        place += 4 * count


def chips(crops: Tensor) -> Tensor:
    """Aligned crops (B, C, 256, 256) -> their chips (B, C, 150, 150)."""
    left, top = CORNER
    return crops[:, :, top : top + CHIP, left : left + CHIP]
