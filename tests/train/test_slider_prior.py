"""The Gaussian over sliders, and what locking some of them makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.schema import REFERENCE
from train.slider_prior import SliderPrior, parse_locked


@pytest.fixture
def prior() -> SliderPrior:
    return SliderPrior.of_people()


def test_codes_and_identities_go_both_ways(prior: SliderPrior) -> None:
    code = np.random.default_rng(0).normal(size=(5, len(prior.root)))
    np.testing.assert_allclose(prior.code(prior.identity(code)), code, atol=1e-9)
    assert (prior.identity(code)[:, -1] == 0).all()  # alignment takes the global scale out


def test_it_is_the_gaussian_of_the_people() -> None:
    people = np.random.default_rng(0).normal(size=(4000, 3)) @ np.array([[0.3, 0.2, 0], [0, 0.1, 0], [0, 0, 0.2]])
    prior = SliderPrior.of_people(np.c_[people, np.zeros(4000)])
    drawn = prior.identity(np.random.default_rng(1).normal(size=(20000, len(prior.root))))[:, :3]
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(people.T) + 0.12**2 * np.eye(3), atol=3e-3)


def test_locked_sliders_stay_and_the_others_go_with_them() -> None:
    first = np.random.default_rng(0).normal(0, 0.3, 4000)
    people = np.c_[first, first, np.random.default_rng(1).normal(0, 0.3, 4000), np.zeros(4000)]
    prior = SliderPrior.of_people(people)
    locked = prior.locked({0: 0.5})
    drawn = locked.identity(np.random.default_rng(2).normal(size=(20000, len(locked.root))))
    np.testing.assert_allclose(drawn[:, 0], 0.5, atol=1e-9)
    expected = np.cov(people[:, :2].T)[0, 1] / (people[:, 0].var() + 0.12**2) * (0.5 - first.mean()) + first.mean()
    assert drawn[:, 1].mean() == pytest.approx(expected, abs=0.01)
    assert drawn[:, 2].mean() == pytest.approx(people[:, 2].mean(), abs=0.01)
    again = locked.locked({1: -0.2})
    both = again.identity(np.random.default_rng(2).normal(size=(10, len(again.root))))
    np.testing.assert_allclose(both[:, :2], [[0.5, -0.2]] * 10, atol=1e-9)


def test_sliders_are_locked_by_name() -> None:
    numbers = {REFERENCE.identity.index("nose_tip.ty"): 0.2, REFERENCE.identity.index("mouth.sx"): -0.1}
    assert parse_locked("nose_tip.ty=0.2, mouth.sx=-0.1") == numbers
    assert parse_locked("") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nose.ty=0.2", "no slider 'nose.ty'"),
        ("nose_tip.ty", "locked at a number"),
        ("nose_tip.ty=wide", "'wide'"),
        ("nose_tip.ty=1.5", "between -1 and 1"),
        ("nose_tip.ty=nan", "between -1 and 1"),
    ],
)
def test_what_cannot_be_locked_is_said(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_locked(text)
