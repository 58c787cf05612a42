"""Close looks at brows, eyes and mouth: small pictures of them, cut out along FaceMesh's landmarks, and a small network for each.

What tells brows, irises and lips apart is a few pixels wide. A trunk that looks at whole faces blurs it, and would have to learn
to look there; landmarks know where it is. A look is a grid between two rows of landmarks, bent as they are: in it a brow is
straight and as long as any other, wherever the head is turned."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from train.layers import convolution, dense
from train.networks import read_at

DARKEST = 0.02
"""Added to colours in [0, 1] before their logarithm is taken, in which light adds and does not multiply."""
WIDTHS = (24, 32, 48, 64)
STRIDES = (1, 2, 1, 2)
TOLD = 64
"""Numbers that each look tells."""


class Look(NamedTuple):
    """A grid of points. upper, lower: rows of FaceMesh's landmarks, as many of each; along, across: from where to where, 0 the
    first landmark of a row and 1 its last, 0 the upper row and 1 the lower one; height, width: points; paired: whether there is
    one on the other side of the face, too."""

    upper: tuple[int, ...]
    lower: tuple[int, ...]
    along: tuple[float, float]
    across: tuple[float, float]
    height: int
    width: int
    paired: bool

    def weights(self) -> npt.NDArray[np.float32]:
        """(height * width, landmarks of both rows): what each landmark counts at each point."""
        count = len(self.upper)
        along = np.linspace(*self.along, self.width) * (count - 1)
        before = np.clip(np.floor(along), 0, count - 2).astype(int)
        at_row = np.zeros((self.width, count))
        at_row[np.arange(self.width), before + 1] = along - before
        at_row[np.arange(self.width), before] = 1 - (along - before)
        down = np.linspace(*self.across, self.height)[:, None, None]
        both = np.concatenate([(1 - down) * at_row, down * at_row], 2)
        return both.reshape(-1, 2 * count).astype(np.float32)


LOOKS = {
    "brow": Look((70, 63, 105, 66, 107), (46, 53, 52, 65, 55), (-0.1, 1.1), (-0.8, 1.8), 10, 20, True),
    "eye": Look((225, 224, 223, 222, 221), (31, 228, 229, 230, 231), (-0.1, 1.1), (0.0, 1.0), 16, 24, True),
    "mouth": Look((40, 39, 37, 0, 267, 269, 270), (91, 181, 84, 17, 314, 405, 321), (-0.2, 1.2), (-0.5, 1.5), 20, 32, False),
}


class CloseLook(nn.Module):
    """One look: crop and landmarks -> (B, TOLD)."""

    weights: Tensor

    def __init__(self, look: Look) -> None:
        super().__init__()
        self.look = look
        self.register_buffer("weights", torch.from_numpy(look.weights()), persistent=False)
        before = (3, *WIDTHS[:-1])
        self.layers = nn.Sequential(*(convolution(a, b, 3, s) for a, b, s in zip(before, WIDTHS, STRIDES, strict=True)))
        with torch.no_grad():
            cells = self.layers.eval()(torch.zeros(1, 3, look.height, look.width)).shape[2:].numel()
        self.told = dense((1 + look.paired) * (WIDTHS[-1] * cells + 3), TOLD)

    def points(self, mesh: Tensor) -> Tensor:
        """FaceMesh's landmarks (B, 468, 2) -> the grid's points (B, height * width, 2)."""
        return self.weights @ mesh[:, self.look.upper + self.look.lower]

    def cut(self, crop: Tensor, meshes: tuple[Tensor, Tensor]) -> Tensor:
        """crop: (B, 3, 256, 256) in [0, 1]; meshes: the landmarks (B, 468, 2), and again with the numbers of their mirror images:
        the other eye is looked at as if it were this one, from its outer corner to its inner one. -> (B, :attr:`size`)
        logarithms of colours."""
        sides = meshes[: 1 + self.look.paired]
        points = torch.cat([self.points(mesh) for mesh in sides], 1)
        return (read_at(crop, points) + DARKEST).log()

    @property
    def size(self) -> int:
        """Numbers of a cut-out."""
        return (1 + self.look.paired) * self.look.height * self.look.width * 3

    def forward(self, cut: Tensor) -> Tensor:
        """(B, :attr:`size`) -> (B, TOLD)."""
        picture = cut.reshape(-1, self.look.height, self.look.width, 3).permute(0, 3, 1, 2)
        light = picture.mean((2, 3))
        seen = self.layers(picture - light[:, :, None, None]).flatten(1)
        return self.told(torch.cat([seen, light], 1).reshape(len(cut), -1))  # type: ignore[no-any-return]


class CloseLooks(nn.Module):
    """All of LOOKS."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.ModuleList(CloseLook(look) for look in LOOKS.values())

    def cut(self, crop: Tensor, mesh: Tensor, mirror_images: Tensor) -> Tensor:
        """crop: (B, 3, 256, 256) float32 in [0, 1]; mesh: (B, 468, 2), crop px; mirror_images: (468,) the number of each
        landmark's mirror image. -> (B, numbers of all cut-outs)."""
        meshes = mesh, mesh[:, mirror_images]
        return torch.cat([look.cut(crop, meshes) for look in self.each], 1)

    def forward(self, cut: Tensor) -> Tensor:
        """Cut-outs -> (B, TOLD of each look)."""
        parts = cut.split([look.size for look in self.each], 1)
        return torch.cat([look(part) for look, part in zip(self.each, parts, strict=True)], 1)
