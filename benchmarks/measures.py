"""The measures of :mod:`benchmarks.accuracy`: agreement, distance on the head, calibration, landmarks laid over landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from game.camera import Camera
from game.preview import similarity
from game.rig import Rig
from sdk.geometry import apply
from train.alignment import LEFT_EYE, RIGHT_EYE

Array = npt.NDArray[Any]
UNIT_EYES = np.array([[-0.5, 0.0], [0.5, 0.0]])


def icc(said: Array, truth: Array) -> Array:
    """ICC(3,1), two raters, per column of (N, K): (between - within) / (between + within) mean squares."""
    mean = (said + truth) / 2
    between = 2 * mean.var(0, ddof=1)
    difference = said - truth
    within = (difference - difference.mean(0)).var(0, ddof=1) / 2
    return (between - within) / (between + within)


def squared_mm(difference: Array, metric: Array) -> Array:
    """(B,) mean squared displacement in mm^2 under slider differences (B, 244), by
    :func:`train.geometry.identity_metric`."""
    d = difference.astype(np.float64)
    return np.asarray(np.einsum("bi,ij,bj->b", d, metric, d))


def rmse_mm(difference: Array, metric: Array) -> float:
    """Root of the mean of :func:`squared_mm` over the faces."""
    return float(np.sqrt(squared_mm(difference, metric).mean()))


def calibration(said: Mapping[str, Array], sigma: Mapping[str, Array], truth: Mapping[str, Array]) -> dict[str, Any]:
    """Per output: spread of error / sigma (1 is true), share within one sigma (.68), and rank correlation of sigma
    and error."""
    results = {}
    for name, deviation in sigma.items():
        error, deviation = np.abs(said[name] - truth[name]), np.maximum(deviation, 1e-6)
        ranks = [np.argsort(np.argsort(values.ravel())) for values in (error, deviation)]
        results[name] = {
            "spread": float(np.sqrt(np.median((error / deviation) ** 2) / 0.455)),
            "within one sigma": float((error < deviation).mean()),
            "rank correlation": float(np.corrcoef(ranks)[0, 1]),
        }
    return results


def eyes(landmarks: Array) -> tuple[Array, Array]:
    """(2,) each: the middles of the right and left eye of FaceMesh's points (468, 2 or more)."""
    right, left = (landmarks[list(eye), :2].mean(0) for eye in (RIGHT_EYE, LEFT_EYE))
    return right, left


def eye_distance(landmarks: Array) -> float:
    """Distance of the middles of the eyes of FaceMesh's points (468, 2 or more)."""
    right, left = eyes(landmarks)
    return float(np.linalg.norm(right - left))


def laid_over(points: Array, target: Array) -> Array:
    """Points (N, 2) moved, turned and scaled onto ``target`` (N, 2) by least squares."""
    return apply(similarity(points, target), points)


class Drawn:
    """Parameters as landmarks in the picture of the portrait camera."""

    def __init__(self) -> None:
        self.rig, self.camera = Rig.load(), Camera.portrait()

    def landmarks(self, identity: Array, expression: Array, pose: Array) -> Array:
        """(468, 2) pixels."""
        return self.camera.project(self.rig.landmarks(self.rig.vertices(identity, expression, pose)))[:, :2]


class PortraitPoints:
    """Points that people set on portraits, in terms of FaceMesh's: each is the mixture of the three nearest of FaceMesh's
    points that hits it on the mean of all portraits. What is fitted is that mean, 2 numbers per point; how portraits differ
    from it is not. Points farther than REACH eye distances from all of FaceMesh's, of hair, ears and neck, are left out."""

    REACH = 0.08

    def __init__(self, points: Array, landmarks: Array) -> None:
        """`points`: (N, P, 2), `landmarks`: (N, 468, 2), both in pixels of the portraits."""
        to_unit_eyes = [similarity(np.array(eyes(k)), UNIT_EYES) for k in landmarks]
        placed = [(apply(m, p), apply(m, k)) for m, p, k in zip(to_unit_eyes, points, landmarks, strict=True)]
        mean_points, mean_landmarks = (np.mean([pair[k] for pair in placed], 0) for k in (0, 1))
        distance = np.linalg.norm(mean_points[:, None] - mean_landmarks[None], axis=2)
        self.kept = np.flatnonzero(distance.min(1) < self.REACH)
        self.nearest = distance[self.kept].argsort(1)[:, :3]
        corners = mean_landmarks[self.nearest]  # (K, 3, 2)
        weights = np.full((len(self.kept), 3), 1 / 3)
        left = mean_points[self.kept] - corners.mean(1)
        edges = corners - corners.mean(1, keepdims=True)
        for k, (edge, rest) in enumerate(zip(edges, left, strict=True)):
            constrained = np.vstack([edge.T, np.ones(3)])
            weights[k] += np.linalg.lstsq(constrained, np.append(rest, 0), rcond=1e-2)[0]
        self.weights = weights

    def of(self, landmarks: Array) -> Array:
        """(K, 2) those points on FaceMesh's (468, 2)."""
        return np.einsum("kc,kcd->kd", self.weights, landmarks[self.nearest])
