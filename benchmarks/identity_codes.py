"""In how many principal coefficients is identity said, before the face is no longer the person?

    python -m train.fit ... --people 120 --refine 20 --out fits.jsonl
    python -m benchmarks.identity_codes --renders ALIGNED --faces fits.jsonl --out runs/identity_codes
    python -m benchmarks.likeness ... --made fits=fits.jsonl 72=runs/identity_codes/72.jsonl 160=runs/identity_codes/160.jsonl

The regressor says identity as the largest principal coefficients of what sliders move (:class:`train.geometry.IdentitySpace`), a
fit in all sliders there are. This writes a fit's faces as they are when so many coefficients are kept of them, for
:mod:`benchmarks.likeness` to say what was lost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tyro

from game.rig import Rig
from train.data import RenderShards
from train.face_files import read_faces
from train.geometry import IdentitySpace, identity_metric

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options; each is a flag of the command line."""

    renders: Path  # aligned renders, to whose identities the coefficients are fitted
    faces: Path  # faces as JSON lines, of train.fit
    out: Path  # folder for a file of faces for each number of coefficients
    codes: tuple[int, ...] = (72, 120, 160, 200)  # numbers of coefficients


def kept(space: IdentitySpace, identities: Array) -> Array:
    """Identities (N, 244) as the coefficients of a space say them."""
    said = space.mean + (identities - space.mean) @ space.encode @ space.basis
    return np.clip(said, -1, 1).astype(np.float32)


def main(options: Options) -> list[Path]:
    """Write the files; returns their paths."""
    faces, metric = list(read_faces(options.faces)), identity_metric(Rig.load())
    identities, renders = np.stack([face.identity for face in faces]), RenderShards(options.renders).arrays["identity"]
    options.out.mkdir(parents=True, exist_ok=True)
    paths = []
    for codes in options.codes:
        said = kept(IdentitySpace.fit(renders, metric, codes), identities)
        lines = [replace(face, identity=identity).line() for face, identity in zip(faces, said, strict=True)]
        paths.append(options.out / f"{codes}.jsonl")
        paths[-1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths


if __name__ == "__main__":
    print(*main(tyro.cli(Options, description=__doc__)), sep="\n")
