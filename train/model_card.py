"""The table of runs in ``MODEL_CARD.md``, from what each run wrote down about itself.

    python -m train.model_card --runs runs/segmenter runs/recogniser runs/imitator runs/regressor

Adds rows to the table between ``<!-- runs -->`` and ``<!-- /runs -->``; those of runs that are in it already, by their
checkpoints, stay as they are. A run's folder holds ``run.json``, one entry for each start
(:mod:`train.run_record`), and its last checkpoint, which says how far it came."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from train import checkpoint
from train.run_record import FILE

BEGIN, END = "<!-- runs -->", "<!-- /runs -->"
HEADER = ("network", "data", "steps", "hours", "pictures a step", "machine", "versions", "commit", "seed", "checkpoint")


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    runs: list[Path]  # folders of runs
    card: Path = Path("MODEL_CARD.md")


def row(folder: Path) -> dict[str, str]:
    """What one run was. FileNotFoundError where the folder is not one of a run."""
    starts: list[dict[str, Any]] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    path = folder / checkpoint.LAST
    state, last = checkpoint.load(path), starts[-1]
    machine, options = last["machine"], last["options"]
    processors = machine["gpus"] or [f"{machine['processor']}, no GPU"]
    sizes = [value for name, value in options.items() if name.startswith("batch") and isinstance(value, int)]
    pictures = sum(sizes) * machine["processes"] * options["accumulate"]
    began = ", begun with another run's weights" if options.get("start_from") else ""
    return {
        "network": f"{Path(last['command'][0]).stem}, preset `{options['preset']}`{began}",
        "data": ", ".join(
            f"{number:,} {name}" if isinstance(number, int) else f"{name} {number}" for name, number in last["data"].items()
        ),
        "steps": f"{state['step']:,}" + (f" in {len(starts)} starts" if len(starts) > 1 else ""),
        "hours": f"{state['seconds'] / 3600:.1f}",
        "pictures a step": str(pictures),
        "machine": f"{machine['processes']} process{'es' if machine['processes'] > 1 else ''}, {processors[0]}",
        "versions": ", ".join(f"{name} {version}" for name, version in last["versions"].items() if name in ("torch", "python")),
        "commit": ", ".join(dict.fromkeys(str(start["commit"] or "unknown") for start in starts)),
        "seed": str(options["seed"]),
        "checkpoint": f"`{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}`",
    }


def table(folders: list[Path], before: str = "") -> str:
    """Markdown: the rows of the table there was `before`, then those of runs that it does not have."""
    there = [line for line in before.strip().splitlines()[2:] if line.strip()]
    rows = [[row(folder)[name] for name in HEADER] for folder in folders]
    lines = ["| " + " | ".join(cells) + " |" for cells in (HEADER, ["---"] * len(HEADER), *rows)]
    new = [line for line, cells in zip(lines[2:], rows, strict=True) if not any(cells[-1] in other for other in there)]
    return "\n".join([*lines[:2], *there, *new])


def main(options: Options) -> None:
    """Write the table into the card; ValueError where it has no place for it."""
    text = options.card.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{options.card} has no place for the table: {BEGIN} and {END}")
    before, _, rest = text.partition(BEGIN)
    there, _, after = rest.partition(END)
    options.card.write_text(f"{before}{BEGIN}\n{table(options.runs, there)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
