"""The imitator G: parameters in, the studio's picture of that character out, differentiable in every parameter.

It stands for the game's renderer wherever a loss on pictures has to reach parameters (CN112200236A [0087]-[0094]). The
methods' generators are told the sliders and have to learn the whole rig; :class:`Decoder` is that (CN109902767B [0060]:
a series of transposed convolutions). :class:`Imitator` knows the rig, which is differentiable, and learns to paint only:

    identity, expression, pose -> rig -> points on the head, in crop pixels           (:mod:`train.studio`, exact)
    points, each with features of its own and of the styles -> splatted on a grid of 64 x 64 cells
         -> U-net, every block modulated by the styles -> picture

The renderer sees sliders only through the vertices they move, and so does this network: a slider's gradient is that of
the edges it moves. Styles are probabilities, and enter linearly: as sums of point features, and as scales and shifts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from game.rig import PARTS, Rig, is_of
from game.styles import Styles, texture_coordinates
from sdk.contract import CROP_SIZE
from sdk.schema import REFERENCE, Schema
from train.presets import named, restored
from train.rig import rotation
from train.studio import PITCH, YAW, StudioView

GRID = 64
"""Side of the grid on which points are splatted; a cell is 4 x 4 pixels."""
CELL = CROP_SIZE // GRID
DEPTH = 8.0
"""Crop pixels by which a point has to lie behind others to count e times less, at first."""
SHAPED = ("hair", "brow", "beard")
"""Style slots that change what is where, not just its colour: they give points features."""

_OTHER_PARTS = (("eye_left", "eye_right"), ("teeth_upper", "teeth_lower"), ("tongue",), ("lashes",))
_ABOUT = 13
"""Side of the part of a texture, in its pixels, that a point stands for: a cell of the grid."""


@dataclass(frozen=True)
class Preset:
    """Size of an :class:`Imitator`. ``widths``: channels on the grids of 64, 32, 16 and 8 cells."""

    points: int  # of the rig's 5477 vertices
    features: int  # learnt features of a point; 16 of them start out with what is known
    widths: tuple[int, int, int, int]
    depth: int  # residual blocks per grid and direction
    paint: int  # channels on the grid of 128 cells
    learning_rate: float = 2e-3  # AdamW's


@dataclass(frozen=True)
class DecoderPreset:
    """Size of a :class:`Decoder`. ``widths``: channels on the grids of 4, 8, 16, 32, 64 and 128 cells."""

    widths: tuple[int, int, int, int, int, int]
    learning_rate: float = 0.5  # SGD's


PRESETS: dict[str, Preset | DecoderPreset] = {
    "tiny": Preset(256, 20, (16, 16, 24, 32), 1, 8),  # tests
    "cpu": Preset(1536, 28, (40, 72, 128, 192), 1, 24),  # hours on two cores
    "gpu": Preset(2048, 48, (96, 160, 256, 384), 2, 64),  # one GPU
    "decoder": DecoderPreset((512, 384, 256, 128, 64, 32)),  # that of CN109902767B
}


def style_options(schema: Schema) -> int:
    """Options of all style slots together."""
    return sum(len(slot.options) for slot in schema.style)


def one_hot(style: Tensor, schema: Schema = REFERENCE) -> Tensor:
    """Option numbers (B, slots) -> (B, O) the slots' one-hot vectors side by side, as the networks here want them."""
    vectors = [functional.one_hot(style[:, k], len(slot.options)) for k, slot in enumerate(schema.style)]
    return torch.cat(vectors, 1).float()


class Modulated(nn.Module):
    """A residual block of two 3x3 convolutions; between them every channel is scaled and shifted by the styles."""

    def __init__(self, width: int, options: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, 1, 1)
        self.second = nn.Conv2d(width, width, 3, 1, 1)
        self.modulation = nn.Linear(options, 2 * width)
        nn.init.zeros_(self.second.weight)
        nn.init.normal_(self.modulation.weight, std=0.1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.modulation(style)[..., None, None].chunk(2, 1)
        middle = self.first(functional.relu(x)) * (1 + scale) + shift
        return x + self.second(functional.relu(middle))


class Splat(nn.Module):
    """Points with features -> maps of 64 x 64 cells: at every cell the mean of the points near it, those in front first.

    A point weighs exp(nearness / depth) and is shared among the four cells around it, bilinearly. Cells that no point is
    near take what coarser and coarser grids say. Nothing is rasterised: the maps change smoothly with every coordinate."""

    FILL = 0.02  # weight of each coarser grid beside the finer one
    COARSER = 3
    ADDED = 3  # maps besides those of features

    cells: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.log_depth = nn.Parameter(torch.tensor(DEPTH).log())
        self.register_buffer(
            "cells", torch.stack(torch.meshgrid(*2 * [torch.arange(float(GRID))], indexing="xy")), persistent=False
        )

    def forward(self, points: Tensor, features: Tensor) -> Tensor:
        """Points (B, P, 3) x, y and nearness in crop pixels, features (B, P, C) -> (B, C + 3, 64, 64): how far from the
        cell's middle the mean is, in cells; the means; and how much is there, from 0 to 1."""
        places = points[..., :2] / CELL - 0.5
        weight = torch.exp(points[..., 2:].clamp(-160, 80) * torch.exp(-self.log_depth))
        values = torch.cat([places * weight, features * weight, weight, torch.ones_like(weight)], 2)  # (B, P, C + 4)
        sums = _scattered(places, values)
        total, coarse = sums, sums
        for k in range(1, self.COARSER + 1):
            coarse = functional.avg_pool2d(coarse, 2)
            up = functional.interpolate(coarse, scale_factor=2.0**k, mode="bilinear", align_corners=False)
            total = total + self.FILL**k * up
        mean = total[:, :-2] / (total[:, -2:-1] + 1e-9)
        offset = (mean[:, :2] - self.cells).clamp(-4, 4)
        return torch.cat([offset, mean[:, 2:], 1 - torch.exp(-total[:, -1:])], 1)


def _scattered(places: Tensor, values: Tensor) -> Tensor:
    """Values (B, P, C) added to the four cells around places (B, P, 2), in cells: (B, C, 64, 64)."""
    batch, channels = len(values), values.shape[2]
    corner = places.detach().floor()
    share = places - corner  # (B, P, 2)
    inside = ((corner > -1) & (corner < GRID)).all(2)
    grid = values.new_zeros(batch * (GRID + 2) ** 2, channels)  # with a margin of one cell
    start = torch.arange(batch, device=values.device)[:, None] * (GRID + 2) ** 2
    column, row = (corner.clamp(-1, GRID - 1).long() + 1).unbind(2)
    for down in (0, 1):
        for right in (0, 1):
            x, y = (share[..., 0] if right else 1 - share[..., 0]), (share[..., 1] if down else 1 - share[..., 1])
            index = (start + (row + down) * (GRID + 2) + column + right).flatten()
            grid = grid.index_add(0, index, (values * (x * y * inside)[..., None]).flatten(0, 1))
    return grid.view(batch, GRID + 2, GRID + 2, channels)[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


class PointFeatures(nn.Module):
    """What is splatted of each point: learnt features, to which hair, brows and beard add theirs, and what the rig knows:
    how far the point is from its place on the base face, where the skin faces, and how near it is."""

    base: Tensor
    normals: Tensor
    SEEN = 7  # features that the rig tells

    def __init__(self, rig: Rig, points: npt.NDArray[np.int64], features: int, schema: Schema) -> None:
        super().__init__()
        self.register_buffer("base", torch.from_numpy(rig.base[points]), persistent=False)
        self.register_buffer("normals", torch.from_numpy(vertex_normals(rig)[points]), persistent=False)
        self.shaped = [slot.name in SHAPED for slot in schema.style for _ in slot.options]
        # Points start out with what is known of them: which part they are and where, and what styles paint on them there.
        known, painted = part_features(rig)[points], painted_features(rig, schema)[:, points]
        own, styled = torch.zeros(len(points), features), torch.zeros(len(painted), len(points), features)
        end = known.shape[1] + len(SHAPED)
        own[:, : known.shape[1]] = torch.from_numpy(known)
        own[:, end:] = torch.sin(self.base @ (4 * torch.randn(3, features - end)) + 6.28 * torch.rand(features - end))
        styled[:, :, known.shape[1] : end] = torch.from_numpy(painted)
        self.own, self.styled = nn.Parameter(own), nn.Parameter(styled)

    def forward(self, own: Tensor, placed: Tensor, turned: Tensor, style: Tensor) -> Tensor:
        """Points before the head turns (B, P, 3) in dm, in the picture (B, P, 3), rotations (B, 3, 3), styles (B, O)
        -> (B, P, C + 7)."""
        learnt = self.own + torch.einsum("bo,opc->bpc", style[:, self.shaped], self.styled)
        moved = 4 * (own - self.base)
        normals = self.normals @ turned.transpose(1, 2)
        return torch.cat([learnt, moved, normals, placed[..., 2:] / 40], 2)


class Painter(nn.Module):
    """Maps (B, C, 64, 64) and styles (B, O) -> pictures (B, 3, 256, 256): a U-net with a learnt backdrop."""

    def __init__(self, preset: Preset, maps: int, options: int) -> None:
        super().__init__()
        widths = preset.widths

        def blocks(width: int) -> nn.ModuleList:
            return nn.ModuleList(Modulated(width, options) for _ in range(preset.depth))

        self.backdrop = nn.Parameter(torch.randn(8, GRID, GRID) * 0.1)
        self.enter = nn.Conv2d(maps + 8, widths[0], 3, 1, 1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths))
        self.encode = nn.ModuleList(blocks(width) for width in widths)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.decode = nn.ModuleList(blocks(width) for width in widths[:-1])
        self.enlarge = nn.Conv2d(widths[0], 4 * preset.paint, 3, 1, 1)
        self.fine = blocks(preset.paint)
        self.leave = nn.Conv2d(preset.paint, 4 * 3, 3, 1, 1)

    def forward(self, maps: Tensor, style: Tensor) -> Tensor:
        x = self.enter(torch.cat([maps, self.backdrop.expand(len(maps), -1, -1, -1)], 1))
        grids = []
        for level, encode in enumerate(self.encode):
            x = self.down[level - 1](x) if level else x
            for block in encode:
                x = block(x, style)
            grids.append(x)
        for level in (2, 1, 0):
            x = grids[level] + functional.interpolate(self.up[level](x), scale_factor=2.0, mode="nearest")
            for block in self.decode[level]:
                x = block(x, style)
        x = functional.pixel_shuffle(self.enlarge(x), 2)  # (B, paint, 128, 128)
        for block in self.fine:
            x = block(x, style)
        return torch.sigmoid(functional.pixel_shuffle(self.leave(functional.relu(x)), 2).float())


class Imitator(nn.Module):
    """The rig, its points splatted, and a painter. Only the painter and the points' features are learnt."""

    chosen: Tensor

    def __init__(self, preset: Preset, schema: Schema = REFERENCE) -> None:
        super().__init__()
        self.preset, self.schema = preset, schema
        rig = Rig.load()
        points = spread_points(rig, preset.points)
        self.register_buffer("chosen", torch.from_numpy(points))
        self.view = StudioView(rig)
        self.features, self.splat = PointFeatures(rig, points, preset.features, schema), Splat()
        self.painter = Painter(preset, preset.features + PointFeatures.SEEN + Splat.ADDED, style_options(schema))

    def forward(self, identity: Tensor, expression: Tensor, pose: Tensor, style: Tensor) -> Tensor:
        """identity (B, 244) in [-1, 1], expression (B, 23) in [0, 1], pose (B, 2) degrees, style (B, O) probabilities, all
        slots side by side (:func:`one_hot`) -> (B, 3, 256, 256) float32 RGB in [0, 1]."""
        with torch.autocast(identity.device.type, enabled=False):  # bfloat16 would move points by whole pixels
            maps = self.maps(identity.float(), expression.float(), pose.float(), style.float())
        return self.painter(maps, style)

    def maps(self, identity: Tensor, expression: Tensor, pose: Tensor, style: Tensor) -> Tensor:
        """What the painter is given: (B, features + 10, 64, 64)."""
        own, placed = self.view(identity, expression, pose)
        own, placed = own[:, self.chosen], placed[:, self.chosen]
        return self.splat(placed, self.features(own, placed, rotation(pose), style))


class Decoder(nn.Module):
    """The decoder D of CN109902767B [0060]: a deep convolutional network of transposed convolutions, from the parameters
    to the picture, that knows nothing of the rig. A DCGAN's generator."""

    def __init__(self, preset: DecoderPreset, schema: Schema = REFERENCE) -> None:
        super().__init__()
        self.preset, self.schema = preset, schema
        inputs = len(schema.identity) + len(schema.expression) + len(schema.pose) + style_options(schema)
        layers: list[nn.Module] = []
        for before, width in zip((inputs, *preset.widths[:-1]), preset.widths, strict=True):
            stride, padding = (2, 1) if layers else (1, 0)
            layers += [
                nn.ConvTranspose2d(before, width, 4, stride, padding, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
            ]  # fmt: skip
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(preset.widths[-1], 3, 4, 2, 1))

    def forward(self, identity: Tensor, expression: Tensor, pose: Tensor, style: Tensor) -> Tensor:
        """As :meth:`Imitator.forward`."""
        values = torch.cat([identity, 2 * expression - 1, pose / pose.new_tensor((PITCH, YAW)), style], 1)
        return torch.sigmoid(self.layers(values[..., None, None]).float())


def at_rest(imitator: Imitator | Decoder, identity: Tensor, style: Tensor) -> Tensor:
    """Pictures (B, 3, 256, 256) of faces (B, 244) in styles (B, O) without expression, from the front."""
    nothing = (identity.new_zeros(len(identity), count) for count in (len(imitator.schema.expression), len(imitator.schema.pose)))
    pictures: Tensor = imitator(identity, *nothing, style)
    return pictures


def vertex_normals(rig: Rig) -> npt.NDArray[np.float32]:
    """(V, 3) unit normals of the base face."""
    corners = rig.base[rig.triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(rig.base)
    np.add.at(normals, rig.triangles, faces[:, None])
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def part_features(rig: Rig) -> npt.NDArray[np.float32]:
    """(V, 13) what each vertex is: masks of the skin, parts that are not skin, and its place on the base face in dm."""
    masks = [rig.masks[name] for name in ("lips", "nose", "ears", "neck", "mouth_interior", "eyelids")]
    parts = [is_of(rig.vertex_part, *names) for names in _OTHER_PARTS]
    place = (rig.base - rig.landmarks(rig.base)[4]).T  # from the tip of the nose
    return np.stack([*masks, *parts, *place], 1).astype(np.float32)


def painted_features(rig: Rig, schema: Schema) -> npt.NDArray[np.float32]:
    """(options of SHAPED, V, slots of SHAPED) how densely each hair style, brow and beard is painted on the skin there."""
    styles = Styles.load()
    textures = {"hair": styles.scalp, "brow": styles.brow, "beard": styles.beard}
    s, t = texture_coordinates(rig.base)
    height, width = styles.lips.shape
    row, column = (np.clip(a, 0, n - 1).astype(int) for a, n in ((t * height, height), (s * width, width)))
    rows = []
    for slot in schema.style:
        for texture in textures.get(slot.name, ()):
            about = cv2.blur(texture, (_ABOUT, _ABOUT))[row, column] / 255.0
            rows.append(about[:, None] * [name == slot.name for name in SHAPED])
    return np.stack(rows).astype(np.float32)


def spread_points(rig: Rig, count: int) -> npt.NDArray[np.int64]:
    """(count,) vertices spread over the head, denser where pictures have more detail: each is the one farthest from those
    before it, in distances that are stretched on lids, eyes, lips and nose and shrunk behind the face."""
    stretch = np.ones(len(rig.base), np.float32)
    stretch[(rig.base[:, 2] < 0) | (rig.masks["neck"] > 0.5)] = 0.5
    stretch[rig.masks["mouth_interior"] > 0.5] = 0.7
    stretch[rig.masks["nose"] > 0.5] = 1.5
    for name in ("lips", "eyelids"):
        stretch[rig.masks[name] > 0.5] = 2.0
    for name in ("eye_left", "eye_right"):
        stretch[rig.vertex_part == PARTS.index(name)] = 2.0
    points = [int(rig.base[:, 2].argmax())]
    nearest = np.full(len(rig.base), np.inf, np.float32)
    for _ in range(count - 1):
        nearest = np.minimum(nearest, np.linalg.norm(rig.base - rig.base[points[-1]], axis=1))
        points.append(int((nearest * stretch).argmax()))
    return np.sort(np.array(points, np.int64))


def build(preset: str, schema: Schema = REFERENCE) -> Imitator | Decoder:
    """A fresh network of a named preset; :class:`ValueError` names the presets there are."""
    return _build(named(PRESETS, preset), schema)


def _build(preset: Preset | DecoderPreset, schema: Schema) -> Imitator | Decoder:
    return Decoder(preset, schema) if isinstance(preset, DecoderPreset) else Imitator(preset, schema)


def describe(network: Imitator | Decoder) -> dict[str, Any]:
    """What a checkpoint holds so that the network can be built again."""
    return {"kind": type(network.preset).__name__, "preset": asdict(network.preset), "schema": network.schema.to_json()}


def rebuild(state: dict[str, Any]) -> Imitator | Decoder:
    """The network of a checkpoint (:func:`train.checkpoint.load`) in evaluation mode: its moving average."""
    description = state["description"]
    kind = {"Preset": Preset, "DecoderPreset": DecoderPreset}[description["kind"]]
    network = _build(restored(kind, description["preset"]), Schema.from_json(description["schema"]))
    network.load_state_dict(state["average"])
    return network.eval()
