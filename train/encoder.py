"""Train the encoder E: shapes and styles from labelled faces (CN109902767B).

    python -m train.encoder --renders DIR --photos DIR --regressor R.pt --segmenter S.pt --imitator G.pt --out DIR \\
        --minutes 60 --devices 2 --threads 1 --precision bf16-mixed

E says p = (pc, pd) of a picture, the label is p' = (pc', pd'). With the decoder D, here the imitator, frozen, showing faces at
rest and from the front, the loss is that of the method ([0056]-[0068]), the first two lines:

    F1 = cross-entropy of pd and pd', per slot                                              formula 3    styles
    F2 = || D(pc, pd') - D(pc', pd') ||                                                     formula 2    pixels
    what pc moves of the head's surface, in mm^2 relative to answering the base face                     shape

Labels come from renders, whose parameters are known; from ``--faces``, files of faces that players or :mod:`train.fit` made for
photos ([0054], :mod:`train.face_files`); and from ``--styles``, what people saw on photos (:mod:`train.style_labels`).

Renders and photos are in every batch. What photos add beyond the labels that they have: what a network that knows other pictures
makes of those labels (:mod:`train.style_teacher`), with ``--likeness`` weighed by in which styles the game's face is like the
photo (:mod:`train.style_likeness`); agreement, where E is sure of one view of a photo it should say the same of another; of
colours that nobody labelled, eyes and lips, what rules measure (:mod:`train.photo_styles`); and the parts of the face as the
segmenter sees them. Seven of ten people are learnt from, the others measure when to stop, and set the temperatures of the
probabilities at the end ([0069]). ``--start-from`` begins with the weights of another run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional

from game.rig import Rig
from sdk.schema import REFERENCE, Schema
from train import bisenet, checkpoint, encoder_network, imitator_network, recogniser
from train.calibrate import calibrate, right_answers, said_about
from train.data import Batches, BatchSize, RenderShards, rows_of_pictures, spaced, to_float
from train.dlib_resnet import load_teacher
from train.encoder_data import EncoderBatches, Faces, Sources
from train.encoder_network import Encoded, Encoder, Sight
from train.face_files import UNKNOWN
from train.fresh_renders import wanted
from train.geometry import IdentitySpace, identity_metric, mirrored_landmarks
from train.imitator_network import at_rest, one_hot
from train.layers import as_served, still_norms
from train.loop import Loop, LoopOptions, Task
from train.photo_styles import photo_evidence
from train.style_labels import HIDDEN
from train.style_likeness import liked_styles
from train.style_teacher import taught_styles
from train.views import check_views, kept_views, sight_in

log = logging.getLogger(__name__)

RULED = ("skin", "hair_colour", "iris", "lip")
"""Slots whose rules are believed where nobody looked at any photo: colours. On shapes they are hardly better than chance."""
SURE = 0.8
"""Probability from which an answer on one view of a photo teaches the other."""
SMOOTHING = 0.05
SHEET = 8
SHORN = "bald"
"""Hair that has no colour."""


@dataclass(frozen=True)
class Weights:
    """Weights of the losses; 0 switches one off."""

    styles: float = 1.0  # F1 on renders
    pixels: float = 4.0  # lambda: root mean square of pixels in [0, 1], faces differ by .05
    shape: float = 1.0
    told: float = 2.0  # F1 on photos that people looked at: few, and what counts
    taught: float = 2.0
    visible: float = 0.3
    rules: float = 0.3
    agreement: float = 0.5
    parts: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Options(Sources, LoopOptions):
    """Options of training; each is a flag of the command line."""

    imitator: Path | None = None  # checkpoint of train.imitator, D (none: without F2)
    segmenter: Path | None = None  # checkpoint of train.segmenter (none: without the loss of parts)
    regressor: Path | None = None  # checkpoint of train.regressor, with whose trunk a preset that has it begins
    measured: int = 400  # held-out renders that an evaluation measures
    likeness: float = 0.0  # weight of in which styles R's faces are like the photos (needs --regressor and --imitator)
    preset: str = "cpu"  # size of the network: tiny, cpu, gpu
    batch_renders: int = 16  # per process
    fresh_renders: int = 0  # so many of batch_renders are drawn anew in every step, by the workers
    backgrounds: tuple[str, ...] = ()  # tars or folders of photos, whose borders those stand before
    batch_photos: int = 20  # per process, even; half of them labelled ones
    decoded: int = 1  # faces of which F2 compares the pictures, per process
    views: int = 0  # the last layers learn alone, from so many kept views of each photo (0: everything learns)
    learning_rate: float = 2e-3
    weights: Weights = field(default_factory=Weights)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_views(self)
        if self.likeness and (None in (self.regressor, self.imitator) or not self.weights.taught):
            raise ValueError("--likeness weighs what photos are taught by faces that R answers: give --regressor and --imitator")


class EncoderTask(Task):
    """The encoder and its losses."""

    network: Encoder

    def __init__(self, options: Options, resumed: bool = False, schema: Schema = REFERENCE) -> None:
        self.options, self.schema = options, schema
        self.faces = faces = Faces.read(options, schema)
        log.info("%s", ", ".join(f"{count} {name}" for name, count in self.fingerprint().items()))
        self.imitator = options.imitator and imitator_network.rebuild(checkpoint.load(options.imitator)).requires_grad_(False)
        self.evidence = photo_evidence(faces.photos, faces.renders, options.out)
        self.taught = np.zeros_like(self.evidence)
        if options.weights.taught:
            self.taught = taught_styles(faces.photos, faces.labels.style, options.out, schema)
        if options.likeness:
            self.taught = self._liked()
        self.network = encoder_network.build(options.preset, schema)
        if not resumed:
            codes = self.network.preset.identity_codes
            space = IdentitySpace.fit(self.faces.renders.arrays["identity"], identity_metric(Rig.load()), codes)
            self.network.identity_mean.copy_(torch.from_numpy(space.mean))
            self.network.identity_basis.copy_(torch.from_numpy(space.basis))
        if options.regressor and options.start_from is None and not resumed:
            self._begin_with_trunk(options.regressor)
        if options.views:
            for part in self.network.eyes:
                part.requires_grad_(False)
        self.segmenter = options.segmenter and bisenet.rebuild(checkpoint.load(options.segmenter)).requires_grad_(False)
        self.metric = surface_metric(self.faces.renders.arrays["identity"])
        self.looked_at = [bool(slot.any()) for slot in (self.faces.labels.style >= 0).T]

    def _liked(self) -> npt.NDArray[np.float32]:
        """What photos are taught, of which styles make the game's face like them, too; by dlib's ResNet."""
        assert self.options.regressor is not None and self.imitator is not None
        regressor = checkpoint.rebuild(checkpoint.load(self.options.regressor))
        networks = regressor, self.imitator, recogniser.Teacher(load_teacher(None))
        photos, told = self.faces.photos, self.faces.labels.style
        weight, folder = self.options.likeness, self.options.out
        return liked_styles(self.taught, told, self.evidence, photos, networks, weight, folder, self.schema)

    def _begin_with_trunk(self, regressor: Path) -> None:
        """Of the regressor; what it made of the segmenter's features is not taken over."""
        if self.network.preset.trunk != "regressor":
            raise ValueError(f"--regressor: the preset {self.options.preset!r} has a trunk of its own, not the regressor's")
        checkpoint.take_over(self.network.trunk, checkpoint.rebuild(checkpoint.load(regressor)).trunk.state_dict())
        log.info("begins with the trunk of %s", regressor)

    def batches(self, rank: int, world: int) -> Batches:
        size = BatchSize(self.options.batch_renders, self.options.batch_photos)
        mirror = mirrored_landmarks(Rig.load())
        arguments = (self.faces.renders, self.faces.photos, size, self.options.seed, mirror, self.evidence, rank, world)
        batches = EncoderBatches(self.faces.labels, self.taught, *arguments, fresh=wanted(RenderShards, self.options))
        if self.options.views:
            batches.views = kept_views(batches, self._sight, self.network.eyes, self.options.views, self.options.out)
        return batches

    @torch.no_grad()
    def _sight(self, crops: Tensor, mesh: Tensor) -> Sight:
        """What the network sees, as it is served."""
        with as_served(self.network), self.autocast():
            return self.network.sight(crops.to(self.metric.device), mesh.to(self.metric.device))[0]

    def to(self, device: torch.device) -> None:
        self.metric = self.metric.to(device)
        for fixed in (self.imitator, self.segmenter):
            if fixed is not None:
                fixed.to(device)

    def losses(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        renders, weights = self.options.batch_renders, self.options.weights
        said = self._said(module, batch)
        of_renders = {name: values[:renders] for name, values in said.styles.items()}
        of_photos = {name: values[renders:] for name, values in said.styles.items()}
        told, identity = batch["photo_style"], torch.cat([batch["identity"], batch["photo_identity"]])
        known = torch.cat([torch.ones_like(batch["identity"][:, 0], dtype=torch.bool), batch["made"]])
        every = torch.cat([seen_on_renders(batch["style"], self.schema), told])
        losses = {
            "styles": told_loss(of_renders, batch["style"]),
            "shape": shape_error(said.identity[known], identity[known], self.metric).mean(),
            "told": told_loss(of_photos, told),
            "taught": taught_loss(of_photos, batch["taught"]),
            "visible": visible_loss(said.visible, every),
            "rules": rule_loss(of_photos, batch["evidence"], told, self.looked_at),
            "agreement": agreement_loss(of_photos, told, self.looked_at),
        }
        if said.parts is not None:
            one_view = slice(renders, None, 2)  # of each photo
            losses["parts"] = self._parts_loss(said.parts[one_view], to_float(batch["crop"][one_view]))
        if self.imitator is not None:
            losses["pixels"] = self._pixel_loss(said, identity, known, torch.cat([batch["style"], told]))
        loss = torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()
        return {**losses, "loss": loss}

    def _said(self, module: Any, batch: dict[str, Tensor]) -> Encoded:
        """About pictures, or kept views."""
        if not self.options.views:
            return module(to_float(batch["crop"]), batch["mesh"])
        module.mark_forward_method("answer")
        still_norms(self.network)  # few pictures of two kinds say little of all
        return module.answer(Sight(**sight_in(batch)))

    def _pixel_loss(self, said: Encoded, identity: Tensor, known: Tensor, style: Tensor) -> Tensor:
        """F2 of [0062] on some of the faces whose parameters are known: root mean square of the pixels, per face. A slot that
        nobody labelled is drawn as E says."""
        rows = known.nonzero()[:, 0]
        rows = rows[torch.linspace(0, len(rows) - 1, min(self.options.decoded, len(rows)), device=rows.device).long()]
        options = one_hot(torch.where(style[rows] >= 0, style[rows], said.options[rows]), self.schema)
        with self.autocast():
            drawn = at_rest(self.imitator, said.identity[rows].clamp(-1, 1), options)
            with torch.no_grad():
                wanted = at_rest(self.imitator, identity[rows], options)
        return (drawn.float() - wanted.float()).square().mean((1, 2, 3)).add(1e-8).sqrt().mean()

    def _parts_loss(self, logits: Tensor, crops: Tensor) -> Tensor:
        """Cross-entropy with what the segmenter sees."""
        if self.segmenter is None:
            return 0.0 * logits.float().mean()
        with torch.no_grad(), self.autocast():
            seen = self.segmenter(crops).logits.float().softmax(1)
        return functional.cross_entropy(logits.float(), functional.adaptive_avg_pool2d(seen, logits.shape[-2:]))

    def description(self) -> dict[str, Any]:
        return encoder_network.describe(self.network)

    def fingerprint(self) -> dict[str, Any]:
        return self.faces.fingerprint()

    def evaluate(self) -> dict[str, float]:
        """On held-out renders and people: share of right answers, mean over slots, and identity as a share of the base face's
        error."""
        device = self.metric.device
        chosen = spaced(len(self.faces.held_out), self.options.measured)
        answers = said_about(self.network, self.faces.held_out, chosen, device)
        truth = torch.from_numpy(self.faces.held_out.arrays["identity"][chosen]).to(device)
        identity = torch.cat([a.identity for a in answers]).float()
        measures = {"identity": float(shape_error(identity, truth, self.metric).mean().sqrt())}
        of_renders = right_answers(answers, self.faces.held_out.arrays["style"][chosen], self.schema)
        measures["renders"] = float(np.mean(list(of_renders.values())))
        if len(self.faces.held_out_photos):
            answers = said_about(self.network, self.faces.held_out_photos, np.arange(len(self.faces.held_out_photos)), device)
            of_photos = right_answers(answers, self.faces.held_out_labels.style, self.schema)
            measures |= {"photos": float(np.mean(list(of_photos.values())))} | of_photos
        return {"score": measures["renders"] + measures.get("photos", 0.0), **measures}

    def sheet(self) -> npt.NDArray[np.uint8] | None:
        """Photos, and below each its face at rest, at half size."""
        if self.imitator is None:
            return None
        crops, mesh = self.faces.photos.inputs(spaced(len(self.faces.photos), SHEET), self.metric.device)
        said = self.network(crops, mesh)
        drawn = at_rest(self.imitator, said.identity.clamp(-1, 1), one_hot(said.options, self.schema))
        return rows_of_pictures(crops, drawn)


def surface_metric(identities: npt.NDArray[np.float32]) -> Tensor:
    """(244, 244) metric of the mean squared displacement of the head's surface, in which faces (N, 244) have a mean square of
    1."""
    metric, values = identity_metric(Rig.load()), identities.astype(np.float64)
    return torch.from_numpy((metric / ((values @ metric) * values).sum(1).mean()).astype(np.float32))


def shape_error(said: Tensor, truth: Tensor, metric: Tensor) -> Tensor:
    """(B,) mean squared displacement of the head's surface, by :func:`surface_metric`: relative to that of the base face."""
    difference = said - truth
    return ((difference @ metric) * difference).sum(1)


def seen_on_renders(style: Tensor, schema: Schema) -> Tensor:
    """Option numbers (B, slots), HIDDEN where a render does not show them: the colour of hair that is not there."""
    names = [slot.name for slot in schema.style]
    hair, colour = names.index("hair"), names.index("hair_colour")
    bald = style[:, hair] == schema.style[hair].index(SHORN)
    style = style.clone()
    style[:, colour] = torch.where(bald, HIDDEN, style[:, colour])
    return style


def told_loss(logits: dict[str, Tensor], style: Tensor) -> Tensor:
    """F1 (formula 3): cross-entropy over the slots that are known, labels smoothed, summed over slots; `style` (B, slots)."""
    terms = []
    for k, values in enumerate(logits.values()):
        each = functional.cross_entropy(values, style[:, k].clamp_min(0), label_smoothing=SMOOTHING, reduction="none")
        terms.append(_mean_of(each, style[:, k] >= 0))
    return torch.stack(terms).sum()


def taught_loss(logits: dict[str, Tensor], taught: Tensor) -> Tensor:
    """Cross-entropy with probabilities (B, options of all slots side by side), summed over slots; where they are 0, nothing."""
    columns = taught.split([values.shape[1] for values in logits.values()], 1)
    terms = [-(wanted * values.log_softmax(1)).sum(1).mean() for values, wanted in zip(logits.values(), columns, strict=True)]
    return torch.stack(terms).sum()


def visible_loss(logits: Tensor, style: Tensor) -> Tensor:
    """Binary cross-entropy of whether slots (B, slots) can be seen, where somebody looked."""
    each = functional.binary_cross_entropy_with_logits(logits, (style >= 0).float(), reduction="none")
    return _mean_of(each, style != UNKNOWN)


def rule_loss(logits: dict[str, Tensor], evidence: Tensor, style: Tensor, looked_at: Sequence[bool]) -> Tensor:
    """Cross-entropy with what was measured, `evidence` (B, options of all slots side by side), P(measurement | option) up to a
    factor per slot, as P(option | measurement) under even odds; in the slots of RULED that people `looked_at` on no photo. What
    looks alike to the rules stays alike: maximum likelihood of the measurements would give all to the commonest option."""
    columns = evidence.split([values.shape[1] for values in logits.values()], 1)
    terms = []
    for k, ((name, values), seen) in enumerate(zip(logits.items(), columns, strict=True)):
        each = functional.cross_entropy(values, seen / seen.sum(1, keepdim=True), reduction="none")
        terms.append((name in RULED and not looked_at[k]) * _mean_of(each, style[:, k] == UNKNOWN))
    return torch.stack(terms).sum()


def agreement_loss(logits: dict[str, Tensor], style: Tensor, looked_at: Sequence[bool]) -> Tensor:
    """Self-training on two views of each photo, neighbours: where one is answered with at least SURE, and nobody looked, that
    answer is the label of the other. Only in slots that people `looked_at` on other photos: without them, sure grows surer, of
    one answer for all."""
    terms = []
    for k, values in enumerate(logits.values()):
        other = values.detach().unflatten(0, (-1, 2)).flip(1).flatten(0, 1).softmax(1)
        sure, answer = other.max(1)
        each = functional.cross_entropy(values, answer, reduction="none")
        terms.append(looked_at[k] * (each * ((sure >= SURE) & (style[:, k] == UNKNOWN))).mean())
    return torch.stack(terms).sum()


def _mean_of(values: Tensor, kept: Tensor) -> Tensor:
    """Mean of some values, 0 of none."""
    return (values * kept).sum() / kept.sum().clamp_min(1)


def training(options: Options) -> Loop:
    """The run that the options describe, fresh or resumed."""
    return Loop(options, lambda resumed: EncoderTask(options, resumed))


def train(options: Options) -> Path:
    """Train or resume, then calibrate; returns the path of the last checkpoint."""
    loop = training(options)
    path = loop.run()
    if loop.progress >= 1 and loop.fabric.is_global_zero and isinstance(loop.task, EncoderTask):
        calibrate(path, loop.task.faces, loop.fabric.device)
    loop.fabric.barrier()
    return path


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    print(train(tyro.cli(Options, description=__doc__)))
