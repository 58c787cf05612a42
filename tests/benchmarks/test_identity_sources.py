"""The mean of two networks' identities."""

from __future__ import annotations

import numpy as np

from benchmarks.identity_sources import fused


def test_who_is_surer_counts_more() -> None:
    regressor, encoder = np.zeros((1, 3)), np.ones((1, 3))
    found = fused(regressor, np.array([[0.1, 0.2, 0.1]]), encoder, np.array([0.01, 0.01, 0.03]))
    np.testing.assert_allclose(found, [[0.5, 0.8, 0.25]], rtol=1e-6)


def test_a_slider_that_both_are_certain_of_is_their_mean() -> None:
    assert fused(np.zeros((1, 1)), np.zeros((1, 1)), np.ones((1, 1)), np.zeros(1)) == 0.5


def test_two_sources_of_independent_errors_are_better_than_one() -> None:
    rng = np.random.default_rng(0)
    truth, one, other = (s * rng.normal(size=(2000, 4)) for s in (1.0, 0.3, 0.4))
    both = fused(truth + one, np.full(truth.shape, 0.3), truth + other, np.full(4, 0.16))
    assert np.square(both - truth).mean() < 0.8 * np.square(one).mean()
