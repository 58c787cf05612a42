"""Train the regressor R: an aligned photo in, the parameters of the game's face out (CN112200236A).

    python -m train.regressor --renders DIR --photos DIR --segmenter S.pt --recogniser F.pt --imitator G.pt \\
        --encoder E.pt --out DIR --minutes 160 --devices 2 --threads 1 --precision bf16-mixed       # two cores with bf16
    torchrun --nproc-per-node 8 -m train.regressor --devices 8 --preset gpu --steps 60000 ...       # GPUs

Three fixed networks surround it ([0182]): F_seg and F_reg (:mod:`train.segmenter`, :mod:`train.recogniser`) see the photo for
it, and the imitator G (:mod:`train.imitator`) shows what the game makes of its parameters, which are then held against the
photo (:mod:`train.self_supervision`), in the styles that the encoder (:mod:`train.encoder`) sees. Beyond the method, renders
bring exact parameters, and photos bring FaceMesh's landmarks through the differentiable rig, and who is who: every batch has
both, from the first step on.

``--start-from`` begins with the weights of another run. Stopping and starting again with the same ``--out`` resumes where the
last checkpoint stands. Every loss has its weight, as ``--weights.who 0.5``; 0 switches it off (:class:`train.losses.Weights`)."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import Tensor, nn
from tqdm import tqdm

from game.character import mirrored_units
from game.rig import Rig
from train import bisenet, checkpoint, encoder_network, imitator_network, recogniser
from train.data import Batches, BatchSize, PhotoShards, RenderShards, rows_of_pictures, spaced, to_float
from train.dlib_resnet import EMBEDDING as TEACHER_EMBEDDING
from train.dlib_resnet import load_teacher
from train.fresh_renders import wanted
from train.geometry import Geometry, LandmarkRig, mirrored_landmarks
from train.kept_arrays import fingerprint, kept
from train.layers import as_served, still_norms
from train.light_cnn import EMBEDDING
from train.loop import Loop, LoopOptions, Task
from train.losses import MirrorMap, Weights, concordance, photo_losses, render_losses, total
from train.networks import POSE_UNIT, FaceNet, Predictions, Sight, build, describe
from train.self_supervision import Critics, Parameters, SelfSupervision, drawing, parameters
from train.stand_in import Rehearsal, beside
from train.views import PICTURES, all_cores, check_views, kept_views, sight_in

log = logging.getLogger(__name__)

Critic = Literal["recogniser", "teacher", "both"]
SHEET = 8
"""Photos on the sample sheet."""
FIRST_FACES, FIRST_LESSONS = 4096, 800
"""Of the stand-in, before R learns."""


@dataclass(frozen=True, kw_only=True)
class Options(LoopOptions):
    """Options of training; each is a flag of the command line."""

    renders: str  # folder or URL of aligned render shards
    photos: str  # folder or URL of aligned photo shards
    segmenter: Path | None = None  # checkpoint of train.segmenter, F_seg (none: the network has its own trunk alone)
    recogniser: Path | None = None  # checkpoint of train.recogniser, F_reg
    imitator: Path | None = None  # checkpoint of train.imitator, G (none: without the losses that rebuild photos)
    encoder: Path | None = None  # checkpoint of train.encoder: styles of the rebuilt photos
    critic: Critic = "recogniser"  # compares photos and rebuilt faces: F_reg, dlib's ResNet, or both
    teacher: Path | None = None  # dlib's .dat file of weights (none: that of the installed face_recognition_models)
    photo_shards: str = "lfw-train-*.tar"  # which shards of --photos to train on
    hold_out: int = 1  # this many last render shards are kept for measuring
    measured: int = 400  # held-out renders that an evaluation measures
    preset: str = "cpu"  # size of the network: tiny, cpu, gpu
    batch_renders: int = 28  # per process
    fresh_renders: int = 0  # so many of batch_renders are drawn anew in every step, by the workers
    backgrounds: tuple[str, ...] = ()  # tars or folders of photos, whose borders those stand before
    batch_photos: int = 20  # per process, even
    rebuilt: int = 6  # so many of the photos are rebuilt, per process
    views: int = 0  # the last layers learn alone, from so many kept views of each photo (0: all but the fixed networks learns)
    stand_in: bool = False  # with --views: through a network that learns along what the critic says of drawn faces
    learning_rate: float = 2e-3  # for a batch of 64
    weights: Weights = field(default_factory=Weights)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.imitator is not None and None in (self.segmenter, self.recogniser, self.encoder):
            raise ValueError(
                "--imitator rebuilds photos, in styles that --encoder says, and --segmenter and --recogniser compare: give all"
            )
        check_views(self)
        if self.stand_in and (not self.views or self.imitator is None):
            raise ValueError("--stand-in stands in for --imitator, when last layers learn from --views: give both")


class RegressorTask(Task):
    """The face network and its losses."""

    network: FaceNet

    def __init__(self, options: Options, resumed: bool) -> None:
        """`resumed`: what is fitted to the data comes from a checkpoint."""
        self.options = options
        renders, self.photos = RenderShards(options.renders), PhotoShards(options.photos, options.photo_shards)
        last = renders.held_out(options.hold_out)
        self.renders, self.held_out = renders.part(~last), renders.part(last)
        log.info("%d renders, %d photos of %d people", *self.fingerprint().values())
        segmenter = options.segmenter and bisenet.rebuild(checkpoint.load(options.segmenter))
        self.network = build(options.preset, segmenter, options.recogniser and recogniser.load(options.recogniser))
        if options.views:
            for part in self.network.eyes:
                part.requires_grad_(False)
        self.geometry = Geometry(self.network)
        self.supervision: SelfSupervision | None = None
        if options.imitator is not None and options.encoder is not None:
            self.supervision = self._supervision(options.imitator, options.encoder)
        if not resumed and options.start_from is None:
            self.geometry.fit(self.network, Rig.load(), self.renders, self.photos)
        self.rig = LandmarkRig(Rig.load())

    def _supervision(self, imitator: Path, encoder: Path) -> SelfSupervision:
        fixed = imitator_network.rebuild(checkpoint.load(imitator)), encoder_network.rebuild(checkpoint.load(encoder))
        if self.options.critic == "recogniser":
            return SelfSupervision(*fixed, EMBEDDING)
        teacher = recogniser.Teacher(load_teacher(self.options.teacher))
        if self.options.critic == "teacher":
            return SelfSupervision(*fixed, TEACHER_EMBEDDING, teacher)
        return SelfSupervision(*fixed, TEACHER_EMBEDDING + EMBEDDING, Critics(teacher, self.network.recogniser))

    def begin_as(self, state: dict[str, Any]) -> list[str]:
        """What was fitted to data is the other run's, too. The fixed networks are those given."""
        fixed = ("segmenter.", "recogniser.")
        own = checkpoint.take_over(self.network, {k: v for k, v in state["average"].items() if not k.startswith(fixed)})
        self.geometry.load_state_dict(state["geometry"])
        return [name for name in own if not name.startswith(fixed)]

    def batches(self, rank: int, world: int) -> Batches:
        size = BatchSize(self.options.batch_renders, self.options.batch_photos)
        mirror = mirrored_landmarks(Rig.load())
        fresh = wanted(RenderShards, self.options)
        batches = Batches(self.renders, self.photos, size, self.options.seed, mirror, rank=rank, world=world, fresh=fresh)
        if self.options.views:
            batches.views = kept_views(batches, self._sight, self.network.eyes, self.options.views, self.options.out)
            self.compared = self._compared()
            if self.options.stand_in and self.supervision is not None:
                self.rehearsal = Rehearsal(self._drawing(self.supervision), self.options.seed + rank)
                self.answers = self._answers(batches)
        return batches

    @torch.no_grad()
    def _sight(self, crops: Tensor, mesh: Tensor) -> Sight:
        """What the network sees, as it is served."""
        crops, mesh = (values.to(self.metric.encoder.device) for values in (crops, mesh))
        with as_served(self.network), self.autocast():
            return self.network.sight(crops, mesh, self.network.look(crops).features())

    def _compared(self) -> Tensor | None:
        """What :meth:`SelfSupervision.recognised` has to know of all photos."""
        supervision, device = self.supervision, self.metric.encoder.device
        if supervision is None:
            return None

        def compared() -> npt.NDArray[np.float32]:
            parts = tqdm(np.array_split(np.arange(len(self.photos)), -(-len(self.photos) // PICTURES)), "photos compared")
            with self.autocast(), all_cores():
                rows = [supervision.compared(*self.photos.inputs(part, device), self.network).cpu() for part in parts]
            return torch.cat(rows).numpy()

        comparing = fingerprint([supervision.encoder, supervision.comparing(self.network)])
        made = kept(self.options.out, "compared", (self.photos.arrays["key"], comparing), compared)
        return torch.from_numpy(made).to(device)

    def _drawing(self, supervision: SelfSupervision) -> Callable[[Parameters, Tensor], Tensor]:
        return drawing(supervision.imitator, supervision.comparing(self.network), self.autocast)

    def _answers(self, batches: Batches) -> Iterator[tuple[Parameters, Tensor]]:
        """Faces of R for the photos of batches that nothing is learnt from, and their styles."""
        device = self.metric.encoder.device
        for number in itertools.count(1_000_000):
            batch = {name: value.to(device) for name, value in batches[number].items()}
            with torch.no_grad():
                _, said = self.network.answer(Sight(**sight_in(batch))).split(self.options.batch_renders)
            yield self._tried(said, batch)

    @torch.no_grad()
    def _tried(self, said: Predictions, batch: dict[str, Tensor]) -> tuple[Parameters, Tensor]:
        """Faces to draw for the stand-in: R's answers, and some beside them."""
        assert self.supervision is not None and self.compared is not None
        said = said._replace(identity_code=beside(said.identity_code, self.rehearsal.generator))
        known = self.compared[batch["photo"]]
        return self.supervision.rehearsed(parameters(self.network, said), known, self.options.rebuilt)[1:]

    def to(self, device: torch.device) -> None:
        for module in (self.geometry, self.rig, self.supervision):
            if module is not None:
                module.to(device)
        self.metric = self.geometry.metric(self.network)
        self.mirror = MirrorMap(torch.from_numpy(mirrored_units()).to(device))

    def losses(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = (self._losses_of_views if self.options.views else self._losses_of_pictures)(module, batch)
        reported = {"stand_in": self.rehearsal.error} if self.options.stand_in else {}
        return {**losses, **reported, "loss": total(losses, self.options.weights)}

    def _losses_of_views(self, module: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        module.mark_forward_method("answer")
        still_norms(self.network)  # few pictures of two kinds say little of all
        first, second = module.answer(Sight(**sight_in(batch))).split(self.options.batch_renders)
        losses = render_losses(self.network, first, batch, self.metric)
        losses |= photo_losses(self.network, second, batch, self.metric, self.rig, self.mirror)
        if self.supervision is not None and self.compared is not None:
            known = self.compared[batch["photo"]], batch["person"]
            rebuilt, drawn_as = self.options.rebuilt, self._drawing(self.supervision)
            if self.options.stand_in:
                self._rehearse(second, batch)
                rebuilt, drawn_as = self.options.batch_photos, self.rehearsal
            losses |= self.supervision.recognised(self.network, second, *known, rebuilt, drawn_as)
        return losses

    def _rehearse(self, said: Predictions, batch: dict[str, Tensor]) -> None:
        """The stand-in learns what became of R's answers."""
        if self.rehearsal.stand_in is None:
            self.rehearsal.begin(self.answers, FIRST_FACES, FIRST_LESSONS)
        self.rehearsal.remember(*self._tried(said, batch))
        self.rehearsal.learn()

    def _losses_of_pictures(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        renders, rebuilt = self.options.batch_renders, self.options.rebuilt
        crops = to_float(batch["crop"])
        with torch.no_grad(), self.autocast():
            seen = self.network.look(crops)
        first, second = module(crops, batch["mesh"], seen).split(renders)
        losses = render_losses(self.network, first, batch, self.metric)
        if self.options.batch_photos:
            losses |= photo_losses(self.network, second, batch, self.metric, self.rig, self.mirror)
            if self.supervision is not None:
                photos = seen.rows(renders, len(crops))
                arguments = (
                    second.split(rebuilt)[0],
                    crops[renders:],
                    batch["mesh"][renders:],
                    photos,
                    batch["person"],
                    self.autocast,
                )
                losses |= self.supervision.losses(module, self.network, *arguments)
        return losses

    def description(self) -> dict[str, Any]:
        return describe(self.network)

    def state(self) -> dict[str, Any]:
        supervision = self.supervision
        middles = {} if supervision is None else {"middles": [supervision.photo_middle, supervision.drawn_middle]}
        return {"geometry": self.geometry.state_dict(), **middles}

    def load_state(self, state: dict[str, Any]) -> None:
        self.geometry.load_state_dict(state["geometry"])
        if self.supervision is not None:
            for mine, other in zip((self.supervision.photo_middle, self.supervision.drawn_middle), state["middles"], strict=True):
                mine.copy_(other)

    def fingerprint(self) -> dict[str, Any]:
        people = int(np.max(self.photos.person_number)) + 1
        return {"renders": len(self.renders), "photos": len(self.photos), "people": people}

    def evaluate(self) -> dict[str, float]:
        """On held-out renders: agreement of action units, error of pose in degrees, and of identity as a share of the base
        face's."""
        arrays, device = self.held_out.arrays, self.metric.encoder.device
        chosen = spaced(len(self.held_out), self.options.measured)
        rows = []
        for part in np.array_split(chosen, -(-len(chosen) // 32)):
            with self.autocast():
                said = self.network(*self.held_out.inputs(part, device))
            rows.append((said.identity_code.float(), said.expression.float(), said.pose.float() * POSE_UNIT))
        code, expression, pose = (torch.cat(values) for values in zip(*rows, strict=True))
        truth = {name: torch.from_numpy(arrays[name][chosen]).to(device) for name in ("identity", "expression", "pose")}
        base, true = (
            self.metric.encode(v, self.network.spaces) for v in (torch.zeros_like(truth["identity"]), truth["identity"])
        )
        error, error_of_base = ((c - true).square() @ self.geometry.identity_variance for c in (code, base))
        measures = {
            "action units": float(concordance(expression, truth["expression"]).mean()),
            "pose": float((pose - truth["pose"]).abs().mean()),
            "identity": float((error.mean() / error_of_base.mean()).sqrt()),
        }
        return {"score": measures["action units"] - measures["identity"], **measures}

    def sheet(self) -> npt.NDArray[np.uint8] | None:
        """Photos, and below each its second and fourth picture, at half size."""
        if self.supervision is None:
            return None
        crops, mesh = self.photos.inputs(spaced(len(self.photos), SHEET), self.metric.encoder.device)
        said = self.network(crops, mesh)
        pictures = self.supervision.rebuild(parameters(self.network, said), self.supervision.styles(crops, mesh))
        return rows_of_pictures(crops, pictures.second, pictures.fourth)


def training(options: Options) -> Loop:
    """The run that the options describe, fresh or resumed."""
    return Loop(options, lambda resumed: RegressorTask(options, resumed))


def train(options: Options) -> Path:
    """Train or resume; returns the path of the last checkpoint."""
    return training(options).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    print(train(tyro.cli(Options, description=__doc__)))
