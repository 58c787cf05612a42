"""The encoder E of CN109902767B: an aligned crop in, the face's continuous parameters and its styles out ([0050]-[0052]).

    crop -> trunk -> 3 residual blocks -> g(x)
         -> pc = f_1(g(x)): the 244 identity sliders                            formula 1
         -> pd = f_2(g(x)): one softmax per style slot

The method's trunk is VGG19's sixteen convolutions in five blocks (Simonyan and Zisserman, "Very deep convolutional networks",
ICLR 2015): 3x3, two blocks of two and three of four, halved by max pooling after each. Batch norm follows each convolution,
without which it does not learn from scratch; narrow presets have its depth and a fraction of its channels. It wants to be
trained long, or to begin with features of other pictures. So the preset that is shipped has the trunk of the regressor
(:class:`train.networks.Trunk`) instead, which knows faces before E begins: few photos have styles told by eye.

Beyond the method: E says of every slot whether it can be seen at all (hair under a hat). Served, it looks at each crop and at
its mirror image. A temperature per slot, found on held-out people, makes the probabilities as right as often as they say. And of
its trunk it tells the parts of the face (:mod:`train.bisenet` teaches it on every photo, labelled or not): the heads are told
what colour, how rough and how large each is. Styles are a matter of which pixels are hair; from nothing but labels of whole
faces that takes a network far longer to find out. They are told the colours at the alignment's landmarks too, and between the
lids: how fair skin is shows beside the white of the eye. At brows, eyes and mouth it looks closely (:mod:`train.close_looks`).
f_1 is a linear map in two steps, by way of the principal coefficients of what sliders move
(:class:`train.geometry.IdentitySpace`), in which errors of all directions are as steep."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from game.rig import Rig
from sdk.contract import LANDMARKS
from sdk.schema import REFERENCE, Schema
from train.close_looks import DARKEST, LOOKS, TOLD, CloseLooks
from train.face_parts import PARTS
from train.geometry import mirrored_landmarks
from train.layers import Residual, convolution, dense, mirrored, mirrored_points, sides
from train.networks import PRESETS as REGRESSORS
from train.networks import Trunk, read_at
from train.presets import named, restored

VGG19_DEPTHS = (2, 2, 4, 4, 4)
"""Convolutions of VGG19's blocks."""
RESIDUALS = 3
"""Residual blocks behind the trunk."""


@dataclass(frozen=True)
class Preset:
    """Size of a network. ``trunk``: whose; ``size``: side in pixels at which it looks at the crop, a multiple of 32; ``widths``:
    channels of VGG19's five blocks, or of the regressor's stem and four stages; ``depths``: convolutions, or residual blocks,
    of each (of the stem none); ``hidden``: numbers of g(x); ``identity_codes``: principal coefficients that sliders are made
    of."""

    trunk: Literal["vgg19", "regressor"]
    size: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    hidden: int
    identity_codes: int
    dropout: float


_R = REGRESSORS["cpu"]
PRESETS: dict[str, Preset] = {
    "tiny": Preset("vgg19", 64, (8, 8, 16, 16, 16), VGG19_DEPTHS, 32, 12, 0.0),  # tests
    "narrow": Preset("vgg19", 128, (16, 32, 64, 128, 192), VGG19_DEPTHS, 256, 72, 0.2),  # the method's, for two cores
    "cpu": Preset("regressor", 256, (_R.stem, *_R.widths), (0, *_R.depths), 256, 72, 0.2),  # shipped; an hour on two cores
    "gpu": Preset("vgg19", 256, (64, 128, 256, 512, 512), VGG19_DEPTHS, 1024, 96, 0.5),  # the method's, as published
}

PART_MEASURES = 5
"""Numbers that are measured of each part: mean red, green and blue, roughness, and area."""
MEASURED = 64
"""Numbers that the heads get of these."""
EVERY = 4
"""Of FaceMesh's landmarks every so many are looked at for their colour."""
UPPER_LIDS = (246, 161, 160, 159, 158, 157, 173, 398, 384, 385, 386, 387, 388, 466)
LOWER_LIDS = (7, 163, 144, 145, 153, 154, 155, 382, 381, 380, 374, 373, 390, 249)
BETWEEN_LIDS = (0.25, 0.5, 0.75)
"""And points so far from upper lids (FaceMesh's numbers) to lower ones."""
COLOURS = (160, 64)
"""Numbers that colours are turned into; the last are what the heads get."""


class Sight(NamedTuple):
    """All that E's answers about B crops are made of: ``deep`` (B, S), the last features, ``measured`` (B, parts *
    PART_MEASURES), and logarithms of ``colours`` (B, 3 points) and of those of ``cut_outs`` (B, N; :mod:`train.close_looks`)."""

    deep: Tensor
    measured: Tensor
    colours: Tensor
    cut_outs: Tensor


class Encoded(NamedTuple):
    """What E says about B crops. identity: (B, 244) sliders, meant for [-1, 1], not clipped. styles: logits (B, n) per slot,
    divided by the slot's temperature. visible: (B, slots) logits. parts: (B, parts, C, C) logits of
    the face's parts in C x C cells, of one look at pictures."""

    identity: Tensor
    styles: dict[str, Tensor]
    visible: Tensor
    parts: Tensor | None = None

    @property
    def options(self) -> Tensor:
        """(B, slots) number of the likeliest option of every slot."""
        return torch.stack([logits.argmax(1) for logits in self.styles.values()], 1)


class VGG19(nn.Module):
    """Sixteen convolutions in five blocks: crop (B, 3, 256, 256) -> grids of S / 2, S / 4 ... S / 32 cells a side."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.size = preset.size
        before = (3, *preset.widths[:-1])
        self.blocks = nn.ModuleList(
            nn.Sequential(*(convolution(inputs if k == 0 else width, width, 3) for k in range(depth)))
            for inputs, width, depth in zip(before, preset.widths, preset.depths, strict=True)
        )

    def forward(self, crop: Tensor) -> list[Tensor]:
        x = functional.interpolate(crop - 0.5, size=(self.size, self.size), mode="bilinear", align_corners=False)
        grids = []
        for block in self.blocks:
            x = functional.max_pool2d(block(x), 2)
            grids.append(x)
        return grids


class Encoder(nn.Module):
    """The network."""

    temperature: Tensor
    identity_mean: Tensor
    identity_basis: Tensor
    mirror_images: Tensor

    def __init__(self, preset: Preset, schema: Schema = REFERENCE) -> None:
        super().__init__()
        self.preset, self.schema = preset, schema
        self.options = [len(slot.options) for slot in schema.style]
        *_, middle, _, deep = preset.widths
        self.trunk: nn.Module
        if preset.trunk == "vgg19":
            self.trunk, side = VGG19(preset), preset.size // 32
        else:
            self.trunk, side = Trunk(preset.widths[0], preset.widths[1:], preset.depths[1:]), preset.size // 64
        self.residuals = nn.Sequential(*(Residual(deep, deep, 1) for _ in range(RESIDUALS)))
        for block in self.residuals:
            nn.init.zeros_(block.second[1].weight)  # they begin with adding nothing to the trunk
        self.features = dense(deep * side**2, preset.hidden)
        self.measures = dense(PART_MEASURES * len(PARTS), MEASURED)
        read = 3 * len(colour_points(torch.zeros(1, LANDMARKS, 2))[0])
        self.colours = nn.Sequential(*dense(read, COLOURS[0]), *dense(*COLOURS))
        self.looks = CloseLooks()
        self.dropout = nn.Dropout(preset.dropout)
        known = preset.hidden + MEASURED + COLOURS[-1] + TOLD * len(LOOKS)
        self.continuous = nn.Linear(known, preset.identity_codes)
        self.discrete = nn.Linear(known, sum(self.options))
        self.visible = nn.Linear(known, len(schema.style))
        self.parts = nn.Conv2d(middle, len(PARTS), 1)
        for head in (self.continuous, self.discrete, self.visible):
            nn.init.normal_(head.weight, std=0.1 * known**-0.5)
            nn.init.zeros_(head.bias)
        self.register_buffer("temperature", torch.ones(len(self.options)))
        self.register_buffer("mirror_images", torch.from_numpy(mirrored_landmarks(Rig.load())), persistent=False)
        self.register_buffer("identity_mean", torch.zeros(len(schema.identity)))
        self.register_buffer("identity_basis", torch.zeros(preset.identity_codes, len(schema.identity)))

    @property
    def eyes(self) -> list[nn.Module]:
        """What :meth:`sight` looks with; the rest, the last layers, :meth:`answer`."""
        return [self.trunk, self.residuals, self.parts]

    def forward(self, crop: Tensor, mesh: Tensor) -> Encoded:
        """crop: (B, 3, 256, 256) float32 RGB in [0, 1]; mesh: (B, 468, 2) FaceMesh's landmarks, crop px."""
        sight, parts = self.sight(crop, mesh)
        return self.answer(sight, parts)

    def sight(self, crop: Tensor, mesh: Tensor) -> tuple[Sight, Tensor]:
        """What is seen on crops, from which :meth:`answer` speaks, and logits of the face's parts."""
        *_, middle, _, deep = self.trunk(crop)
        parts = self.parts(middle)
        x = self.residuals(deep).flatten(1)
        with torch.autocast(crop.device.type, enabled=False):
            crop, mesh = crop.float(), mesh.float()
            colours = (read_at(crop, colour_points(mesh)) + DARKEST).log()
            cut_outs = self.looks.cut(crop, mesh, self.mirror_images)
            return Sight(x.float(), measure(crop, parts.float().softmax(1)), colours, cut_outs), parts

    def answer(self, sight: Sight, parts: Tensor | None = None) -> Encoded:
        """What is said about what was seen."""
        with torch.autocast(sight.deep.device.type, enabled=False):
            known = (
                self.features(sight.deep), self.measures(sight.measured), self.colours(sight.colours), self.looks(sight.cut_outs),
            )  # fmt: skip
            x = self.dropout(torch.cat(known, 1))
            logits = self.discrete(x).split(self.options, 1)
            styles = {
                slot.name: values / self.temperature[k]
                for k, (slot, values) in enumerate(zip(self.schema.style, logits, strict=True))
            }
            identity = self.identity_mean + self.continuous(x) @ self.identity_basis
            return Encoded(identity, styles, self.visible(x), parts)

    def both_sides(self, crop: Tensor, mesh: Tensor) -> Encoded:
        """What it says about a crop when it looks at its mirror image too: the mean of both logits of styles. Which side a
        parting is on is no style, so that errors that depend on the side are all that is lost."""
        said: Encoded = self(torch.cat([crop, mirrored(crop)]), torch.cat([mesh, mirrored_points(mesh, self.mirror_images)]))
        styles = {name: sides(values).mean(0) for name, values in said.styles.items()}
        return Encoded(sides(said.identity)[0], styles, sides(said.visible).mean(0))

    @torch.no_grad()
    def fold_temperatures(self) -> Encoder:
        """Divide the weights by the temperatures, so that these are 1 and it says the same as before."""
        each = torch.cat([t.expand(count) for t, count in zip(self.temperature, self.options, strict=True)])
        self.discrete.weight /= each[:, None]
        self.discrete.bias /= each
        self.temperature.fill_(1)
        return self


def colour_points(mesh: Tensor) -> Tensor:
    """FaceMesh's landmarks (B, 468, 2) -> the points (B, P, 2) whose colours are read."""
    upper, lower = mesh[:, UPPER_LIDS], mesh[:, LOWER_LIDS]
    return torch.cat([mesh[:, ::EVERY], *(upper + share * (lower - upper) for share in BETWEEN_LIDS)], 1)


def measure(picture: Tensor, where: Tensor) -> Tensor:
    """Mean colour, roughness (deviation of brightness within a cell) and area of parts (B, parts * PART_MEASURES): of a picture
    (B, 3, S, S), and `where` (B, parts, C, C) the probabilities of the parts in each cell."""
    grey = picture.mean(1, keepdim=True)
    *colours, of_grey, square = cell_means(torch.cat([picture, grey, grey.square()], 1), where.shape[-1]).split(1, 1)
    variance = square - of_grey.square()
    values = torch.cat([*colours, variance.clamp_min(1e-6).sqrt()], 1).flatten(2)  # (B, 4, cells)
    weights = where.flatten(2)
    area = weights.mean(2)
    means = (weights @ values.transpose(1, 2)) / (weights.sum(2, keepdim=True) + 0.1)
    return torch.cat([means.flatten(1), area], 1)


def cell_means(picture: Tensor, cells: int) -> Tensor:
    """(B, C, S, S) -> (B, C, cells, cells). Two products with a matrix take ONNX Runtime a tenth of the time of its pooling."""
    size = picture.shape[-1] // cells
    pool = torch.eye(cells, dtype=picture.dtype, device=picture.device).repeat_interleave(size, 1) / size  # (cells, S)
    return (pool @ (pool @ picture).mT).mT


def build(preset: str, schema: Schema = REFERENCE) -> Encoder:
    """A fresh network of a named preset; :class:`ValueError` names the presets there are."""
    return Encoder(named(PRESETS, preset), schema)


def describe(network: Encoder) -> dict[str, Any]:
    """What a checkpoint holds so that the network can be built again."""
    return {"encoder": asdict(network.preset), "schema": network.schema.to_json()}


def rebuild(state: dict[str, Any]) -> Encoder:
    """The network of a checkpoint of :mod:`train.encoder`, with the moving average of its weights, in evaluation mode.
    ValueError where the checkpoint is of another network."""
    description = state["description"]
    if "encoder" not in description:
        raise ValueError("this is no checkpoint of train.encoder")
    network = Encoder(restored(Preset, description["encoder"]), Schema.from_json(description["schema"]))
    network.load_state_dict(state["average"])
    return network.eval()
