"""What the encoder learns from: renders, whose styles and shapes are known, and photos with what people or fits told of them.

Some of the people on photos are held out, by name, whatever the collection: three tenths ([0069]) unless told otherwise."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.schema import REFERENCE, Schema
from train.data import Arrays, Batches, PhotoShards, RenderShards
from train.face_files import UNKNOWN, read_faces
from train.style_labels import read_styles

LABELS = tuple(sorted(Path(__file__).with_name("labels").glob("*.csv")))
"""Tables in this repository, of the training photos of LFW."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where faces and what is known of them are; each is a flag of command lines."""

    renders: str  # folder or URL of aligned render shards
    photos: str  # folder or URL of aligned photo shards
    styles: tuple[Path, ...] = LABELS  # tables of styles that people saw on the photos
    faces: tuple[Path, ...] = ()  # JSON lines of faces made for the photos, by players or train.fit
    photo_shards: str = "lfw-train-*.tar"  # which shards of --photos to train on
    hold_out: int = 1  # this many last render shards are kept for measuring
    learnt: float = 0.7  # this share of the people is learnt from; the others say when to stop and how sure to be


@dataclass(frozen=True, eq=False)
class Labels:
    """What is known of photos. style: (N, slots) option numbers, HIDDEN or UNKNOWN; identity: (N, 244), and made: (N,) of which
    it is known."""

    style: npt.NDArray[np.int64]
    identity: npt.NDArray[np.float32]
    made: npt.NDArray[np.bool_]

    @classmethod
    def read(cls, photos: PhotoShards, styles: tuple[Path, ...], faces: tuple[Path, ...], schema: Schema, **only: str) -> Labels:
        """Of these photos, from tables of styles (`only`: their lines whose other columns say this) and files of faces; where
        several say something, the last. SchemaError names file and line that do not fit."""
        number = {str(key).rsplit("/", 1)[-1].lower(): k for k, key in enumerate(photos.arrays["key"])}
        style = np.full((len(photos), len(schema.style)), UNKNOWN, np.int64)
        identity, made = np.zeros((len(photos), len(schema.identity)), np.float32), np.zeros(len(photos), bool)
        for path in styles:
            for photo, options in read_styles(path, schema, **only).items():
                if (k := number.get(photo.lower())) is not None:
                    style[k] = np.where(options == UNKNOWN, style[k], options)
        for path in faces:
            for face in read_faces(path, schema):
                if (k := number.get(Path(face.photo).name.removesuffix(".jpg").lower())) is not None:
                    style[k] = np.where(face.style == UNKNOWN, style[k], face.style)
                    identity[k], made[k] = face.identity, True
        return cls(style, identity, made)

    def part(self, kept: npt.NDArray[np.bool_]) -> Labels:
        """Of some of the photos."""
        return Labels(self.style[kept], self.identity[kept], self.made[kept])


def learns(person: str, share: float) -> bool:
    """Whether a person's photos are learnt from, as a share of all are; who is of a smaller one is of a larger one, too."""
    return int(hashlib.sha256(person.encode()).hexdigest()[:8], 16) < share * 2**32


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces to learn from, and held-out ones: renders, and photos of other people that have styles."""

    renders: RenderShards
    held_out: RenderShards
    photos: PhotoShards
    labels: Labels
    held_out_photos: PhotoShards
    held_out_labels: Labels

    @classmethod
    def read(cls, sources: Sources, schema: Schema = REFERENCE) -> Faces:
        """Of these sources."""
        renders, photos = RenderShards(sources.renders), PhotoShards(sources.photos, sources.photo_shards)
        labels = Labels.read(photos, sources.styles, sources.faces, schema)
        last = renders.held_out(sources.hold_out)
        learnt = np.array([learns(str(person), sources.learnt) for person in photos.arrays["person"]])
        told = ~learnt & (labels.style != UNKNOWN).any(1)
        photos_of = [(photos.part(some), labels.part(some)) for some in (learnt, told)]
        return cls(renders.part(~last), renders.part(last), *photos_of[0], *photos_of[1])

    def fingerprint(self) -> dict[str, Any]:
        """How many there are of each kind."""
        return {
            "renders": len(self.renders),
            "photos": len(self.photos),
            "photos with styles told by eye": int((self.labels.style != UNKNOWN).any(1).sum()),
            "photos with made faces": int(self.labels.made.sum()),
            "held-out photos with styles": len(self.held_out_photos),
        }


class EncoderBatches(Batches):
    """As :class:`train.data.Batches`; photos come with ``photo_style`` (P, slots), ``taught`` (P, options of all slots side
    by side), ``photo_identity`` (P, 244) and ``made`` (P,), and neighbours 2k and 2k + 1 are two views of one photo, every other
    of them one that has labels."""

    UNCHANGED = 0.5

    def __init__(self, labels: Labels, taught: npt.NDArray[np.float32], *arguments: Any, **more: Any) -> None:
        """`labels` of the photos, what they were `taught`, and what :class:`train.data.Batches` takes."""
        super().__init__(*arguments, **more)
        self.labels, self.taught, self._labelled = labels, taught, np.flatnonzero((labels.style != UNKNOWN).any(1))

    def _pair(self, first: int, rng: np.random.Generator) -> list[Arrays]:
        if len(self._labelled) and rng.random() < 0.5:
            first = int(rng.choice(self._labelled))
        mirror = bool(rng.random() < 0.5)
        return [self.photo(first, rng, mirror), self.photo(first, rng, bool(rng.random() < 0.5))]

    def photo(self, index: int, rng: np.random.Generator, mirror: bool) -> Arrays:
        row = super().photo(index, rng, mirror)
        identity = self.labels.identity[index] * (self.identity_signs if row["mirrored"] else 1)
        known = {"photo_style": self.labels.style[index], "taught": self.taught[index], "made": np.bool_(self.labels.made[index])}
        return {**row, **known, "photo_identity": identity.astype(np.float32)}
