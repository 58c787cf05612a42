"""Face shapes expressed in identity sliders: ridge least squares, modulo a similarity transform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from game.baking.anatomy import FloatArray

_RIDGE = 0.05
_POSITION_UNIT = 0.3  # dm; makes one unit of the similarity columns about as strong as a slider
_CENTRE = np.array([0.0, 7.0, 0.5])


@dataclass(frozen=True)
class Projection:
    """``identity`` (N, 244) sliders; ``shape`` (N,) and ``residual`` (N,) weighted root mean square distance (mm) of
    each shape from the base face modulo similarity, and from its projection."""

    identity: FloatArray
    shape: npt.NDArray[np.float64]
    residual: npt.NDArray[np.float64]


def project(
    offsets: FloatArray, base: FloatArray, basis: npt.NDArray[np.floating], weights: npt.NDArray[np.float64]
) -> Projection:
    """Sliders whose displacement is nearest to ``offsets`` (N, V, 3) from the base face (V, 3).

    ``basis`` (244, V, 3) is at range 1; ``weights`` (V,) multiply each vertex's distance, and vertices of weight 0 do
    not count. The last slider, the global scale, stays 0: after alignment it cannot be observed.
    """
    seen = weights > 0
    scale = weights[seen, None]
    target = (offsets[:, seen] * scale).reshape(len(offsets), -1).astype(np.float64)
    sliders = (basis[:-1, seen] * scale).reshape(len(basis) - 1, -1).T.astype(np.float64)
    similarity = (_similarity_columns(base[seen]).reshape(-1, 3, 7) * scale[..., None]).reshape(-1, 7)
    design = np.concatenate([sliders, similarity], 1)
    ridge = np.full(design.shape[1], _RIDGE * (sliders**2).sum(0).mean())
    ridge[sliders.shape[1] :] *= 1e-3
    solution = np.linalg.solve(design.T @ design + np.diag(ridge), design.T @ target.T)
    residual = target - (design @ solution).T
    shape = target - (similarity @ solution[sliders.shape[1] :]).T
    identity = np.zeros((len(offsets), len(basis)), np.float32)
    identity[:, :-1] = solution[: sliders.shape[1]].T
    norm = (weights[seen] ** 2).sum()
    return Projection(identity, _rms_mm(shape, norm), _rms_mm(residual, norm))


def _similarity_columns(points: FloatArray) -> npt.NDArray[np.float64]:
    """(3P, 7) displacements of moving, turning and scaling the whole head."""
    columns = []
    centred = points - _CENTRE
    for axis in np.eye(3):
        columns += [np.tile(axis * _POSITION_UNIT, (len(points), 1)), np.cross(axis, centred) * _POSITION_UNIT]
    columns.append(centred * _POSITION_UNIT)
    return np.stack([column.ravel() for column in columns], 1)


def _rms_mm(displacement: npt.NDArray[np.float64], norm: float) -> npt.NDArray[np.float64]:
    return 100 * np.sqrt((displacement**2).sum(1) / norm)
