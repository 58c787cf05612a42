"""The measures of styles, against cases whose answer is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.accuracy_styles import (
    of_slot,
    palette_distances,
    palette_step,
    picture,
    reliability,
    told_again,
    write_pictures,
)
from sdk.schema import REFERENCE
from train.style_labels import HIDDEN, UNKNOWN

BROW, SKIN = REFERENCE.slot("brow"), REFERENCE.slot("skin")


def said(*rows: list[int], options: int = 5) -> np.ndarray:
    """Probabilities whose order is that of these options: 0.6, 0.3, the rest."""
    values = np.full((len(rows), options), 0.1 / (options - 2))
    for row, order in enumerate(rows):
        values[row, order[0]], values[row, order[1]] = 0.6, 0.3
    return values


def test_what_is_right_at_once_and_what_at_the_second_guess() -> None:
    truth = np.array([0, 1, 1, 2, HIDDEN, UNKNOWN])
    visible = np.array([0.9, 0.9, 0.2, 0.9, 0.1, 0.1])
    found = of_slot(BROW, said([0, 1], [0, 1], [1, 0], [3, 4], [0, 1], [0, 1]), visible, truth)
    assert (found["count"], found["top-1"], found["top-2"], found["always the commonest"]) == (4, 0.5, 0.75, 0.5)
    assert np.array(found["confusion"])[1].tolist() == [1, 1, 0, 0, 0]
    assert found["hidden"] == {"count": 1, "found": 1.0, "wrongly found": 0.25, "right": 0.8}
    assert "colour distance" not in found


def test_probabilities_that_are_true_have_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.2, 1, 50000)
    truth = np.where(rng.random(len(sure)) < sure, 0, 1)
    probabilities = np.stack([sure, 1 - sure, *3 * [np.zeros_like(sure)]], 1)
    likelier = probabilities[:, 0] >= 0.5
    found = of_slot(BROW, probabilities[likelier], np.ones(likelier.sum()), truth[likelier])
    assert found["calibration error"] < 0.01
    boasting = reliability(np.full(100, 0.95), np.arange(100) < 60)
    assert boasting == [{"count": 100, "sure": pytest.approx(0.95), "right": 0.6}]


def test_colours_count_by_distance() -> None:
    apart = palette_distances(SKIN)
    np.testing.assert_allclose(np.diag(apart), 0)
    assert 5 < palette_step(SKIN) < 15 and apart[0, 9] > 60
    beside = of_slot(SKIN, said([3, 4], [3, 4], options=10), np.ones(2), np.array([3, 4]))["colour distance"]
    assert beside["median Lab"] == pytest.approx(apart[3, 4] / 2)
    assert 0.5 <= beside["within one step"] <= 1


def test_eyes_agree_with_themselves_on_what_they_saw_twice(tmp_path: Path) -> None:
    first, again = tmp_path / "first.csv", tmp_path / "again.csv"
    first.write_text(
        "photo,hair,brow,half\na,short,thin,choosing\nb,bob,,choosing\nc,curly,thin,choosing\nd,bald,thin,reporting\n"
    )
    again.write_text("photo,hair\na,short\nb,long\nc,\n")
    assert told_again(first, again) == {"hair": {"count": 2, "same": 0.5}}


def test_confusions_are_drawn(tmp_path: Path) -> None:
    confusion = np.diag([9, 0, 0, 0, 0])
    confusion[1, 0] = 5
    image = picture(BROW, confusion)
    assert image.dtype == np.uint8 and image.shape[0] == image.shape[1] > 5 * 40
    write_pictures(tmp_path, "photos", {"brow": {"confusion": confusion.tolist()}, "count": 14}, REFERENCE)
    assert [path.name for path in tmp_path.iterdir()] == ["photos-brow.png"]
    assert cv2.imread(str(tmp_path / "photos-brow.png")).shape == image.shape
