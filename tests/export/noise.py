"""Inputs of `regressor` and `encoder` that show no face."""

from __future__ import annotations

import numpy as np

from sdk import contract


def noise(seed: int) -> dict[str, np.ndarray]:
    """Two crops of noise, and landmarks all over them, by the contract's names."""
    rng = np.random.default_rng(seed)
    crops = rng.random((2, *contract.CROP.shape), np.float32)
    mesh = contract.CROP_SIZE * rng.random((2, *contract.MESH.shape), np.float32)
    return {contract.CROP.name: crops, contract.MESH.name: mesh}
