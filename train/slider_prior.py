"""Which faces are likely: a Gaussian over the identity sliders, that of the game's own people.

It keeps a fit from explaining a photo by a caricature, and where sliders are locked it says how the others go with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from game.rig import Rig
from sdk.schema import REFERENCE

Array = npt.NDArray[np.floating]
FREEDOM = 0.12
"""Standard deviation by which every slider may leave what is common among people; players move sliders one by one."""
SMALLEST = 1e-6
"""Variance below which a direction is no direction."""


@dataclass(frozen=True, eq=False)
class SliderPrior:
    """identity = mean + code @ root, with codes that are standard normal. ``mean`` (I,), ``root`` (K, I), K <= I."""

    mean: Array
    root: Array

    @classmethod
    def of_people(cls, people: Array | None = None) -> SliderPrior:
        """From identities (N, I), by default those of the game's people. The global scale is 0: alignment takes it out."""
        people = Rig.load().phenotype_identity if people is None else people
        mean = people.mean(0, dtype=np.float64)
        covariance = np.cov(people, rowvar=False) + FREEDOM**2 * np.eye(people.shape[1])
        return cls._of(mean, covariance).locked({people.shape[1] - 1: 0.0})

    @classmethod
    def _of(cls, mean: Array, covariance: Array) -> SliderPrior:
        values, vectors = np.linalg.eigh(covariance)
        kept = values > SMALLEST
        return cls(mean, np.sqrt(values[kept])[:, None] * vectors[:, kept].T)

    def locked(self, values: Mapping[int, float]) -> SliderPrior:
        """The prior of all sliders once those of some numbers have these values: their conditional distribution."""
        if not values:
            return self
        fixed, free = list(values), np.setdiff1d(np.arange(len(self.mean)), list(values))
        covariance = self.root.T @ self.root
        # Sliders that were locked before have no variance left; the pseudo-inverse leaves them alone.
        gain = covariance[np.ix_(free, fixed)] @ np.linalg.pinv(covariance[np.ix_(fixed, fixed)], rcond=1e-9, hermitian=True)
        mean = self.mean.copy()
        mean[free] += gain @ (np.array(list(values.values())) - self.mean[fixed])
        mean[fixed] = list(values.values())
        rest = np.zeros_like(covariance)
        rest[np.ix_(free, free)] = covariance[np.ix_(free, free)] - gain @ covariance[np.ix_(fixed, free)]
        return self._of(mean, rest)

    def identity(self, code: Array) -> Array:
        """(N, K) -> (N, I), not clipped."""
        return self.mean + code @ self.root

    def code(self, identity: Array) -> Array:
        """(N, I) -> (N, K), the inverse of :meth:`identity`; locked sliders are disregarded."""
        return (identity - self.mean) @ (self.root / np.square(self.root).sum(1, keepdims=True)).T


def parse_locked(text: str) -> dict[int, float]:
    """ "nose_tip.ty=0.2,mouth.sx=-0.1" -> values by the number of the slider. :class:`ValueError` says what is wrong."""
    locked = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name.strip() not in REFERENCE.identity:
            raise ValueError(f"there is no slider {name.strip()!r}; their names are those of schema.json, as 'nose_tip.ty'")
        try:
            number = float(value)
        except ValueError:
            raise ValueError(
                f"slider {name.strip()!r} is to be locked at a number, as '{name.strip()}=0.2', not {value!r}"
            ) from None
        if not -1 <= number <= 1:
            raise ValueError(f"slider {name.strip()!r} cannot be {number:g}: sliders are between -1 and 1")
        locked[REFERENCE.identity.index(name.strip())] = number
    return locked
