"""The segmenter: BiSeNet, which divides an aligned crop into the parts of a face (CN112200236A [0081], [0188]).

    crop -> spatial path (fine and shallow) ----------------------> fusion -> classes of every other pixel
         -> context path (coarse and deep), attention refinement ->
                                |-> pooled: the global feature f_gb

BiSeNet (Yu et al., "Bilateral segmentation network for real-time semantic segmentation", ECCV 2018) is made for
streets: its fine path has an eighth of the picture's resolution. An eyelid is two pixels of a crop, so here the fine path
has a quarter, and the last convolution says the classes of 2 x 2 places per cell (sub-pixel convolution, Shi et al. 2016).
The attentions have biases where the paper has batch norm: its statistics over pooled vectors of a small batch are noise.

Besides classes, the segmenter yields what the regressor learns from ([0081]: ``f_gb, T = F_seg(I)``): the global feature
f_gb, and T, the features of the last three layers, weighted with class probabilities as attention ([0130]). The "last
three layers" are those that have a classifier in BiSeNet: the fusion, and the two refined stages of the context path, whose
classifiers (the auxiliary heads) serve training only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.face_parts import PARTS, REBUILT
from train.layers import convolution, residual_stages
from train.presets import named, restored

HEAD_SCALE = 2
"""Places per cell of the fused grid, each way, of which the head says the classes."""


@dataclass(frozen=True)
class Preset:
    """Size of a network. Channels are multiples of 8: torch 2.13 on a CPU corrupts memory in the gradient of strided
    convolutions with others."""

    spatial: tuple[int, int]  # channels of the spatial path at a half and at a quarter of the crop's resolution
    stem: int  # channels of the context path at a quarter
    widths: tuple[int, int, int]  # its channels at 1/8, 1/16 and 1/32
    depths: tuple[int, int, int]  # its residual blocks there
    refined: int  # channels after attention refinement
    fused: int  # channels after feature fusion


PRESETS: dict[str, Preset] = {
    "tiny": Preset((8, 16), 16, (16, 24, 32), (1, 1, 1), 16, 16),  # tests: a second on one core
    "cpu": Preset((16, 32), 24, (48, 96, 192), (1, 2, 2), 48, 48),  # an hour on two cores
    "gpu": Preset((32, 64), 64, (96, 192, 384), (2, 3, 3), 96, 96),  # an hour on one GPU
}


class Segmentation(NamedTuple):
    """What the segmenter says about B crops.

    logits: (B, parts, 128, 128), see :func:`probabilities`. auxiliary: logits of the context path's stages, (B, parts, 32,
    32) and (B, parts, 16, 16), for training. f_gb: (B, C) the global feature. features: of the last three layers, (B, F, 64,
    64), (B, R, 32, 32) and (B, R, 16, 16)."""

    logits: Tensor
    auxiliary: tuple[Tensor, Tensor]
    f_gb: Tensor
    features: tuple[Tensor, Tensor, Tensor]

    def rows(self, first: int, last: int) -> Segmentation:
        """What is said about some of the crops, from number `first` on and before number `last`."""
        some = slice(first, last)
        auxiliary, features = (tuple(grid[some] for grid in grids) for grids in (self.auxiliary, self.features))
        return Segmentation(self.logits[some], auxiliary, self.f_gb[some], features)  # type: ignore[arg-type]

    def weighted_features(self, parts: Sequence[int] = REBUILT) -> tuple[Tensor, Tensor, Tensor]:
        """T of [0081]: the features of the last three layers, each place weighted with the probability that it belongs to one
        of some parts: "the class probabilities that the extractor predicts can be added to these features as attention"
        [0130]. The content loss is the L1 distance of two pictures' T [0129]; with :data:`train.face_parts.MOUTH` it is the
        T_m of the mouth loss [0111].

        Returns:
            (B, F, 64, 64), (B, R, 32, 32), (B, R, 16, 16).
        """
        attention = probability_of(self.logits, parts)
        side = attention.shape[-1]
        fine, middle, coarse = (f * functional.avg_pool2d(attention, side // f.shape[-1]) for f in self.features)
        return fine, middle, coarse


def probability_of(logits: Tensor, parts: Sequence[int]) -> Tensor:
    """(B, 1, H, W) probability of any of some parts: their share of the softmax over logits (B, parts, H, W). Written out, since
    ONNX Runtime takes ten times as long for its softmax along channels."""
    odds = (logits - logits.amax(1, keepdim=True).detach()).exp()
    return odds[:, list(parts)].sum(1, keepdim=True) / odds.sum(1, keepdim=True)


def enlarge(logits: Tensor, size: int) -> Tensor:
    """Logits (B, parts, 128, 128) at the crop's resolution: (B, parts, size, size)."""
    return functional.interpolate(logits, size=(size, size), mode="bilinear", align_corners=False)


class SpatialPath(nn.Module):
    """Crop (B, 3, 256, 256) -> (B, C, 64, 64): shallow, and fine enough for edges (section 3.1 of the paper)."""

    def __init__(self, half: int, quarter: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(3, half, 3, 2), convolution(half, quarter, 3, 2), convolution(quarter, quarter, 3)
        )

    def forward(self, crop: Tensor) -> Tensor:
        return self.layers(crop)


def gate(logits: Tensor) -> Tensor:
    """Sigmoid, in float32 where the logits are of half precision."""
    return logits.float().sigmoid().to(logits.dtype)


class AttentionRefinement(nn.Module):
    """A convolution whose channels are weighted by what the whole picture shows (figure 2b of the paper)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = convolution(inputs, outputs, 3)
        self.attention = nn.Conv2d(outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        return x * gate(self.attention(x.mean((2, 3), keepdim=True)))


class ContextPath(nn.Module):
    """Crop -> refined features (B, R, 32, 32) and (B, R, 16, 16), and the global feature (B, C): a light backbone, its global
    pooling, and attention refinement of its two coarsest stages, from coarse to fine (section 3.2 of the paper)."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.stem = convolution(3, preset.stem, 7, 4)
        self.stages = residual_stages(preset.stem, preset.widths, preset.depths)
        _, middle, deep = preset.widths
        self.from_global = nn.Conv2d(deep, preset.refined, 1)
        self.refine_deep = AttentionRefinement(deep, preset.refined)
        self.refine_middle = AttentionRefinement(middle, preset.refined)
        self.smooth_deep = convolution(preset.refined, preset.refined, 3)
        self.smooth_middle = convolution(preset.refined, preset.refined, 3)

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grids = [self.stem(crop)]
        for stage in self.stages:
            grids.append(stage(grids[-1]))
        *_, middle, deep = grids  # (B, C, 16, 16), (B, C, 8, 8)
        pooled = deep.mean((2, 3), keepdim=True)
        coarse = self.smooth_deep(doubled(self.refine_deep(deep) + self.from_global(pooled)))
        fine = self.smooth_middle(doubled(self.refine_middle(middle) + coarse))
        return fine, coarse, pooled.flatten(1)


def doubled(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2 H, 2 W), each cell four times."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class FeatureFusion(nn.Module):
    """Joins features of different kinds: a convolution, and channels weighted by what the whole picture shows (figure 2c of
    the paper)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.join = convolution(inputs, outputs, 1)
        self.attention = nn.Sequential(
            nn.Conv2d(outputs, outputs // 4, 1), nn.ReLU(inplace=True), nn.Conv2d(outputs // 4, outputs, 1)
        )

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.join(torch.cat([spatial, context], 1))
        return x + x * gate(self.attention(x.mean((2, 3), keepdim=True)))


class Segmenter(nn.Module):
    """The whole network."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.spatial_path = SpatialPath(*preset.spatial)
        self.context_path = ContextPath(preset)
        self.fusion = FeatureFusion(preset.spatial[1] + preset.refined, preset.fused)
        self.head = nn.Sequential(
            convolution(preset.fused, preset.fused, 3),
            nn.Conv2d(preset.fused, len(PARTS) * HEAD_SCALE**2, 1),
            nn.PixelShuffle(HEAD_SCALE),
        )
        self.auxiliary_heads = nn.ModuleList(nn.Conv2d(preset.refined, len(PARTS), 1) for _ in range(2))

    @torch.no_grad()
    def expect(self, frequencies: Tensor) -> None:
        """Let untrained heads say how frequent the parts are, (parts,), rather than that all are alike (Lin et al., "Focal
        loss", 2017, section 4.1): else the first hundreds of steps learn nothing but that."""
        for head in (self.head[1], *self.auxiliary_heads):
            bias = head.bias
            bias.copy_(frequencies.log().repeat_interleave(len(bias) // len(frequencies)))

    def forward(self, crop: Tensor) -> Segmentation:
        """crop: (B, 3, 256, 256) float32 RGB in [0, 1]."""
        middle, coarse, f_gb = self.context_path(crop)
        fused = self.fusion(self.spatial_path(crop), doubled(middle))
        auxiliary = tuple(head(x) for head, x in zip(self.auxiliary_heads, (middle, coarse), strict=True))
        return Segmentation(self.head(fused), auxiliary, f_gb, (fused, middle, coarse))


def build(preset: str) -> Segmenter:
    """A fresh network of a named preset; :class:`ValueError` names the presets there are."""
    return Segmenter(named(PRESETS, preset))


def describe(network: Segmenter) -> dict[str, Any]:
    """What a checkpoint holds so that the network can be built again."""
    return {"preset": asdict(network.preset), "parts": list(PARTS)}


def rebuild(state: dict[str, Any]) -> Segmenter:
    """The network of a checkpoint of :mod:`train.segmenter`, with the moving average of its weights, in evaluation mode.
    ValueError where the checkpoint is of other parts, or of another network."""
    network = of_description(state["description"])
    network.load_state_dict(state["average"])
    return network.eval()


def of_description(description: dict[str, Any]) -> Segmenter:
    """A fresh network as :func:`describe` told it; ValueError where it is of other parts, or of another network."""
    if description.get("parts") != list(PARTS):
        raise ValueError(f"this is no checkpoint of a segmenter with the parts {', '.join(PARTS)}")
    return Segmenter(restored(Preset, description["preset"]))
