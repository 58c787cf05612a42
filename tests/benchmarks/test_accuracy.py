"""The measures of the accuracy benchmark, against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy import auc, icc
from benchmarks.likeness import rank


def test_icc_is_one_for_agreement_and_ignores_a_constant() -> None:
    truth = np.random.default_rng(0).random((500, 2))
    assert icc(truth, truth) == pytest.approx(1)
    assert icc(truth + 0.3, truth) == pytest.approx(1)  # ICC(3,1) measures consistency


def test_icc_is_the_correlation_where_spreads_are_equal_and_punishes_shrinking() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(20000, 1))
    said = 0.6 * truth + 0.8 * rng.normal(size=truth.shape)
    assert icc(said, truth) == pytest.approx(0.6, abs=0.02)
    assert icc(0.3 * said, truth) < 0.4


def test_auc() -> None:
    assert auc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1
    assert auc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 0
    rng = np.random.default_rng(2)
    assert auc(rng.normal(size=4000), rng.normal(size=4000)) == pytest.approx(0.5, abs=0.02)


def test_likeness_ranks_ones_own_photo() -> None:
    faces = np.eye(8)
    assert rank(faces, faces)["own photo before another's"] == 1
    assert rank(faces, np.roll(faces, 1, 0))["own photo before another's"] < 0.2
    noise = np.random.default_rng(3).normal(size=(2, 300, 16))
    assert rank(*noise)["own photo before another's"] == pytest.approx(0.5, abs=0.05)
