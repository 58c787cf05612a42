"""The styles' part of :mod:`benchmarks.accuracy`: answers on photos beside what people saw on them, and on renders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.accuracy_photos import solve
from sdk import FaceParamClient
from sdk.contract import style_name
from sdk.schema import REFERENCE, Schema, Slot
from train.shard_files import read_samples
from train.style_labels import HIDDEN, UNKNOWN, read_styles

Array = npt.NDArray[Any]

BINS = 5
"""Of the reliability table, equally wide."""
CELL, MARGIN = 44, 130
"""Sides in pixels of a cell of a confusion matrix's picture, and of the room for names."""


def of_styles(client: FaceParamClient, shard: Path, table: Path, half: str) -> dict[str, Any]:
    """All numbers of the photos of a tar whose styles a table says; `half`: "choosing", which thresholds may be chosen on, or
    "reporting", or "" for both."""
    told = read_styles(table, client.schema, **({"half": half} if half else {}))
    photos = {key.rpartition("/")[2]: files["jpg"] for key, files in read_samples(shard)}
    known = [(styles, photos[name]) for name, styles in told.items() if name in photos]
    answers = solve(client, [photo for _, photo in known])
    solved = [(styles, answer) for (styles, _), answer in zip(known, answers, strict=True) if answer is not None]
    truth = np.array([styles for styles, _ in solved])
    results: dict[str, Any] = {"count": len(solved), "rejected": len(known) - len(solved), "half": half or "both"}
    for k, slot in enumerate(client.schema.style):
        if (truth[:, k] != UNKNOWN).any():
            probabilities = np.array([answer.style[slot.name].probabilities for _, answer in solved])
            visible = np.array([answer.style[slot.name].visible for _, answer in solved])
            results[slot.name] = of_slot(slot, probabilities, visible, truth[:, k])
    return results


def told_again(table: Path, again: Path, schema: Schema = REFERENCE) -> dict[str, dict[str, float]]:
    """How often who tells the styles of some photos a second time, not knowing the first answers, says the same, by slot: more
    agreement with the table is luck."""
    first, second = read_styles(table, schema), read_styles(again, schema)
    answers = np.array([(first[photo], second[photo]) for photo in first if photo in second]).transpose(2, 1, 0)
    both = {slot.name: pair[:, (pair >= 0).all(0)] for slot, pair in zip(schema.style, answers, strict=True)}
    return {name: {"count": len(a), "same": float((a == b).mean())} for name, (a, b) in both.items() if len(a)}


def of_renders(said: Mapping[str, Array], truth: Array, schema: Schema = REFERENCE) -> dict[str, Any]:
    """The same of renders: outputs of `encoder` by name, and option numbers (N, slots)."""
    visible = np.ones(len(truth))
    return {slot.name: of_slot(slot, said[style_name(slot.name)], visible, truth[:, k]) for k, slot in enumerate(schema.style)}


def of_slot(slot: Slot, probabilities: Array, visible: Array, truth: Array) -> dict[str, Any]:
    """One slot of N pictures: probabilities (N, options), `visible` (N,) that it can be seen, `truth` (N,) option numbers, HIDDEN
    or UNKNOWN."""
    seen, looked = truth >= 0, truth != UNKNOWN
    right, said = truth[seen], probabilities[seen]
    order = np.argsort(-said, 1, kind="stable")
    confusion = np.zeros((len(slot.options),) * 2, int)
    np.add.at(confusion, (right, order[:, 0]), 1)
    sure, correct = said.max(1), order[:, 0] == right
    results = {
        "count": int(seen.sum()),
        "top-1": float(correct.mean()),
        "top-2": float((order[:, :2] == right[:, None]).any(1).mean()),
        "always the commonest": float(np.bincount(right).max() / len(right)),
        "confusion": confusion.tolist(),
        "reliability": reliability(sure, correct),
        "calibration error": calibration_error(sure, correct),
    }
    if (truth == HIDDEN).any():
        results["hidden"] = {
            "count": int((truth == HIDDEN).sum()),
            "found": float((visible[truth == HIDDEN] < 0.5).mean()),
            "wrongly found": float((visible[seen] < 0.5).mean()),
            "right": float(((visible >= 0.5) == seen)[looked].mean()),
        }
    if slot.colours:
        apart = palette_distances(slot)
        results["colour distance"] = {
            "median Lab": float(np.median(apart[right, order[:, 0]])),
            "mean Lab": float(apart[right, order[:, 0]].mean()),
            "palette step": palette_step(slot),
            "within one step": float((apart[right, order[:, 0]] <= palette_step(slot)).mean()),
        }
    return results


def reliability(sure: Array, correct: Array) -> list[dict[str, float]]:
    """Of answers with probability `sure` (N,), in bins: how sure, and how often right."""
    number = np.minimum((sure * BINS).astype(int), BINS - 1)
    return [
        {"count": int((number == b).sum()), "sure": float(sure[number == b].mean()), "right": float(correct[number == b].mean())}
        for b in range(BINS)
        if (number == b).any()
    ]


def calibration_error(sure: Array, correct: Array) -> float:
    """Expected calibration error (Guo et al. 2017): mean distance of sureness and rightness over the bins."""
    return float(sum(row["count"] * abs(row["sure"] - row["right"]) for row in reliability(sure, correct)) / len(sure))


def palette_distances(slot: Slot) -> Array:
    """(options, options) CIE76 distances of a palette's colours."""
    assert slot.colours
    rgb = np.array([[int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in slot.colours], np.float32) / 255
    lab = cv2.cvtColor(rgb[None], cv2.COLOR_RGB2Lab)[0]
    return np.asarray(np.linalg.norm(lab[:, None] - lab[None], axis=2))


def palette_step(slot: Slot) -> float:
    """How far apart neighbouring colours of a palette are: the median distance of each to the nearest other."""
    apart = palette_distances(slot) + np.diag([np.inf] * len(slot.options))
    return float(np.median(apart.min(1)))


def picture(slot: Slot, confusion: Array) -> npt.NDArray[np.uint8]:
    """A confusion matrix (H, W, 3) RGB: what was true in rows, what was answered in columns, darker the more of the row."""
    confusion, count = np.asarray(confusion), len(slot.options)
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    cells = 255 - shares[..., None] * np.array([230, 170, 90])
    image = np.full((MARGIN + CELL * count,) * 2 + (3,), 255, np.uint8)
    image[MARGIN:, MARGIN:] = cells.astype(np.uint8).repeat(CELL, 0).repeat(CELL, 1)
    image[MARGIN + CELL - 2 :: CELL] = image[:, MARGIN + CELL - 2 :: CELL] = 255
    image[:MARGIN, MARGIN:] = np.rot90(_names(slot.options))
    image[MARGIN:, :MARGIN] = _names(slot.options)
    for row, column in np.ndindex(count, count):
        place = (MARGIN + CELL * column + 8, MARGIN + CELL * row + CELL // 2 + 5)
        _write(image, str(confusion[row, column]), place, 255 if shares[row, column] > 0.6 else 0)
    return image


def _names(options: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """The options below one another, a cell each."""
    image = np.full((CELL * len(options), MARGIN, 3), 255, np.uint8)
    for row, option in enumerate(options):
        _write(image, option, (6, CELL * row + CELL // 2 + 5))
    return image


def _write(image: npt.NDArray[np.uint8], text: str, place: tuple[int, int], tone: int = 0) -> None:
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (tone,) * 3, 1, cv2.LINE_AA)


def write_pictures(folder: Path, kind: str, results: dict[str, Any], schema: Schema) -> None:
    """The confusion matrices of all slots as ``KIND-SLOT.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    for slot in schema.style:
        if slot.name in results:
            image = picture(slot, np.array(results[slot.name]["confusion"]))
            cv2.imwrite(str(folder / f"{kind}-{slot.name}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
