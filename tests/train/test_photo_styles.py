"""Styles measured from pixels: the rules for hair, and rulers learnt from known options."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.schema import REFERENCE
from train.photo_styles import EXPOSURE, FLOOR, Rulers, hair_evidence, measure

HAIR = REFERENCE.slot("hair").options
# bald, forehead, then right and left: temple, jaw, neck, and away from jaw and forehead
HEADS = {
    "bald": [1.0, 0.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    "short": [0.0, 0.0, 0.6, 0, 0, 0, 0, 0.6, 0, 0, 0, 0],
    "long": [0.0, 0.0, 0.9, 0.9, 0.8, 0, 0, 0.9, 0.9, 0.8, 0, 0],
    "voluminous long": [0.0, 0.0, 0.9, 0.9, 0.8, 0.9, 0, 0.9, 0.9, 0.8, 0.9, 0],
    "fringe": [0.0, 0.9, 0.9, 0.1, 0, 0, 0, 0.9, 0.1, 0, 0, 0],
}


@pytest.mark.parametrize("head", HEADS)
def test_hair_is_told_by_what_is_where(head: str) -> None:
    option = head.split()[-1]
    evidence = hair_evidence(np.array([HEADS[head]], np.float32), HAIR)[0]
    assert evidence[HAIR.index(option)] == pytest.approx(1)
    opposite = {"bald": "long", "short": "long", "long": "short", "fringe": "bald"}[option]
    assert evidence[HAIR.index(opposite)] < 0.4
    assert evidence.min() >= FLOOR - 1e-6


def test_a_background_like_hair_leaves_the_length_open() -> None:
    dark = np.array([[0, 0, *[0.9] * 10]], np.float32)
    evidence = hair_evidence(dark, HAIR)[0]
    assert evidence[HAIR.index("long")] > 0.4 and evidence[HAIR.index("short")] > 0.4


def test_rulers_find_the_option_they_were_shown() -> None:
    rng = np.random.default_rng(0)
    style = np.stack([rng.integers(0, len(slot.options), 600) for slot in REFERENCE.style], 1)
    measured = {
        slot.name: (style[:, k, None] * [1.0, -0.5, 0.5] + rng.normal(0, 0.1, (600, 3))).astype(np.float32)
        for k, slot in enumerate(REFERENCE.style)
    }
    measured["hair"] = rng.random((600, 12)).astype(np.float32)
    evidence = Rulers.fit(measured, style).evidence(measured)
    iris = evidence[:, 41:47]  # after 11 hair, 5 brows, 5 beards, 10 skins, 10 colours of hair
    assert (iris.argmax(1) == style[:, 5]).mean() > 0.9


def test_skin_is_told_by_its_lightness_not_by_its_hue() -> None:
    rng = np.random.default_rng(0)
    style = np.stack([rng.integers(0, len(slot.options), 600) for slot in REFERENCE.style], 1)
    measured = {slot.name: rng.normal(style[:, k, None], 0.1, (600, 3)) for k, slot in enumerate(REFERENCE.style)}
    measured["hair"] = rng.random((600, 12))
    lightness = 75 - 4.5 * style[:, 3]  # ten skins, from light to dark
    measured["skin"] = np.stack([lightness, np.full(600, 12.0), np.full(600, 20.0)], 1) + rng.normal(0, 3, (600, 3))
    rulers = Rulers.fit(measured, style)
    tint = measured["skin"] + np.where(rng.random((600, 1)) < 0.5, -1, 1) * [0, 8, -8]  # two white balances
    photos = measured | {"skin": (tint - [55, 0, 0]) * [1 / EXPOSURE, 1, 1] + [55, 0, 0]}  # exposed to the middle
    said = rulers.evidence(photos)[:, 21:31].argmax(1)
    assert np.abs(said - style[:, 3]).mean() < 1
    assert np.corrcoef(said, style[:, 3])[0, 1] > 0.9


def test_colour_of_hair_that_is_not_seen_stays_open() -> None:
    rng = np.random.default_rng(0)
    style = np.stack([rng.integers(0, len(slot.options), 600) for slot in REFERENCE.style], 1)
    measured = {slot.name: rng.normal(style[:, k, None], 0.1, (600, 3)) for k, slot in enumerate(REFERENCE.style)}
    measured["hair"] = rng.random((600, 12))
    measured["hair_colour"][style[:, 0] < 2] = 5.0  # on bald and cropped heads, of any colour, the scalp is measured
    measured["hair_colour"][:7] = np.nan
    rulers = Rulers.fit(measured, style)
    colour = rulers.evidence(measured)[:, 31:41]  # after 10 skins
    assert (colour[:7] == 1).all()
    seen = np.arange(600) >= 7
    haired = seen & (style[:, 0] >= 2)
    assert (colour[haired].argmax(1) == style[haired, 4]).mean() > 0.9


def test_any_picture_can_be_measured() -> None:
    points = np.random.default_rng(0).uniform(-20, 280, (468, 2)).astype(np.float32)  # landmarks may leave the crop
    for image in (np.zeros((256, 256, 3), np.uint8), np.full((256, 256, 3), 255, np.uint8)):
        for name, values in measure(image, points).items():
            assert np.isfinite(values).all() or name == "hair_colour", name
