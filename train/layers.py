"""Layers that several networks are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdk.contract import CROP_SIZE


def convolution(inputs: int, outputs: int, size: int, stride: int = 1, padding: int | None = None) -> nn.Sequential:
    """Convolution, batch norm, ReLU; padded so that stride 1 keeps the size, unless told otherwise."""
    padding = size // 2 if padding is None else padding
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut (the residual structure that CN109902767B [0050] adds to its encoder)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, 3, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(self.first(x)) + self.shortcut(x), inplace=True)


def residual_stages(inputs: int, widths: Sequence[int], depths: Sequence[int]) -> nn.ModuleList:
    """Stages of so many residual blocks, each at half the resolution of the one before, with these channels."""
    stages = []
    for before, (width, depth) in zip((inputs, *widths[:-1]), zip(widths, depths, strict=True), strict=True):
        blocks = (Residual(before if k == 0 else width, width, 2 if k == 0 else 1) for k in range(depth))
        stages.append(nn.Sequential(*blocks))
    return nn.ModuleList(stages)


def mirrored(grid: Tensor) -> Tensor:
    """(..., W) with left and right exchanged."""
    side = grid.shape[-1]
    return grid[..., torch.arange(side - 1, -1, -1, device=grid.device)]


def mirrored_points(points: Tensor, order: Tensor) -> Tensor:
    """Points (B, N, 2), crop px, on the mirror image of the crop; `order` (N,): the number of each one's mirror image."""
    x, y = points[:, order].split(1, 2)
    return torch.cat([CROP_SIZE - x, y], 2)


def sides(values: Tensor) -> Tensor:
    """(2 B, ...), of B pictures and of their mirror images: (2, B, ...)."""
    return values.unflatten(0, (2, -1))


def dense(inputs: int, outputs: int) -> nn.Sequential:
    """Linear map, batch norm, ReLU."""
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))


def still_norms(network: nn.Module) -> None:
    """Batch norms keep the mean and variance that they have, while all else learns."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()


@contextmanager
def as_served(network: nn.Module) -> Iterator[None]:
    """A network in evaluation mode for a while."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
