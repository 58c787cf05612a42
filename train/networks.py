"""The face network: an aligned crop in, landmarks, parameters and their uncertainty out. It is the regressor R of CN112200236A
([0084]-[0086]: identity, action units, head angles from image features), with the fixed networks that see for it.

    crop -> F_seg, fixed -> f_gb, T            y' = R(f_gb, T), [0086]
         -> F_reg, fixed -> who it is
         -> trunk (residual CNN), joined by T  -> grids of 64, 32, 16, 8 and 4 cells
         -> overview (B, D), from the coarse grids and f_gb -> first landmarks, weighed against FaceMesh's
         -> close look: features of a fine map, read where the anchor landmarks are thought to be
         -> description (B, D) -> landmark code -> parameters -> log standard deviations
                                                identity <- who it is

Beyond the method: R sees the crop too, not only what a segmenter keeps of it, and the landmarks that FaceMesh found when it was
aligned. Between features and parameters stand *dense
landmarks*: exact and free on renders, and the part that carries over to photos best. And identity is told from an
embedding of the recogniser too: who looks like whom is what it learnt from millions of photos, where R has thousands.

Batch norm is meant to see renders and photos mixed in every batch (its statistics are otherwise part of the domain
gap)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdk.contract import CROP_SIZE, LANDMARKS
from sdk.schema import REFERENCE, Schema
from train import bisenet, light_cnn
from train.bisenet import Segmentation, Segmenter
from train.layers import convolution, dense, mirrored, residual_stages
from train.light_cnn import EMBEDDING, LightCNN
from train.presets import named

Fixed = TypeVar("Fixed", Segmenter, LightCNN)

POSE_UNIT = 30.0
"""Degrees that make one unit of the pose heads, so that all heads work at about the same scale."""

LIPS = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 146, 91, 181, 84, 17, 314, 405, 321, 375,  # outside
    78, 191, 81, 82, 13, 312, 311, 415, 308, 95, 88, 178, 87, 14, 317, 402, 318, 324,  # inside
)  # fmt: skip
LIDS = (33, 160, 158, 133, 153, 144, 159, 145, 263, 387, 385, 362, 380, 373, 386, 374)
ANCHORS = (
    *LIDS,
    70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285,  # brows
    168, 6, 197, 5, 4, 1, 2, 98, 327, 48, 278, 64, 294, 129, 358,  # nose
    *LIPS,
    50, 280, 118, 347, 205, 425, 207, 427, 187, 411, 216, 436,  # cheeks
    10, 109, 338, 103, 332, 54, 284, 127, 356, 234, 454, 132, 361, 58, 288,  # outline, from the top
    172, 397, 136, 365, 149, 378, 176, 400, 152,  # outline, jaw
    18, 83, 313, 200, 199, 175,  # chin
)  # fmt: skip
"""FaceMesh numbers of the landmarks that are looked at closely."""
LARGEST_CODE = 5.0
"""Standard deviations of the landmark code beyond which FaceMesh is not believed."""


@dataclass(frozen=True)
class Preset:
    """Size of a network. ``widths`` and ``depths`` are channels and residual blocks at the grids of 32, 16, 8 and 4
    cells."""

    stem: int
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    fine: int  # channels of the fine map that is read at the anchors
    description: int  # width of the overview and of the shared description
    hidden: int  # width of the parameter head's hidden layer
    landmark_codes: int  # dense landmarks are predicted as this many principal coefficients
    identity_codes: int  # identity is predicted as this many principal coefficients of the handles' space


PRESETS: dict[str, Preset] = {
    "tiny": Preset(16, (16, 16, 24, 32), (1, 1, 1, 1), 8, 128, 64, 24, 12),  # tests: a second on one core
    "cpu": Preset(24, (32, 64, 128, 224), (1, 2, 2, 1), 24, 384, 384, 120, 160),  # hours on two cores
    "gpu": Preset(48, (96, 192, 320, 448), (2, 3, 4, 3), 48, 768, 768, 160, 200),  # one GPU
}


class Seen(NamedTuple):
    """What the fixed networks say about B crops: F_seg's parts and features, and F_reg's embedding (B, 256) of length 1; None
    where there is no such network."""

    segmentation: Segmentation | None
    identity: Tensor | None

    def rows(self, first: int, last: int) -> Seen:
        """What is said about some of the crops, from number `first` on and before number `last`."""
        segmentation, identity = self
        return Seen(segmentation and segmentation.rows(first, last), None if identity is None else identity[first:last])

    def features(self) -> Features:
        """What R learns from."""
        if self.segmentation is None:
            return Features((), None, self.identity)
        return Features(self.segmentation.weighted_features(), self.segmentation.f_gb, self.identity)


class Features(NamedTuple):
    """What R learns from beside the crops ([0086]: y' = R(f_gb, T)): ``weighted``, the grids (B, C, S, S) of T, none without a
    segmenter; ``f_gb`` (B, C); and ``identity``, F_reg's embedding (B, 256)."""

    weighted: tuple[Tensor, ...]
    f_gb: Tensor | None
    identity: Tensor | None

    def both_sides(self) -> Features:
        """Of B crops and of their mirror images, which the fixed networks need not look at: T of a mirror image is nearly T in
        the mirror, and f_gb and the embedding are nearly the same."""
        f_gb, identity = (None if values is None else torch.cat([values, values]) for values in (self.f_gb, self.identity))
        return Features(tuple(torch.cat([grid, mirrored(grid)]) for grid in self.weighted), f_gb, identity)


class Sight(NamedTuple):
    """All that R's answers about B crops are made of: ``hidden`` (B, H), ``landmark_code`` and ``first_code`` (B, L) as in
    :class:`Predictions`, and ``identity`` (B, 256): F_reg's embedding, where there is an F_reg."""

    hidden: Tensor
    landmark_code: Tensor
    first_code: Tensor
    identity: Tensor | None = None


class Predictions(NamedTuple):
    """What the network says about B crops.

    landmark_code: (B, L) whitened coefficients of the dense landmarks; first_code: the same before the close look.
    identity_code: (B, K) whitened coefficients of the identity sliders. expression: (B, 23), meant for [0,
    1], not clipped. pose: (B, 2) pitch and yaw, gaze: (B, 2) pitch and yaw, in units of 30 degrees. log_sigma: (B, K
    + 23 + 2) natural logarithm of the standard deviations of identity_code, expression and pose."""

    landmark_code: Tensor
    first_code: Tensor
    identity_code: Tensor
    expression: Tensor
    pose: Tensor
    gaze: Tensor
    log_sigma: Tensor

    def split(self, count: int) -> tuple[Predictions, Predictions]:
        """The first ``count`` of the batch, and the rest."""
        first, second = zip(*((value[:count], value[count:]) for value in self), strict=True)
        return Predictions(*first), Predictions(*second)


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


class Trunk(nn.Module):
    """Crop (B, 3, 256, 256) and T, if any -> features on grids of 64, 32, 16, 8 and 4 cells. The 7x7 stem reads every pixel at
    full resolution; T is added to the grids of its own sizes, at first with no weight."""

    def __init__(self, stem: int, widths: Sequence[int], depths: Sequence[int], channels: Sequence[int] = ()) -> None:
        """Channels of the stem, channels and residual blocks of the stages, and channels of the grids of T, from 64 cells
        downwards."""
        super().__init__()
        self.stem = convolution(3, stem, 7, 4, 3)
        own = (stem, *widths)
        self.join = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in zip(channels, own, strict=False))
        for join in self.join:
            nn.init.zeros_(join.weight)
        self.stages = residual_stages(stem, widths, depths)

    def forward(self, crop: Tensor, features: Sequence[Tensor] = ()) -> list[Tensor]:
        x = self.stem(crop)  # its batch norm takes out the mean of the pixels
        grids = []
        for number, stage in enumerate((nn.Identity(), *self.stages)):
            x = stage(x)
            if number < len(features):
                x = x + self.join[number](features[number])
            grids.append(x)
        return grids


class FineMap(nn.Module):
    """Features of every 4th pixel that know what the coarse grids know: a top-down path, to be read at landmarks."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, preset.fine, 1) for width in (preset.stem, *preset.widths))
        self.mix = convolution(preset.fine, preset.fine, 3)

    def forward(self, grids: list[Tensor]) -> Tensor:
        """-> (B, C, 64, 64)."""
        x = self.lateral[-1](grids[-1])
        for grid, lateral in zip(grids[-2::-1], list(self.lateral)[-2::-1], strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest") + lateral(grid)
        return self.mix(functional.relu(x))


class Likeness(nn.Module):
    """What F_reg's embedding (B, 256) adds to the identity that the face's shape says, (B, K) codes; nothing at first."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(EMBEDDING + preset.identity_codes, preset.hidden), nn.ReLU(inplace=True),
            nn.Linear(preset.hidden, preset.hidden), nn.ReLU(inplace=True), nn.Linear(preset.hidden, preset.identity_codes),
        )  # fmt: skip
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, embedding: Tensor, code: Tensor) -> Tensor:
        return self.layers(torch.cat([EMBEDDING**0.5 * embedding, code], 1))  # of length 1: its numbers are small


def _frozen(network: Fixed | None) -> Fixed | None:
    return network and network.eval().requires_grad_(False)


def read_at(features: Tensor, points: Tensor) -> Tensor:
    """Features (B, C, H, W) at points (B, A, 2) in crop pixels, bilinear: (B, A * C), 0 outside."""
    grid = points[:, None] * (2 / CROP_SIZE) - 1
    return functional.grid_sample(features, grid, align_corners=False)[:, :, 0].transpose(1, 2).flatten(1)


class FaceNet(nn.Module):
    """The whole network. ``forward`` gives :class:`Predictions`; :mod:`export.graphs` makes the served graph of it.

    Coarse grids tell where landmarks are to within 2 px of 256, too little for lids and lips, and FaceMesh is better on photos
    but falls short of the wide expressions of renders. The network weighs the two, and looks again: it reads fine features where
    it believes each anchor to be, sees how far off it was, and corrects itself."""

    def __init__(
        self, preset: Preset, segmenter: Segmenter | None = None, recogniser: LightCNN | None = None, schema: Schema = REFERENCE
    ) -> None:
        """`segmenter` and `recogniser` are the fixed networks F_seg and F_reg: they become part of this one, frozen. Without
        them it has its own trunk alone."""
        super().__init__()
        self.preset, self.schema = preset, schema
        self.segmenter, self.recogniser = _frozen(segmenter), _frozen(recogniser)
        of_t = (segmenter.preset.fused, *2 * [segmenter.preset.refined]) if segmenter else ()
        of_global = segmenter.preset.widths[-1] if segmenter else 0
        self.spaces = Spaces(preset, len(schema.identity))
        self.trunk = Trunk(preset.stem, preset.widths, preset.depths, of_t)
        eight, four = preset.widths[2], preset.widths[3]
        self.flatten_eight = convolution(eight, preset.description // 16, 1)
        self.flatten_four = convolution(four, preset.description // 8, 1)
        coarse = 64 * (preset.description // 16) + 16 * (preset.description // 8) + four + of_global
        self.overview = dense(coarse, preset.description)
        self.first_landmarks = nn.Linear(preset.description, preset.landmark_codes)
        self.trust = nn.Linear(preset.description + preset.landmark_codes, preset.landmark_codes)
        nn.init.zeros_(self.trust.weight)
        nn.init.zeros_(self.trust.bias)
        self.fine = FineMap(preset)
        look = len(ANCHORS) * preset.fine
        seen = preset.description + look + preset.landmark_codes
        self.describe = dense(seen, preset.description)
        self.correction = nn.Linear(seen + preset.description, preset.landmark_codes)
        nn.init.normal_(self.correction.weight, std=1e-3)
        self.combine = dense(preset.description + preset.landmark_codes, preset.hidden)
        self.sizes = (preset.identity_codes, len(schema.expression), len(schema.pose), 2)
        self.parameters_head = nn.Linear(preset.hidden + preset.landmark_codes, sum(self.sizes))
        self.likeness = Likeness(preset) if recogniser else None
        self.sigma_head = nn.Linear(preset.hidden, sum(self.sizes[:3]))
        nn.init.constant_(self.sigma_head.bias, -1.0)

    @property
    def eyes(self) -> list[nn.Module]:
        """What :meth:`sight` looks with: all but the last layers, of :meth:`answer`."""
        last = (self.parameters_head, self.likeness, self.sigma_head)
        return [part for part in self.children() if not any(part is one for one in last)]

    def train(self, mode: bool = True) -> FaceNet:
        """As of any module, but the fixed networks stay in evaluation mode."""
        super().train(mode)
        for fixed in (self.segmenter, self.recogniser):
            if fixed is not None:
                fixed.eval()
        return self

    def look(self, crop: Tensor) -> Seen:
        """What the fixed networks say about crops (B, 3, 256, 256); gradients reach the crops."""
        return Seen(self.segmenter and self.segmenter(crop), self.recogniser and self.recogniser(crop))

    @torch.no_grad()
    def start_from_landmarks(self, values: Tensor) -> None:
        """Let the parameters begin as the linear map of the landmark code found by regression, (L + 1, sum of sizes) with
        the constant last, to which the features then add what landmarks cannot say."""
        head, inputs = self.parameters_head, len(values) - 1
        head.weight[:, :-inputs] *= 0.1
        head.weight[:, -inputs:] = values[:-1].T
        head.bias.copy_(values[-1])

    def forward(self, crop: Tensor, mesh: Tensor | None = None, seen: Seen | None = None) -> Predictions:
        """crop: (B, 3, 256, 256) float32 RGB in [0, 1]; `mesh`: (B, 468, 2) FaceMesh's landmarks, crop px (None: the network
        looks for them itself); `seen`: what :meth:`look` says about the crop, where that is known."""
        return self.regress(crop, mesh, (seen or self.look(crop)).features())

    def regress(self, crop: Tensor, mesh: Tensor | None, features: Features) -> Predictions:
        """As :meth:`forward`, from what the fixed networks have found."""
        return self.answer(self.sight(crop, mesh, features))

    def sight(self, crop: Tensor, mesh: Tensor | None, features: Features) -> Sight:
        """What is seen on crops, of which :meth:`answer` speaks."""
        grids = self.trunk(crop, features.weighted)
        coarse = [self.flatten_eight(grids[-2]).flatten(1), self.flatten_four(grids[-1]).flatten(1), grids[-1].mean((2, 3))]
        if features.f_gb is not None:
            coarse.append(features.f_gb)
        fine = self.fine(grids)
        with torch.autocast(crop.device.type, enabled=False):  # bfloat16 is good enough for convolutions only
            return self._look_closely(torch.cat(coarse, 1).float(), fine.float(), mesh, features.identity)

    def _look_closely(self, coarse: Tensor, fine: Tensor, mesh: Tensor | None, embedding: Tensor | None) -> Sight:
        """From the flattened coarse grids, the fine map, FaceMesh's landmarks and the recogniser's embedding."""
        overview = self.overview(coarse)
        first_code = self.first_landmarks(overview)
        start = first_code.detach()
        if mesh is not None:
            mesh_code = self.spaces.landmark_code(mesh).clamp(-LARGEST_CODE, LARGEST_CODE)
            trust = self.trust(torch.cat([overview, mesh_code], 1)).sigmoid()
            start = start + trust * (mesh_code - start)
        anchors = self.spaces.landmarks(start)[:, list(ANCHORS)]
        seen = torch.cat([overview, read_at(fine, anchors), start], 1)
        description = self.describe(seen)
        landmark_code = start + self.correction(torch.cat([seen, description], 1))
        hidden = self.combine(torch.cat([description, landmark_code], 1))
        return Sight(hidden, landmark_code, first_code, None if embedding is None else embedding.float())

    def answer(self, sight: Sight) -> Predictions:
        """What is said about what was seen."""
        hidden, landmark_code, first_code, embedding = sight
        values = self.parameters_head(torch.cat([hidden, landmark_code], 1))
        identity, expression, pose, gaze = values.split(self.sizes, 1)
        if self.likeness is not None and embedding is not None:
            identity = identity + self.likeness(embedding, identity)
        # Uncertainty reads the features but does not shape them: its likelihood would trade the means for itself.
        log_sigma = self.sigma_head(hidden.detach())
        return Predictions(landmark_code, first_code, identity, expression, pose, gaze, log_sigma)


def build(
    preset: str, segmenter: Segmenter | None = None, recogniser: LightCNN | None = None, schema: Schema = REFERENCE
) -> FaceNet:
    """A fresh network of a named preset, with these fixed networks; :class:`ValueError` names the presets there are."""
    return FaceNet(named(PRESETS, preset), segmenter, recogniser, schema)


def describe(network: FaceNet) -> dict[str, Any]:
    """What :mod:`train.checkpoint` writes down so that the network can be built again."""
    return {
        "preset": asdict(network.preset),
        "schema": network.schema.to_json(),
        "segmenter": network.segmenter and bisenet.describe(network.segmenter),
        "recogniser": network.recogniser and light_cnn.describe(network.recogniser),
    }
