"""Identities as so many principal coefficients say them."""

from __future__ import annotations

import numpy as np

from benchmarks.identity_codes import kept
from game.rig import Rig
from game.sampling import sample_character
from train.geometry import IdentitySpace, identity_metric


def test_more_coefficients_keep_more_and_all_of_them_all() -> None:
    rng, metric = np.random.default_rng(0), identity_metric(Rig.load())
    identities = np.stack([sample_character(rng).identity for _ in range(400)])
    spaces = [IdentitySpace.fit(identities, metric, codes) for codes in (20, 100, 243)]
    lost = [np.abs(kept(space, identities[:50]) - identities[:50]).mean() for space in spaces]
    assert lost[0] > 1.5 * lost[1] and lost[1] > 5 * lost[2]
    assert np.abs(kept(spaces[0], identities)).max() <= 1
