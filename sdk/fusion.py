"""Several photos of one player into one set of sliders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sdk.face_params import FaceParams, Parameters, StyleChoice, Styles
from sdk.stream import chosen

SMALLEST_SIGMA = 1e-3
"""Below it a slider counts as known: it must not silence all other photos."""


def fuse(photos: Sequence[FaceParams]) -> FaceParams:
    """Identity and style from several photos of one person, each weighted by how sure it is.

    Identity is the mean weighted by 1 / sigma^2, slider by slider. Its sigma is that of the weighted mean, but where the
    photos disagree by more than their sigmas say, it is widened by as much (the Birge ratio, over all sliders). Style
    probabilities are averaged, weighted by how likely each photo shows the slot. Expression, pose and face change from photo to
    photo: they are those of the photo whose identity is surest; :meth:`FaceParams.neutral` gives the character at rest.

    Raises:
        ValueError: there is no photo, or they were solved with different schemas or models.
    """
    if not photos:
        raise ValueError("fuse needs at least one FaceParams")
    first = photos[0]
    for other in photos[1:]:
        if (other.schema_version, other.identity.names) != (first.schema_version, first.identity.names):
            raise ValueError(f"photos of different schemas cannot be fused: {first.schema_version!r}, {other.schema_version!r}")
        if other.model_version != first.model_version:
            raise ValueError(f"photos of different models cannot be fused: {first.model_version!r}, {other.model_version!r}")
    if len(photos) == 1:
        return first
    values = np.stack([params.identity.array for params in photos]).astype(np.float64)
    sigmas = np.stack([params.identity_sigma.array for params in photos]).astype(np.float64)
    mean, sigma = weighted_mean(values, sigmas)
    surest = photos[int(sigmas.mean(1).argmin())]
    names = first.identity.names
    return replace(
        surest,
        identity=Parameters(names, mean),
        identity_sigma=Parameters(names, sigma),
        style=Styles(tuple(_fused([params.style[slot] for params in photos]) for slot in first.style)),
    )


def _fused(choices: Sequence[StyleChoice]) -> StyleChoice:
    """One slot of several photos."""
    visible = np.array([choice.visible for choice in choices])
    probabilities = np.average([choice.probabilities for choice in choices], 0, weights=visible + SMALLEST_SIGMA)
    return chosen(choices[0], probabilities, visible.max())


def weighted_mean(values: NDArray[np.float64], sigmas: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (P,) of N measurements (N, P) with standard deviations (N, P), and its standard deviation (P,)."""
    weights = 1 / np.maximum(sigmas, SMALLEST_SIGMA) ** 2
    mean = (weights * values).sum(0) / weights.sum(0)
    disagreement = (weights * (values - mean) ** 2).sum() / ((len(values) - 1) * values.shape[1])
    return mean, np.sqrt(max(1.0, disagreement) / weights.sum(0))
