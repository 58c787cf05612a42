"""The face network: an aligned crop in, landmarks, parameters, their uncertainty and styles out.

One network serves both methods: its parameter heads are the regressor of CN112200236A ([0084]-[0086]: identity,
action units, head angles from image features) and its style heads the two-headed encoder of CN109902767B
([0050]-[0052]: continuous parameters, and one-hot styles). Between features and parameters stand *dense landmarks*:
exact and free on renders, and the part that carries over to photos best.

    crop -> trunk (residual CNN) -> grids of 32, 16, 8 and 4 cells
         -> attention points: one heatmap per anchor landmark gives its place and the features there
         -> description (B, D) -> landmark code -> parameters -> log standard deviations
                               -> styles

Batch norm is meant to see renders and photos mixed in every batch (its statistics are otherwise part of the domain
gap)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdk.contract import CROP_SIZE, LANDMARKS
from sdk.schema import REFERENCE, Schema

POSE_UNIT = 30.0
"""Degrees that make one unit of the pose heads, so that all heads work at about the same scale."""

ANCHORS = (
    33, 160, 158, 133, 153, 144, 159, 145, 263, 387, 385, 362, 380, 373, 386, 374,  # lids
    70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285,  # brows
    168, 6, 197, 5, 4, 1, 2, 98, 327, 48, 278, 64, 294, 129, 358,  # nose
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 146, 91, 181, 84, 17, 314, 405, 321, 375,  # lips, outside
    78, 191, 81, 82, 13, 312, 311, 415, 308, 95, 88, 178, 87, 14, 317, 402, 318, 324,  # lips, inside
    50, 280, 118, 347, 205, 425, 207, 427, 187, 411, 216, 436,  # cheeks
    10, 109, 338, 103, 332, 54, 284, 127, 356, 234, 454, 132, 361, 58, 288,  # outline, from the top
    172, 397, 136, 365, 149, 378, 176, 400, 152,  # outline, jaw
    18, 83, 313, 200, 199, 175,  # chin
)  # fmt: skip
"""FaceMesh numbers of the landmarks that get a heatmap each."""


SPOT = 14.0
"""Standard deviation in px of the spot that a heatmap starts as."""
ANCHOR_UNIT = 2.0
"""Pixels that count as 1 where anchors enter the heads: expressions move them by a few, and must not drown."""


@dataclass(frozen=True)
class Preset:
    """Size of a network. ``widths`` and ``depths`` are channels and residual blocks at the grids of 32, 16, 8 and 4
    cells."""

    stem: int
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    attention: int  # channels of the top-down path that draws the heatmaps
    pooled: int  # feature channels read at each attention point
    description: int  # width of the shared description
    hidden: int  # width of the parameter head's hidden layer
    landmark_codes: int  # dense landmarks are predicted as this many principal coefficients
    identity_codes: int  # identity is predicted as this many principal coefficients of the handles' space


PRESETS: dict[str, Preset] = {
    "tiny": Preset(16, (16, 16, 24, 32), (1, 1, 1, 1), 16, 8, 128, 64, 24, 12),  # tests: a second on one core
    "cpu": Preset(24, (32, 64, 128, 224), (1, 2, 2, 1), 32, 12, 384, 384, 120, 72),  # hours on two cores
    "gpu": Preset(48, (96, 192, 320, 448), (2, 3, 4, 3), 96, 24, 768, 768, 160, 96),  # one GPU
}


class Predictions(NamedTuple):
    """What the network says about B crops.

    anchors: (B, A, 2) crop pixels, from the heatmaps. landmark_code: (B, L) whitened coefficients of the dense
    landmarks. identity_code: (B, K) whitened coefficients of the identity sliders. expression: (B, 23), meant for [0,
    1], not clipped. pose: (B, 2) pitch and yaw, gaze: (B, 2) pitch and yaw, in units of 30 degrees. log_sigma: (B, K
    + 23 + 2) natural logarithm of the standard deviations of identity_code, expression and pose. styles: logits (B,
    n) per slot."""

    anchors: Tensor
    landmark_code: Tensor
    identity_code: Tensor
    expression: Tensor
    pose: Tensor
    gaze: Tensor
    log_sigma: Tensor
    styles: dict[str, Tensor]

    def split(self, count: int) -> tuple[Predictions, Predictions]:
        """The first ``count`` of the batch, and the rest."""
        first, second = zip(*((value[:count], value[count:]) for value in self[:-1]), strict=True)
        styles = [{name: value[part] for name, value in self.styles.items()} for part in (slice(count), slice(count, None))]
        return Predictions(*first, styles[0]), Predictions(*second, styles[1])


class Spaces(nn.Module):
    """The fixed linear maps between codes and things: buffers, set once from data by :mod:`train.geometry`.

    landmarks (crop px) = landmark_mean + code * landmark_scale @ landmark_basis; identity = identity_mean + code @
    identity_basis; ``identity_residual``: standard deviation per slider that codes cannot say."""

    landmark_mean: Tensor
    landmark_basis: Tensor
    landmark_scale: Tensor
    identity_mean: Tensor
    identity_basis: Tensor
    identity_residual: Tensor

    def __init__(self, preset: Preset, identity: int) -> None:
        super().__init__()
        centre = torch.full((LANDMARKS * 2,), CROP_SIZE / 2)
        self.register_buffer("landmark_mean", centre)
        self.register_buffer("landmark_basis", torch.zeros(preset.landmark_codes, LANDMARKS * 2))
        self.register_buffer("landmark_scale", torch.ones(preset.landmark_codes))
        self.register_buffer("identity_mean", torch.zeros(identity))
        self.register_buffer("identity_basis", torch.zeros(preset.identity_codes, identity))
        self.register_buffer("identity_residual", torch.zeros(identity))

    def landmarks(self, code: Tensor) -> Tensor:
        """(B, L) -> (B, 468, 2) crop pixels."""
        return (self.landmark_mean + (code * self.landmark_scale) @ self.landmark_basis).unflatten(1, (LANDMARKS, 2))

    def landmark_code(self, landmarks: Tensor) -> Tensor:
        """(B, 468, 2) crop pixels -> (B, L); the inverse of :meth:`landmarks` within the space."""
        return (landmarks.flatten(1) - self.landmark_mean) @ self.landmark_basis.T / self.landmark_scale

    def identity(self, code: Tensor) -> Tensor:
        """(B, K) -> (B, 244), not clipped."""
        return self.identity_mean + code @ self.identity_basis

    def identity_sigma(self, code_sigma: Tensor) -> Tensor:
        """Standard deviations (B, K) of the code -> (B, 244) of the sliders, those that the codes cannot say
        included."""
        return (code_sigma.square() @ self.identity_basis.square() + self.identity_residual.square()).sqrt()


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1, padding: int | None = None) -> nn.Sequential:
    padding = size // 2 if padding is None else padding
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut (the residual structure that CN109902767B [0050] adds to its encoder)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, 3, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(self.first(x)) + self.shortcut(x), inplace=True)


class Trunk(nn.Module):
    """Crop (B, 3, 256, 256) -> features on grids of 32, 16, 8 and 4 cells. The 7x7 stem reads every pixel at full
    resolution."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.stem = _convolution(3, preset.stem, 7, 4, 3)
        stages, inputs = [], preset.stem
        for width, depth in zip(preset.widths, preset.depths, strict=True):
            blocks = [Residual(inputs if k == 0 else width, width, 2 if k == 0 else 1) for k in range(depth)]
            stages.append(nn.Sequential(*blocks))
            inputs = width
        self.stages = nn.ModuleList(stages)

    def forward(self, crop: Tensor) -> list[Tensor]:
        x = self.stem(crop)  # (B, stem, 64, 64); its batch norm takes out the mean of the pixels
        grids = []
        for stage in self.stages:
            x = stage(x)
            grids.append(x)
        return grids


class AttentionPoints(nn.Module):
    """One heatmap per anchor landmark: its expected place, and the features around that place.

    A convolution finds a lid or a lip corner wherever it is; action units then follow from where they are
    (FaceMesh-accurate points alone give most of them linearly). The heatmaps are attention: a query per anchor, cells as
    keys, their centres and features as values. As crops are aligned, every heatmap starts as a soft spot where its
    landmark usually is."""

    centres: Tensor
    usual: Tensor
    middle: Tensor

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        channels = preset.attention
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in preset.widths)
        self.mix = _convolution(channels, channels, 3)
        self.queries = nn.Parameter(0.02 * torch.randn(len(ANCHORS), channels))
        self.read = nn.Linear(channels, preset.pooled)
        cells = CROP_SIZE // 8
        axis = (torch.arange(cells) + 0.5) * 8
        rows, columns = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("centres", torch.stack([columns, rows], -1).reshape(-1, 2), persistent=False)
        self.register_buffer("usual", torch.zeros(len(ANCHORS), cells * cells))
        self.register_buffer("middle", torch.full((len(ANCHORS), 2), CROP_SIZE / 2))

    def expect(self, landmarks: Tensor) -> None:
        """Set the heatmaps' starting spots from mean landmarks (468, 2), crop px."""
        distance = torch.cdist(landmarks[list(ANCHORS)], self.centres)
        self.usual.copy_(-0.5 * (distance / SPOT).square())
        self.middle.copy_(landmarks[list(ANCHORS)])

    def places(self, anchors: Tensor) -> Tensor:
        """Anchors (B, A, 2) px -> (B, 2 A): how far each is from its usual place, in units of ANCHOR_UNIT."""
        return ((anchors - self.middle) / ANCHOR_UNIT).flatten(1)

    def forward(self, grids: list[Tensor]) -> tuple[Tensor, Tensor]:
        """-> anchors (B, A, 2) crop pixels, and features read there (B, A, pooled)."""
        x = self.lateral[-1](grids[-1])
        for grid, lateral in zip(grids[-2::-1], list(self.lateral)[-2::-1], strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest") + lateral(grid)
        cells = self.mix(functional.relu(x)).flatten(2).transpose(1, 2)  # (B, 1024, C)
        features = self.read(cells)
        with torch.autocast(cells.device.type, enabled=False):  # bfloat16 would round places to whole pixels
            values = torch.cat([self.centres.expand(features.shape[0], -1, -1), features.float()], 2)
            queries = self.queries.expand(features.shape[0], -1, -1)
            seen = _attend(queries, cells.float(), values, self.usual)
        return seen.split([2, features.shape[2]], 2)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Attention of one head without scaling: queries (B, A, C), keys (B, N, C), values (B, N, V <= C), bias (A, N) ->
    (B, A, V)."""
    # The fused kernel, three times as fast as its parts, wants values as wide as keys.
    wide = functional.pad(values, (0, keys.shape[2] - values.shape[2]))
    fused = functional.scaled_dot_product_attention(queries[:, None], keys[:, None], wide[:, None], bias, scale=1.0)
    return fused[:, 0, :, : values.shape[2]]


class FaceNet(nn.Module):
    """The whole network. ``forward`` gives :class:`Predictions`; :mod:`export.graphs` makes the two served graphs of
    it."""

    def __init__(self, preset: Preset, schema: Schema = REFERENCE) -> None:
        super().__init__()
        self.preset, self.schema = preset, schema
        self.spaces = Spaces(preset, len(schema.identity))
        self.trunk = Trunk(preset)
        self.points = AttentionPoints(preset)
        eight, four = preset.widths[2], preset.widths[3]
        self.flatten_eight = _convolution(eight, preset.description // 16, 1)
        self.flatten_four = _convolution(four, preset.description // 8, 1)
        place = 2 * len(ANCHORS)
        described = 64 * (preset.description // 16) + 16 * (preset.description // 8) + four
        described += place + len(ANCHORS) * preset.pooled
        self.describe = _dense(described, preset.description)
        self.landmarks = nn.Linear(preset.description + place, preset.landmark_codes)
        evidence = preset.description + place + preset.landmark_codes
        self.combine = _dense(evidence, preset.hidden)
        self.sizes = (preset.identity_codes, len(schema.expression), len(schema.pose), 2)
        self.parameters_head = nn.Linear(preset.hidden + preset.landmark_codes, sum(self.sizes))
        self.sigma_head = nn.Linear(preset.hidden, sum(self.sizes[:3]))
        nn.init.constant_(self.sigma_head.bias, -1.0)
        self.style_heads = nn.ModuleDict({slot.name: nn.Linear(preset.description, len(slot.options)) for slot in schema.style})

    @torch.no_grad()
    def start_from_places(self, code: Tensor, values: Tensor) -> None:
        """Let the heads begin as linear maps found by regression, to which the features then add what landmarks
        cannot say.

        code: (2 A + 1, L), places -> landmark code; values: (L + 1, sum of sizes), landmark code -> parameters; the
        last row of each is the constant."""
        for layer, start in ((self.landmarks, code), (self.parameters_head, values)):
            inputs = len(start) - 1
            layer.weight[:, :-inputs] *= 0.1
            layer.weight[:, -inputs:] = start[:-1].T
            layer.bias.copy_(start[-1])

    def forward(self, crop: Tensor) -> Predictions:
        """crop: (B, 3, 256, 256) float32 RGB in [0, 1]."""
        grids = self.trunk(crop)
        anchors, read = self.points(grids)
        eight, four = self.flatten_eight(grids[2]).flatten(1), self.flatten_four(grids[3]).flatten(1)
        mean = grids[3].mean((2, 3))
        place = self.points.places(anchors)
        description = self.describe(torch.cat([eight, four, mean, place, read.flatten(1)], 1).float())
        landmark_code = self.landmarks(torch.cat([description, place], 1))
        hidden = self.combine(torch.cat([description, place, landmark_code], 1))
        values = self.parameters_head(torch.cat([hidden, landmark_code], 1)).float()
        identity, expression, pose, gaze = values.split(self.sizes, 1)
        # Uncertainty reads the features but does not shape them: its likelihood would trade the means for itself.
        log_sigma = self.sigma_head(hidden.detach()).float()
        styles = {name: head(description).float() for name, head in self.style_heads.items()}
        return Predictions(anchors, landmark_code.float(), identity, expression, pose, gaze, log_sigma, styles)


def _dense(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))


def build(preset: str, schema: Schema = REFERENCE) -> FaceNet:
    """A fresh network of a named preset; :class:`ValueError` names the presets there are."""
    if preset not in PRESETS:
        raise ValueError(f"--preset {preset!r} is unknown; there are {', '.join(PRESETS)}")
    return FaceNet(PRESETS[preset], schema)


def describe(network: FaceNet) -> dict[str, Any]:
    """What :mod:`train.checkpoint` writes down so that the network can be built again."""
    return {"preset": asdict(network.preset), "schema": network.schema.to_json()}
