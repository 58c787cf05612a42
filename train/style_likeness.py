"""Styles of photos by likeness: in which of them the game's face of a person is taken for that person.

Who tells styles by eye names what is there. The game has eleven kinds of hair, and often none of them is that of the photo; which
of two that are equally wrong is more like the person, a recogniser says: each photo's face, as R answers it, is drawn in other
styles, and the critic is asked whose it is, the photo's or one of many other people's. All options of all photos are too many to
draw. So some faces are drawn, each with a few slots changed, and a stand-in (:mod:`train.stand_in`) learns from them to tell the
rest; its error, as a share of the variance of what the critic says, stands beside its progress."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from sdk.schema import REFERENCE, Schema
from train.both_sides import BothSides
from train.data import PhotoShards
from train.imitator_network import Decoder, Imitator, one_hot
from train.kept_arrays import FloatArray, fingerprint, kept
from train.networks import FaceNet
from train.self_supervision import TEMPERATURE, Parameters, drawing, within_range
from train.stand_in import Rehearsal
from train.views import all_cores

DRAWN = 16384
"""Faces that are drawn."""
LESSONS = 1500
AT_ONCE = 16
"""Faces drawn at a time, half of them at rest."""
CHANGED = 3
"""Slots of a drawn face that are changed, at most."""
OTHERS = 1000
"""People that a face is told from, at most."""
SWEEPS = 2
"""Each option is judged among the best of the other slots; these are looked for so often."""


class StyleLikeness:
    """Photos, R's answers, and a stand-in that knows who the critic takes them for in other styles."""

    def __init__(
        self,
        photos: PhotoShards,
        guess: Tensor,
        regressor: FaceNet,
        imitator: Imitator | Decoder,
        critic: nn.Module,
        schema: Schema = REFERENCE,
        seed: int = 0,
    ) -> None:
        """`guess`: (N, slots) option numbers near which faces are drawn; `critic`: crops -> (B, D)."""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.imitator, self.critic = imitator.to(self.device).eval(), critic.to(self.device).eval()
        self.guess, self.schema, self.generator = guess.to(self.device), schema, torch.Generator().manual_seed(seed)
        self.sizes = [len(slot.options) for slot in schema.style]
        self.person = torch.from_numpy(photos.person_number).to(self.device)
        self._look(photos, BothSides(regressor).to(self.device).eval())
        said_of = drawing(self.imitator, self.critic, partial(torch.autocast, self.device.type, torch.bfloat16))
        self.rehearsal = Rehearsal(said_of, seed)
        self.rehearsal.begin(self._changed(), DRAWN, LESSONS)
        self.middles = [self._told(moves, one_hot(self.guess, schema)).mean(0) for moves in (True, False)]

    @torch.no_grad()
    def _look(self, photos: PhotoShards, regressor: BothSides) -> None:
        """What R answers of photos, and what the critic says of them."""
        answers, said = [], []
        for part in tqdm(np.array_split(np.arange(len(photos)), -(-len(photos) // AT_ONCE)), "faces of photos", unit="batch"):
            crops, mesh = photos.inputs(part, self.device)
            answer = regressor(crops, mesh)
            answers.append(within_range(answer.identity, answer.expression, answer.pose))
            said.append(self.critic(crops))
        self.faces = Parameters(*(torch.cat(values) for values in zip(*answers, strict=True)))
        seen = torch.cat(said)
        self.photos = functional.normalize(seen - seen.mean(0), dim=1)

    def _faces_of(self, rows: Tensor | slice, moves: Tensor | bool) -> Parameters:
        """Faces of photos, at rest but for those that `moves`, one for all or (B, 1)."""
        identity, expression, pose = (values[rows] for values in self.faces)
        return Parameters(identity, moves * expression, moves * pose)

    def _changed(self) -> Iterator[tuple[Parameters, Tensor]]:
        """Faces of some photos, half of them at rest, in styles of which some slots are changed to anything."""
        while True:
            rows = torch.randint(len(self.guess), (AT_ONCE,), generator=self.generator)
            style = self.guess[rows].clone()
            for row in style:
                count = int(torch.randint(1, CHANGED + 1, (), generator=self.generator))
                for slot in torch.randperm(len(self.sizes), generator=self.generator)[:count].tolist():
                    row[slot] = torch.randint(self.sizes[slot], (), generator=self.generator)
            moves = (torch.arange(AT_ONCE, device=self.device) % 2 == 0)[:, None]
            yield self._faces_of(rows, moves), one_hot(style, self.schema)

    @torch.no_grad()
    def _told(self, moves: bool, style: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """What the stand-in says of faces of photos, as photographed or at rest, in styles (B, O)."""
        return self.rehearsal(self._faces_of(rows, moves), style)

    def _taken_for(self, style: Tensor, rows: Tensor, others: Tensor) -> Tensor:
        """(B,) logarithms of the probability that faces of photos `rows` are taken for the photo's person and not for one of the
        people of the photos `others`; the mean of faces as photographed and at rest."""
        logs = []
        for moves, middle in zip((True, False), self.middles, strict=True):
            drawn = functional.normalize(self._told(moves, style, rows) - middle, dim=1)
            own = (drawn * self.photos[rows]).sum(1, keepdim=True)
            alike = (drawn @ self.photos[others].T).masked_fill(self.person[rows][:, None] == self.person[others], -torch.inf)
            logs.append((torch.cat([own, alike], 1) / TEMPERATURE).log_softmax(1)[:, 0])
        return torch.stack(logs).mean(0)

    @torch.no_grad()
    def table(self, style: Tensor) -> Tensor:
        """(N, O): of every option, in place of that of its slot in `style` (N, slots), the logarithm of the probability that the
        photo's face is taken for its person."""
        others = torch.randperm(len(self.person), generator=self.generator)[:OTHERS].to(self.device)
        tables = []
        for rows in torch.arange(len(style), device=self.device).split(OTHERS):
            columns = []
            for slot, size in enumerate(self.sizes):
                for option in range(size):
                    other = style[rows].clone()
                    other[:, slot] = option
                    columns.append(self._taken_for(one_hot(other, self.schema), rows, others))
            tables.append(torch.stack(columns, 1))
        return torch.cat(tables)


def liked_styles(
    taught: FloatArray,
    told: npt.NDArray[np.int64],
    evidence: FloatArray,
    photos: PhotoShards,
    networks: tuple[FaceNet, Imitator | Decoder, nn.Module],
    weight: float,
    folder: Path,
    schema: Schema = REFERENCE,
) -> FloatArray:
    """(N, O): what photos are `taught` of their styles (N, O), probabilities, times the probability that the face is taken for
    its person to the power of `weight`; where a slot is taught nothing, nothing. `told` (N, slots): what somebody saw;
    `evidence` (N, O): what rules measured; both and what is taught say in which styles faces are drawn. `networks`: R, the
    imitator and the critic. Kept in `folder`."""
    sizes = [len(slot.options) for slot in schema.style]

    def of_slots(values: Tensor) -> tuple[Tensor, ...]:
        return values.split(sizes, 1)

    def best(values: Tensor, guess: Tensor) -> Tensor:
        """(N, slots) the likeliest options; where nothing is said of a slot, those of `guess`; where somebody saw, that."""
        likeliest = [torch.where(part.sum(1) > 0, part.argmax(1), guess[:, k]) for k, part in enumerate(of_slots(values))]
        return torch.where(seen >= 0, seen, torch.stack(likeliest, 1))

    def weighed(part: Tensor, likeness: Tensor) -> Tensor:
        return torch.where(part.sum(1, keepdim=True) > 0, (part.log() + weight * likeness).softmax(1), 0.0)

    def made() -> FloatArray:
        measured = torch.stack([part.argmax(1) for part in of_slots(torch.from_numpy(evidence))], 1)
        before = torch.from_numpy(taught)
        style = best(before, measured)
        liked = before
        with all_cores():
            likeness = StyleLikeness(photos, style, *networks, schema)
            for _ in range(SWEEPS):
                table = likeness.table(style.to(likeness.device)).cpu()
                parts = zip(of_slots(before), of_slots(table), strict=True)
                liked = torch.cat([weighed(part, of) for part, of in parts], 1)
                style = best(liked, style)
        return liked.numpy()

    seen = torch.from_numpy(told)
    made_of = (taught, told, evidence, photos.arrays["key"], np.float64([weight]), fingerprint(networks))
    return kept(folder, "liked", made_of, made)
