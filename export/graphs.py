"""The exportable graphs: what `align`, `regressor` and `encoder` compute when served, in FP32 and in mixed precision, and
nothing else.

`regressor` is image features and regressor of CN112200236A in one, :class:`train.networks.FaceNet`; `encoder` that of
CN109902767B, :class:`train.encoder_network.Encoder`; `align` is :class:`train.alignment.Aligner`. Names, shapes and order of
the outputs are those of :mod:`sdk.contract`.

In mixed precision the layers that cost something run in FP16. What is sensitive stays in FP32: picture coordinates and
everything computed from them (transforms, warps), softmax and sigmoid, the last layers that say parameters, landmarks and
boxes (a landmark near 190 px has steps of 1/8 px in FP16), and standard deviations. Inputs and outputs are those of FP32.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import fusion

from train.alignment import Aligner
from train.bisenet import Segmentation, Segmenter
from train.blazeface import BlazeFace
from train.both_sides import Answer, BothSides
from train.close_looks import CloseLook
from train.encoder_network import Encoder
from train.facemesh import FaceMesh
from train.light_cnn import LightCNN, look
from train.networks import FaceNet


class RegressorGraph(BothSides):
    """crop (B, 3, 256, 256) in [0, 1], landmarks (B, 468, 3) crop px -> identity (B, 244) in [-1, 1], expression (B, 23)
    in [0, 1], pose (B, 2) degrees, and the standard deviations of each, in the same units."""

    def forward(self, crop: Tensor, landmarks: Tensor) -> Answer:
        said = super().forward(crop, landmarks[..., :2])
        return said._replace(
            identity=said.identity.clamp(-1, 1),
            expression=said.expression.clamp(0, 1),
            expression_sigma=said.expression_sigma.clamp(max=0.5),  # nothing between 0 and 1 deviates more
        )


class EncoderGraph(nn.Module):
    """crop (B, 3, 256, 256) in [0, 1], landmarks (B, 468, 3) crop px -> probabilities (B, n) of every style slot, (B, slots) that
    it can be seen, and identity (B, 244) in [-1, 1]: the discrete and the continuous parameters of CN109902767B [0052]."""

    def __init__(self, network: Encoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, crop: Tensor, landmarks: Tensor) -> tuple[Tensor, ...]:
        said = self.network.both_sides(crop, landmarks[..., :2])
        styles = [said.styles[slot.name].softmax(1) for slot in self.network.schema.style]
        return (*styles, said.visible.sigmoid(), said.identity.clamp(-1, 1))


def regressor(network: FaceNet) -> nn.Module:
    """The FP32 graph of `regressor`. The weights of the fixed networks are such as FP16 holds: of those, R would notice less
    than of its own."""
    rounded = copy.deepcopy(network)
    for fixed in (rounded.segmenter, rounded.recogniser):
        if fixed is not None:
            fixed.half().float()
    return RegressorGraph(rounded).eval()


def mixed_regressor(network: FaceNet) -> nn.Module:
    """The same in mixed precision: the fixed networks, trunk, fine map and hidden layers in FP16. ``network`` is left as it
    is."""
    mixed = copy.deepcopy(network).eval()
    _fold_batch_norms(mixed)
    if mixed.segmenter is not None:
        mixed.segmenter = SegmenterInHalf(mixed.segmenter)  # type: ignore[assignment]
    if mixed.recogniser is not None:
        mixed.recogniser = RecogniserInHalf(mixed.recogniser)  # type: ignore[assignment]
    mixed.trunk = FromHalf(mixed.trunk)  # type: ignore[assignment]
    for part in (mixed.flatten_eight, mixed.flatten_four, mixed.fine):
        part.half()  # they read the trunk's grids, which are in half already
    if mixed.likeness is not None:
        mixed.likeness.layers = InHalf(mixed.likeness.layers)  # type: ignore[assignment]
    for name in ("overview", "describe", "correction", "combine"):
        setattr(mixed, name, InHalf(getattr(mixed, name)))
    return RegressorGraph(mixed).eval()


def encoder(network: Encoder) -> nn.Module:
    """The FP32 graph of `encoder`."""
    return EncoderGraph(copy.deepcopy(network).fold_temperatures()).eval()


def mixed_encoder(network: Encoder) -> nn.Module:
    """The same in mixed precision: all but the heads in FP16. ``network`` is left as it is."""
    mixed = copy.deepcopy(network).fold_temperatures().eval()
    _fold_batch_norms(mixed)
    mixed.trunk = FromHalf(mixed.trunk)
    mixed.features, mixed.colours = InHalf(mixed.features), InHalf(mixed.colours)  # type: ignore[assignment]
    for close in mixed.looks.each:
        assert isinstance(close, CloseLook)
        close.layers, close.told = InHalf(close.layers), InHalf(close.told)  # type: ignore[assignment]
    for part in (mixed.parts, mixed.residuals):
        part.half()  # they read the trunk's grids, which are in half already
    return EncoderGraph(mixed).eval()


def aligner() -> nn.Module:
    """The FP32 graph of `align`; its weights come with the repository."""
    return Aligner().eval()


def mixed_aligner() -> nn.Module:
    """The same with detector and landmark network in FP16, but for their last layers."""
    mixed = Aligner().eval()
    mixed.detector.network = DetectorInHalf(mixed.detector.network)  # type: ignore[assignment]
    mixed.mesh.network = MeshInHalf(mixed.mesh.network)  # type: ignore[assignment]
    return mixed


class FromHalf(nn.Module):
    """A trunk in FP16 that takes FP32 tensors and answers in FP16."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part.half()

    def forward(self, crop: Tensor, *features: Sequence[Tensor]) -> list[Tensor]:
        answer: list[Tensor] = self.part(crop.half(), *([grid.half() for grid in grids] for grids in features))
        return answer


class InHalf(nn.Module):
    """A part in FP16 between FP32 tensors."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part.half()

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.part(x.half()).float()
        return answer


class SegmenterInHalf(nn.Module):
    """The segmenter in FP16 between FP32 tensors: the softmax over parts is taken in FP32."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter.half()

    def forward(self, crop: Tensor) -> Segmentation:
        logits, auxiliary, f_gb, (fine, middle, coarse) = self.segmenter(crop.half())
        return Segmentation(logits.float(), auxiliary, f_gb.float(), (fine.float(), middle.float(), coarse.float()))


class RecogniserInHalf(nn.Module):
    """The recogniser in FP16; mean and contrast of the picture are taken out of it, and lengths to 1, in FP32.

    Without normalisation inside it reaches 5e5, beyond FP16. Of a picture and biases SCALE times as large it says exactly SCALE
    times as much, for all that it does is linear but for maxima; and the length does not count."""

    SCALE = 2**-8

    def __init__(self, recogniser: LightCNN) -> None:
        super().__init__()
        with torch.no_grad():
            for name, values in recogniser.named_parameters():
                if name.endswith("bias"):
                    values.mul_(self.SCALE)
        self.recogniser = recogniser.half()

    def forward(self, crop: Tensor) -> Tensor:
        return nn.functional.normalize(self.recogniser.describe((self.SCALE * look(crop)).half()).float(), dim=1)


class InFull(nn.Module):
    """A layer in FP32 that ends a part in FP16."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer.float()

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layer(x.float())
        return answer


class DetectorInHalf(nn.Module):
    """BlazeFace in FP16 between FP32 tensors; the last layers, boxes in pixels and logits, in FP32."""

    def __init__(self, detector: BlazeFace) -> None:
        super().__init__()
        self.detector = detector.half()
        for heads in (detector.scores, detector.boxes):
            for i, head in enumerate(heads):
                heads[i] = InFull(head)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        answer: tuple[Tensor, Tensor] = self.detector(image.half())
        return answer


class MeshInHalf(nn.Module):
    """FaceMesh in FP16 between FP32 tensors; the last layers, points in pixels and the logit, in FP32."""

    def __init__(self, mesh: FaceMesh) -> None:
        super().__init__()
        self.mesh = mesh.half()
        for head in (mesh.points, mesh.score):
            head[-1] = InFull(head[-1])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        answer: tuple[Tensor, Tensor] = self.mesh(image.half())
        return answer

    def forward_half(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`train.facemesh.FaceMesh.forward_half`: half the resolution, not the precision."""
        return self.mesh.forward_half(image.half())


@torch.no_grad()
def _fold_batch_norms(network: nn.Module) -> None:
    """Put every batch norm that follows a layer into that layer: FP16 then rounds its weights once."""
    for block in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for i, (layer, norm) in enumerate(zip(list(block)[:-1], list(block)[1:], strict=True)):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block[i], block[i + 1] = fusion.fuse_conv_bn_eval(layer, norm), nn.Identity()
            elif isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
                block[i], block[i + 1] = fusion.fuse_linear_bn_eval(layer, norm), nn.Identity()
