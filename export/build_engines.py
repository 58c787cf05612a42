"""Networks to engines: export, check, build, and write the model repository that is served and embedded.

    python -m export.build_engines                                           # engines from the ONNX files that are here
    python -m export.build_engines --regressor runs/regressor/last.pt --encoder runs/encoder/last.pt   # new weights
    python -m export.build_engines --align                                   # align anew (its weights come with MediaPipe)

Each graph is kept as ``model.onnx`` (FP32, for CPUs) and ``model.fp16.onnx`` (mixed precision, for TensorRT), see
:mod:`export.onnx_files`. On every machine both files are checked against the contract, and FP16 is checked to be safe
(:mod:`export.half_safety`). Then comes the back end, one child process for each graph:

- ``tensorrt``: plans for this machine's GPU, with a sidecar that says what they were built with and how near they are to FP32;
- ``rtx-check``: TensorRT-RTX compiles for GPUs that are not here; nothing is kept or executed (`pip install 'faceparam[rtx]'`);
- ``onnxruntime``: the CPU files alone;
- ``auto``: the first of these that is possible here.

The report lies in ``model_repository/engines.json``. Configurations and warm-up inputs for Triton are written too.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import tyro
from numpy.typing import NDArray

from export import engine_process, half_safety, parity, plan, rtx_check, samples, tensorrt_build, triton_config
from export.engine_process import EngineBuildError, Job
from export.half_safety import Inputs
from export.onnx_files import FileError, check_contract, check_precision, compact_weights, export_graph, save, without_conditions
from export.plan import FP16_FILE
from sdk import contract
from sdk.models import MODEL_FILE, SCHEMA_FILE
from sdk.schema import Schema

log = logging.getLogger(__name__)

REPORT = "engines.json"
TORCH_PICTURES = 8
"""Torch in half on a CPU takes a fifth of a second a picture."""
Batches = tuple[int, int, int]
Backend = Literal["tensorrt", "rtx-check", "onnxruntime"]


@dataclass(frozen=True)
class Profiles:
    """Smallest, usual and largest batch of each engine."""

    align: Batches = (1, 8, contract.MAX_BATCH)
    regressor: Batches = (1, 8, contract.MAX_BATCH)
    encoder: Batches = (1, 8, contract.MAX_BATCH)

    def __post_init__(self) -> None:
        for name, (low, usual, high) in vars(self).items():
            if not 1 == low <= usual <= high or high < contract.MAX_BATCH:
                wish = f"1, then the usual batch, then at least {contract.MAX_BATCH}, which Triton is told"
                raise ValueError(f"--profiles.{name} {low} {usual} {high}: should be {wish}")


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    regressor: Path | None = None  # checkpoint of train.regressor; without it the model's files stay as they are
    encoder: Path | None = None  # checkpoint of train.encoder; the same
    align: bool = False  # export align anew too
    model_repository: Path = Path("model_repository")
    version: int = 1
    backend: Literal["auto", "tensorrt", "rtx-check", "onnxruntime"] = "auto"
    profiles: Profiles = field(default_factory=Profiles)
    photos: tuple[Path, ...] = ()  # WebDataset shards of photos to check FP16 with, beside the portrait and the renders

    def folder(self, name: str) -> Path:
        """Where the files of a model lie."""
        return self.model_repository / name / str(self.version)


def build(options: Options) -> dict[str, Any]:
    """Do it all; the report.

    Raises:
        FileError: an ONNX file is missing or not what it should be.
        HalfRangeError: FP16 is not safe for a graph.
        EngineBuildError: an engine could not be built, or is not right.
    """
    backend = choose(options.backend)
    exported = export(options)
    schema_file = options.model_repository / SCHEMA_FILE
    if not schema_file.is_file():
        raise FileError("regressor", f"there is no {schema_file}, which comes with its files")
    schema = Schema.load(schema_file)
    triton_config.write(options.model_repository, schema)
    samples.write_warm_up(options.model_repository, options.folder("align") / MODEL_FILE)
    pictures = np.concatenate(list(samples.canvases(options.photos).values()))
    inputs = samples.inputs(options.folder("align") / MODEL_FILE, pictures, schema)
    report: dict[str, Any] = {"backend": backend, "pictures": len(pictures), "graphs": {}}
    for name, model in contract.models(schema).items():
        entry = {"files": _sizes(options.folder(name)), **check_half(model, options.folder(name), inputs[name])}
        if name in exported:
            few = {tensor: values[:: max(1, len(pictures) // TORCH_PICTURES)] for tensor, values in inputs[name].items()}
            entry |= check_torch(model, *exported[name], options.folder(name) / MODEL_FILE, few)
        report["graphs"][name] = entry | engine(backend, model, options, inputs[name], entry["activation_maxima"][0])
    report["not_checked"] = not_checked(backend)
    (options.model_repository / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for sentence in report["not_checked"]:
        log.info("Not checked: %s", sentence)
    return report


def choose(wish: Backend | Literal["auto"]) -> Backend:
    """The back end: what was asked for, or the best that is there."""
    if wish == "auto":
        best: Backend = "tensorrt" if tensorrt_build.available() else "rtx-check" if rtx_check.available() else "onnxruntime"
        log.info("Back end: %s", best)
        return best
    return wish


def not_checked(backend: Backend) -> list[str]:
    """What this back end leaves open."""
    open_questions = {
        "tensorrt": [],
        "rtx-check": [
            "answers and speed on a GPU: TensorRT-RTX compiled the graphs, and nothing was executed",
            "TensorRT itself, whose builder is not TensorRT-RTX's; build the plans on the GPU machine (--backend tensorrt)",
        ],
        "onnxruntime": [
            "whether TensorRT takes the graphs: it is not here, nor is TensorRT-RTX (`pip install 'faceparam[rtx]'`)",
            "answers and speed on a GPU",
        ],
    }
    return open_questions[backend]


def export(options: Options) -> dict[str, tuple[Any, Any]]:
    """Write the ONNX files asked for, and `align`'s if they are missing; the graphs in FP32 and mixed precision by name."""
    align = options.align or not all((options.folder("align") / file).is_file() for file in (MODEL_FILE, FP16_FILE))
    checkpoints = {name: path for name in ("regressor", "encoder") if (path := getattr(options, name)) is not None}
    if not align and not checkpoints:
        return {}
    from export import graphs  # needs torch, and the files are built and checked without
    from train import checkpoint, encoder_network

    found: dict[str, tuple[Any, Any]] = {"align": (graphs.aligner(), graphs.mixed_aligner())} if align else {}
    models: dict[str, contract.Model] = {"align": contract.ALIGN}
    for name, path in checkpoints.items():
        state = checkpoint.load(path)
        if name == "regressor":
            regressor = checkpoint.rebuild(state)
            found[name] = (graphs.regressor(regressor), graphs.mixed_regressor(regressor))
        else:
            encoder = encoder_network.rebuild(state)
            found[name] = (graphs.encoder(encoder), graphs.mixed_encoder(encoder))
        schema = Schema.from_json(state["description"]["schema"])
        models |= contract.models(schema)
        options.model_repository.mkdir(parents=True, exist_ok=True)
        (options.model_repository / SCHEMA_FILE).write_text(schema.to_json(), encoding="utf-8")
    for name, (full, half) in found.items():
        log.info("%s: exporting ...", name)
        kernels = name == "encoder"  # probabilities bear it; coordinates and sliders would move further
        save(compact_weights(export_graph(full, models[name]), kernels), options.folder(name) / MODEL_FILE)
        save(without_conditions(export_graph(half, models[name])), options.folder(name) / FP16_FILE)
    return found


def check_half(model: contract.Model, folder: Path, inputs: Inputs) -> dict[str, Any]:
    """Check the two files of a graph, and that FP16 is safe for it; what was measured.

    Raises:
        FileError, HalfRangeError: as :func:`build`.
        EngineBuildError: the two files give different answers.
    """
    for file in (MODEL_FILE, FP16_FILE):
        if not (folder / file).is_file():
            raise FileError(model.name, f"there is no {folder / file}")
        check_contract(onnx.load(folder / file), model)
    mixed = onnx.load(folder / FP16_FILE)
    check_precision(mixed)
    maxima = half_safety.activation_maxima(mixed, inputs)
    half_safety.check_range(model.name, maxima)
    for loud in maxima[:3]:
        log.info("%s: FP16 reaches %.4g at %s, %.0f times below its end", model.name, loud.largest, loud.node, loud.margin)
    expected, found = (half_safety.run_onnx(str(folder / file), inputs) for file in (MODEL_FILE, FP16_FILE))
    return {
        "activation_maxima": [{**loud._asdict(), "margin": round(loud.margin, 1)} for loud in maxima[:8]],
        "onnx_half": _compare(model, "FP32 and FP16 in ONNX Runtime", expected, found),
    }


def check_torch(model: contract.Model, full: Any, half: Any, file: Path, inputs: Inputs) -> dict[str, Any]:
    """The FP32 file, and torch in half, against torch in FP32; EngineBuildError where they differ too much."""
    expected = half_safety.run_torch(full, inputs)
    return {
        "onnx": _compare(model, "FP32 in torch and in ONNX Runtime", expected, half_safety.run_onnx(str(file), inputs)),
        "torch_half": _compare(model, "FP32 and FP16 in torch", expected, half_safety.run_torch(half, inputs)),
    }


def engine(
    backend: Backend, model: contract.Model, options: Options, inputs: Inputs, half_range: dict[str, Any]
) -> dict[str, Any]:
    """Build or compile one graph in child processes; what they report. Raises EngineBuildError."""
    folder = options.folder(model.name)
    job = Job(model.name, str(folder / FP16_FILE), getattr(options.profiles, model.name), half_range=half_range)
    if backend == "rtx-check":
        compiled = {target: engine_process.run("export.rtx_check", replace(job, target=target)) for target in rtx_check.TARGETS}
        log.info("%s: compiled for %s, not executed", model.name, ", ".join(compiled))
        return {"rtx_check": compiled}
    if backend == "onnxruntime":
        return {}
    expected = half_safety.run_onnx(str(folder / MODEL_FILE), inputs)
    with tempfile.TemporaryDirectory() as temporary:
        reference = Path(temporary) / "reference.npz"
        arrays: dict[str, Any] = {**inputs, **dict(zip(model.output_names, expected, strict=True))}
        np.savez(reference, **arrays)
        job = replace(
            job,
            plan=str(folder / plan.PLAN_FILE),
            timing_cache=str(folder / plan.TIMING_CACHE_FILE),
            reference=str(reference),
        )
        built = engine_process.run("export.tensorrt_build", job)
    log.info("%s: %s, %s", model.name, folder / plan.PLAN_FILE, built["parity"])
    return {"tensorrt": built}


def _compare(model: contract.Model, what: str, expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> dict[str, Any]:
    measured = parity.differences(model.output_names, expected, found)
    log.info("%s: %s differ by %s", model.name, what, parity.summary(measured))
    for difference in measured:
        if not difference.passes:
            raise EngineBuildError(
                model.name,
                f"{what} differ in output {difference.output!r} by {difference.largest:.3g} {difference.unit}, more than "
                f"{difference.tolerance:g}",
                "export both files from one checkpoint; keep more of the network in FP32 in export/graphs.py",
            )
    return parity.as_json(measured)


def _sizes(folder: Path) -> dict[str, int]:
    return {file: (folder / file).stat().st_size for file in (MODEL_FILE, FP16_FILE) if (folder / file).is_file()}


def main(options: Options) -> int:
    """Build; returns the exit status."""
    try:
        build(options)
    except (FileError, half_safety.HalfRangeError, EngineBuildError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for talkative in ("onnxscript", "onnx_ir", "torch.onnx._internal.exporter._registration"):
        logging.getLogger(talkative).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="copyreg")  # torch's exporter's, of itself
    raise SystemExit(main(tyro.cli(Options, description=__doc__)))
