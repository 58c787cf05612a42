"""Write the model files that are served and embedded.

    python -m export.build_engines --checkpoint runs/regressor/last.pt     # regressor and encoder
    python -m export.build_engines --align                                 # align (its weights come with MediaPipe)

Each file is run in ONNX Runtime beside torch before it counts as written.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import tyro

from export.align import export_align
from export.graphs import graphs, largest_difference, write_onnx
from sdk import contract
from sdk.models import MODEL_FILE, SCHEMA_FILE
from train import checkpoint

log = logging.getLogger(__name__)

TOLERANCE = 2e-3
"""Largest difference between ONNX Runtime and torch that passes; pose is in degrees, the rest about 1."""


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    checkpoint: Path | None = None  # of train.regressor or train.encoder; without it those two models stay as they are
    align: bool = False  # write the align model too
    model_repository: Path = Path("model_repository")
    version: int = 1


def build(options: Options) -> list[Path]:
    """Write the files asked for; returns their paths. RuntimeError when a file differs from torch."""

    def path(name: str) -> Path:
        return options.model_repository / name / str(options.version) / MODEL_FILE

    written = []
    if options.align:
        export_align(path("align"))
        written.append(path("align"))
    if options.checkpoint is not None:
        network = checkpoint.rebuild(checkpoint.load(options.checkpoint))
        models = contract.models(network.schema)
        for name, graph in graphs(network).items():
            write_onnx(graph, models[name], path(name))
            difference = largest_difference(graph, models[name], path(name))
            if difference > TOLERANCE:
                raise RuntimeError(f"{path(name)} differs from torch by {difference:.2g}, more than {TOLERANCE}")
            log.info("%s: %.1f MB, within %.1g of torch", path(name), path(name).stat().st_size / 1e6, difference)
            written.append(path(name))
        (options.model_repository / SCHEMA_FILE).write_text(network.schema.to_json(), encoding="utf-8")
    return written


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(tyro.cli(Options, description=__doc__))
