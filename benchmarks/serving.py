"""Load on the server over gRPC, side by side with other ways to solve photos on the same cores.

    python -m benchmarks.serving [--quick]
    python -m benchmarks.serving --url HOST:PORT --name NAME [--metrics HOST:PORT] [--senders N]

Without --url it starts all systems itself: the server; the same without dynamic batching; the embedded client, one thread
per core; and the embedded client with its networks in eager torch. Closed loop: so many players, each of whom sends the
next photo when the last is answered, at several concurrencies and with several photos; systems take turns, round after
round, so that what else the machine does hits all alike. Open loop, the server only: photos arrive at random (Poisson) at
shares of the peak that the closed loop found, and latency begins when a photo should have been sent.

Photos are sent to a server by a process of their own, which takes its share of the same cores; its processor time is told
apart, and photos a second and core follow from the server's processor time alone. Rates are medians over rounds,
percentiles those of all rounds' photos together. Memory is the proportional set size of all processes of a system, looked
at halfway through each run. ``python -m benchmarks.serving_tables`` prints the tables of the JSON file."""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
import tyro
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from benchmarks import report
from benchmarks.serving_system import Run, Sender, System, combined, measure
from benchmarks.serving_tables import print_tables
from export.serve import Options as ServerOptions
from export.serve import serving
from export.triton_environment import triton_environment
from sdk.models import find_models

PORTRAIT = "512 x 512, JPEG"
SEED = 7
PACKAGES = ("onnxruntime", "opencv-python-headless", "torch", "tritonclient", "grpcio")


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    quick: bool = False  # a try of half a minute that writes no file
    url: str = ""  # host:port of a server that runs already; certificates come from the environment, see sdk.connection
    metrics: str = ""  # host:port of its metrics, for the time per stage
    senders: int = 1  # processes that send to it: one manages some hundred photos a second
    name: str = "serving"  # of the JSON file

    def __post_init__(self) -> None:
        if self.url and not self.quick and self.name == "serving":
            raise ValueError("--url needs a --name: serving.json is about the server that this benchmark starts")


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 3
    seconds: float = 1.2  # of a closed loop
    concurrencies: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    photos_at: int = 8  # concurrency with photos of several sizes
    open_loads: tuple[float, ...] = (0.25, 0.5, 0.75, 0.9, 1.2)  # of the peak
    open_rounds: int = 2
    open_seconds: float = 8.0


ELSEWHERE = Plan(concurrencies=(1, 8, 32, 64, 128))
QUICK = Plan(rounds=1, seconds=0.4, concurrencies=(1, 8), open_rounds=1, open_seconds=1.5)


def main(options: Options) -> None:
    """Measure, print the tables, write the JSON file."""
    plan = QUICK if options.quick else ELSEWHERE if options.url else Plan()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        photos = write_photos(folder)
        started = _elsewhere(options) if options.url else _here(folder)
        systems = {name: stack.enter_context(system) for name, system in started}
        results = measure_all(systems, photos, plan)
    print_tables(results)
    if not options.quick:
        print(f"\nwrote {report.write(options.name, results, PACKAGES)}")


def measure_all(systems: Mapping[str, System], photos: Mapping[str, Path], plan: Plan) -> dict[str, Any]:
    """All numbers: ``results`` of the JSON file."""

    def closed(photo: str, concurrency: int) -> dict[str, Any]:
        return {"loop": "closed", "photo": str(photos[photo]), "concurrency": concurrency, "seconds": plan.seconds}

    def arriving(rate: float) -> dict[str, Any]:
        return {"loop": "open", "photo": str(photos[PORTRAIT]), "rate": rate, "seconds": plan.open_seconds, "seed": SEED}

    for system in systems.values():
        measure(system, **closed(PORTRAIT, plan.photos_at))  # warms up
    results = {
        "plan": asdict(plan),
        "closed": in_turns(systems, {str(c): closed(PORTRAIT, c) for c in plan.concurrencies}, plan.rounds),
        "photos": in_turns(systems, {name: closed(name, plan.photos_at) for name in photos}, plan.rounds),
    }
    peak = max(numbers["photos_per_second"] for numbers in results["closed"]["server"].values())
    loads = {str(load): arriving(load * peak) for load in plan.open_loads}
    results["open"] = in_turns({"server": systems["server"]}, loads, plan.open_rounds)["server"]
    results["start_up_seconds"] = {name: system.start_up_seconds for name, system in systems.items()}
    results["memory_mb"] = {name: system.memory for name, system in systems.items()}
    return results


def in_turns(systems: Mapping[str, System], loads: Mapping[str, dict[str, Any]], rounds: int) -> dict[str, dict[str, Any]]:
    """Numbers by system and load. All systems take a load before the next load, and all loads before the next round."""
    runs: dict[str, dict[str, list[Run]]] = {system: {load: [] for load in loads} for system in systems}
    for number in range(rounds):
        for load, request in loads.items():
            print(f"round {number + 1} of {rounds}: {request['loop']} loop, {load}", file=sys.stderr)
            again = {"seed": request["seed"] + number} if "seed" in request else {}
            for name, system in systems.items():
                runs[name][load].append(measure(system, **request | again))
    return {system: {load: combined(rounds) for load, rounds in loads.items()} for system, loads in runs.items()}


def write_photos(folder: Path) -> dict[str, Path]:
    """The portrait in several sizes: JPEG files, and as an array, which a client sends as an uncompressed PNG."""
    portrait = skimage.data.astronaut()
    photos = {}
    for width, height in ((512, 512), (1280, 960), (4032, 3024)):
        picture = portrait[: 512 * height // width]
        if width > 512:  # with a sensor's noise: as many bytes as such a photo has
            noise = np.random.default_rng(SEED).normal(0, 4, (height, width, 3))
            enlarged = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
            picture = np.clip(enlarged + noise, 0, 255).astype(np.uint8)
        name = f"{width} x {height}, JPEG"
        photos[name] = folder / f"{width}.jpg"
        cv2.imwrite(str(photos[name]), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95 if width == 512 else 90])
    photos["512 x 512, array"] = folder / "512.npy"
    np.save(photos["512 x 512, array"], portrait)
    return photos


def without_batching(models: Path, folder: Path) -> Path:
    """A copy of a model repository in which no model puts requests together; the model files are links."""
    for path in sorted(models.rglob("*")):
        copy = folder / path.relative_to(models)
        if path.is_dir():
            copy.mkdir(parents=True)
        elif path.suffix == ".pbtxt":
            config = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
            config.ClearField("dynamic_batching")
            copy.write_text(text_format.MessageToString(config), encoding="utf-8")
        else:
            copy.symlink_to(path)
    return folder


def _here(folder: Path) -> Iterator[tuple[str, AbstractContextManager[System]]]:
    """Every system that is compared, by name, to be started."""
    triton_environment()  # installing it is not starting it
    models = find_models().root
    yield "server", _server(models)
    yield "without batching", _server(without_batching(models, folder / "without_batching"))
    yield "embedded", _in_process("embedded")
    yield "torch eager", _in_process("torch")


@contextmanager
def _server(model_repository: Path) -> Iterator[System]:
    start = time.perf_counter()
    grpc, http, metrics = _free_ports(3)
    options = ServerOptions(model_repository=model_repository, grpc_port=grpc, http_port=http, metrics_port=metrics)
    with serving(options) as running:
        seconds = time.perf_counter() - start
        with closing(Sender("server", running.grpc)) as sender:
            yield _idle(System([sender], running.process.pid, running.metrics, seconds))


@contextmanager
def _in_process(kind: str) -> Iterator[System]:
    start = time.perf_counter()
    with closing(Sender(kind)) as sender:
        yield _idle(System([sender], sender.session, start_up_seconds=time.perf_counter() - start))


def _elsewhere(options: Options) -> Iterator[tuple[str, AbstractContextManager[System]]]:
    """The server that runs already."""

    @contextmanager
    def connected() -> Iterator[System]:
        with ExitStack() as stack:
            senders = [stack.enter_context(closing(Sender("server", options.url))) for _ in range(options.senders)]
            yield System(senders, metrics=options.metrics)

    yield "server", connected()


def _idle(system: System) -> System:
    system.look_at_memory("idle")
    return system


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in sockets]


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
