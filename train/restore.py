"""Checkpoints from the files that are served, so that training can go on where the shipped weights ended.

    python -m train.restore --pictures data/aligned/photos data/aligned/renders --out runs/shipped
    python -m train.regressor --start-from runs/shipped/regressor/last.pt --segmenter runs/shipped/segmenter/last.pt \\
        --recogniser runs/shipped/recogniser/last.pt --imitator runs/shipped/imitator/last.pt \\
        --encoder runs/shipped/encoder/last.pt ...

writes the regressor and, of it, the two fixed networks F_seg and F_reg; the encoder; and the imitator, which is not served and
lies with the code (``--keep`` puts one there). What was put into the files is taken out again: batch norms, which had been
folded into the layers before them, get the statistics of these pictures, so that a network says the same as before and learns
as before; the metric of identities follows from their space and the rig. What served files do not hold begins anew: heads that
serve training only. Weights are as fine as the files store them (FP16, large matrices INT8)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import torch
import tyro
from onnx import numpy_helper
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from game.rig import Rig
from sdk.models import MODEL_FILE, SCHEMA_FILE
from sdk.schema import Schema
from train import bisenet, checkpoint, encoder_network, imitator_network, light_cnn
from train.data import PhotoShards, RenderShards, Shards, spaced
from train.geometry import Geometry, identity_metric
from train.networks import PRESETS, FaceNet, describe
from train.presets import named

Network = TypeVar("Network", bound=nn.Module)
PREFIX = "network."
FRESH = ("segmenter.auxiliary_heads.", "temperature")
"""What served files do not hold."""
IMITATOR = Path(__file__).with_name("assets") / "imitator.safetensors"
"""The imitator in FP16, with its description beside the weights."""
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    pictures: tuple[Path, ...] = ()  # folders of aligned shards, photos and renders, that batch norms are measured on
    out: Path = Path("runs/shipped")  # folder for a folder of each network, with a last.pt in it
    keep: Path | None = None  # checkpoint of train.imitator to keep with the code; nothing else is done then
    model_repository: Path = Path("model_repository")
    version: int = 1
    preset: str = "cpu"  # that the files were made with, of all networks
    measured: int = 512  # pictures of each folder


def weights(path: Path) -> dict[str, Tensor]:
    """The weights of an ONNX file of :mod:`export.onnx_files` by their names in torch, widened to FP32."""
    stored = {weight.name: numpy_helper.to_array(weight) for weight in onnx.load(path).graph.initializer}
    values = {}
    for name, value in stored.items():
        base, _, kind = name.partition("/")
        if kind == "bytes":
            value = (value.astype(np.float32) * stored[f"{base}/scale"]).reshape(stored[f"{base}/shape"])
        elif kind not in ("", "half"):
            continue
        if base.startswith(PREFIX):
            values[base.removeprefix(PREFIX)] = torch.from_numpy(value.astype(np.float32))
        elif f"{PREFIX}spaces.identity_mean" in stored and value.shape == stored[f"{PREFIX}spaces.identity_mean"].shape:
            # Of what the exporter computed beforehand the only one as long as the sliders: the residual's square.
            values["spaces.identity_residual"] = torch.from_numpy(np.sqrt(value))
    return values


def fill(network: Network, values: dict[str, Tensor]) -> Network:
    """Give a network the weights of the graph that it was exported as; it is in evaluation mode then. KeyError names a weight
    that is missing, ValueError one that does not fit."""
    wanted = network.state_dict()
    for layer, norm in folded(network):
        bias = values[f"{layer}.weight_bias"]
        eps = network.get_submodule(norm).eps
        values |= {f"{norm}.bias": bias, f"{norm}.weight": torch.full_like(bias, (1 + eps) ** 0.5)}  # type: ignore[operator]
        values |= {f"{norm}.{name}": wanted[f"{norm}.{name}"] for name in STATISTICS}
    state = {name: value if name.startswith(FRESH) else values[name] for name, value in wanted.items()}
    for name, value in state.items():
        if value.shape != wanted[name].shape:
            raise ValueError(f"{name}: {tuple(value.shape)} in the file, {tuple(wanted[name].shape)} in this preset")
    network.load_state_dict(state)
    return network.eval()


def folded(network: nn.Module) -> Iterator[tuple[str, str]]:
    """The names of every layer and of the batch norm behind it, of those that are served."""
    for name, block in network.named_modules():
        if isinstance(block, nn.Sequential):
            for i, norm in enumerate(block):
                if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                    yield f"{name}.{i - 1}", f"{name}.{i}"


@torch.no_grad()
def measure_norms(networks: Sequence[nn.Module], shards: Sequence[Shards], count: int, batch: int = 32) -> None:
    """Give every batch norm the mean and variance of what it sees on some pictures, and such scales and offsets that it says
    the same as before."""
    norms = [network.get_submodule(name) for network in networks for _, name in folded(network)]
    sums: dict[nn.Module, list[Tensor]] = {norm: [] for norm in norms}

    def measure(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        values = inputs[0].transpose(0, 1).flatten(1).double()
        sums[norm].append(torch.stack([values.mean(1), values.square().mean(1)]))

    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    for some in shards:
        chosen = spaced(len(some), count)
        for part in tqdm(np.array_split(chosen, -(-len(chosen) // batch)), desc="batch norms"):
            crops, mesh = some.inputs(part)
            for network in networks:
                told = isinstance(network, FaceNet | encoder_network.Encoder)
                network(*((crops, mesh) if told else (crops,)))
    for hook in hooks:
        hook.remove()
    for norm, seen in sums.items():
        mean, square = torch.stack(seen).mean(0)
        variance = (square - mean.square()).clamp_min(0)
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()  # type: ignore[operator]
        offset = norm.bias - gain * norm.running_mean
        norm.running_mean.copy_(mean)  # type: ignore[operator, union-attr]
        norm.running_var.copy_(variance)  # type: ignore[operator, union-attr]
        norm.weight.copy_(gain * (norm.running_var + norm.eps).sqrt())  # type: ignore[operator, union-attr]
        norm.bias.copy_(offset + gain * norm.running_mean)  # type: ignore[operator, union-attr]


@torch.no_grad()
def geometry_of(network: FaceNet, rig: Rig) -> Geometry:
    """The metric of identity codes from the network's space. With metric G and the space's basis b_k, variance is b_k G b_k, and
    encoders are G b_k over that (:class:`train.geometry.IdentitySpace`)."""
    metric = torch.from_numpy(identity_metric(rig))
    basis = network.spaces.identity_basis.double()
    variance = ((basis @ metric) * basis).sum(1)
    geometry = Geometry(network)
    geometry.encoder.copy_(metric @ basis.T / variance)
    geometry.identity_variance.copy_(variance)
    return geometry


def keep(path: Path, place: Path = IMITATOR) -> Path:
    """Put the imitator of a checkpoint, in FP16, with the code; returns its path."""
    network = imitator_network.rebuild(checkpoint.load(path))
    values = {n: v.half().contiguous() if v.is_floating_point() else v.contiguous() for n, v in network.state_dict().items()}
    save_file(values, place, {"description": json.dumps(imitator_network.describe(network))})
    return place


def kept_imitator(place: Path = IMITATOR) -> dict[str, Any]:
    """What a checkpoint of the imitator that lies with the code holds."""
    with safe_open(place, "pt") as file:
        values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = json.loads(file.metadata()["description"])
    return {"average": {n: v.float() if v.dtype == torch.half else v for n, v in values.items()}, "description": description}


def restore(options: Options) -> list[Path]:
    """Write the checkpoints; returns their paths."""
    if options.keep:
        return [keep(options.keep)]
    if not options.pictures:
        raise ValueError("--pictures: batch norms need folders of aligned photos and renders to be measured on")
    schema, preset = Schema.load(options.model_repository / SCHEMA_FILE), options.preset
    files = {name: options.model_repository / name / str(options.version) / MODEL_FILE for name in ("regressor", "encoder")}
    network = FaceNet(named(PRESETS, preset), bisenet.build(preset), light_cnn.build(preset), schema)
    fill(network, weights(files["regressor"]))
    encoder = fill(encoder_network.build(preset, schema), weights(files["encoder"]))
    measure_norms((network, encoder), [_shards(folder) for folder in options.pictures], options.measured)
    segmenter, recogniser = network.segmenter, network.recogniser
    assert segmenter is not None and recogniser is not None
    geometry = geometry_of(network, Rig.load())
    of_recogniser = {f"recogniser.{name}": value for name, value in recogniser.state_dict().items()}
    states: dict[str, dict[str, Any]] = {
        "regressor": {
            "average": network.state_dict(), "description": describe(network), "geometry": geometry.state_dict(),
        },
        "segmenter": {"average": segmenter.state_dict(), "description": bisenet.describe(segmenter)},
        "recogniser": {"average": of_recogniser, "description": light_cnn.describe(recogniser)},
        "encoder": {"average": encoder.state_dict(), "description": encoder_network.describe(encoder)},
    }  # fmt: skip
    if IMITATOR.is_file():
        states["imitator"] = kept_imitator()
    paths = [options.out / name / checkpoint.LAST for name in states]
    for path, state in zip(paths, states.values(), strict=True):
        checkpoint.save(path, state)
    return paths


def _shards(folder: Path) -> Shards:
    """Photos or renders, whichever lie there."""
    try:
        return RenderShards(folder)
    except KeyError:
        return PhotoShards(folder)


if __name__ == "__main__":
    print(*restore(tyro.cli(Options, description=__doc__)), sep="\n")
