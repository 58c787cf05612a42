"""Geometry that training needs: linear spaces of landmarks and identities, the landmark rig, similarity fits.

Nothing here is learnt by gradient: every number comes from the rig or from statistics of the training set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from game.camera import Camera
from game.rig import PARTS, Rig
from sdk.contract import CROP_SIZE
from train.data import PhotoShards, RenderShards
from train.networks import POSE_UNIT, FaceNet, Spaces
from train.rig import TorchRig

FloatArray = npt.NDArray[np.floating]
MM_PER_DM = 100.0
SPACE_SAMPLE = 12000
"""Samples of each kind from which linear spaces and conventions are fitted."""
CODE_NOISE = 2.5
"""Pixels per coefficient of the landmark code: about how well landmarks are seen, 1.3 px each."""
JITTER = 1.5
"""Pixels by which augmentation moves landmarks, on average (see :mod:`train.augment`)."""


def face_vertices(rig: Rig) -> npt.NDArray[np.intp]:
    """Vertices over which identity is measured: the skin of the head, without neck, inside of the mouth, lashes and
    eyes."""
    skin = (rig.vertex_part == PARTS.index("skin")) & (rig.masks["neck"] < 0.5) & (rig.masks["mouth_interior"] < 0.5)
    chin = rig.landmarks(rig.base)[152, 1]
    return np.flatnonzero(skin & (rig.base[:, 1] > chin - 0.15))


def front_vertices(rig: Rig) -> npt.NDArray[np.intp]:
    """Those of :func:`face_vertices` that a portrait shows: in front of the ears and below the hairline."""
    vertices, landmarks = face_vertices(rig), rig.landmarks(rig.base)
    _, y, z = rig.base[vertices].T
    return vertices[(z > landmarks[234, 2]) & (y < landmarks[10, 1])]


def identity_metric(rig: Rig, vertices: npt.NDArray[np.intp] | None = None) -> npt.NDArray[np.float64]:
    """(244, 244) Gram matrix G: ``d @ G @ d`` is the mean squared displacement in mm^2 of ``vertices`` (by default
    :func:`face_vertices`) under a slider difference d."""
    vertices = face_vertices(rig) if vertices is None else vertices
    basis = rig.identity_basis[:, vertices].reshape(len(rig.identity_basis), -1).astype(np.float64) * MM_PER_DM
    return 3.0 * basis @ basis.T / basis.shape[1]


@dataclass(frozen=True, eq=False)
class IdentitySpace:
    """Principal coefficients of identity in the millimetre metric.

    ``mean`` (244,); ``encode`` (244, K): code = (identity - mean) @ encode, of unit variance; ``basis`` (K, 244):
    identity = mean + code @ basis; ``variance`` (K,): mean squared displacement in mm^2 per unit of code;
    ``residual`` (244,): standard deviation left over."""

    mean: FloatArray
    encode: FloatArray
    basis: FloatArray
    variance: FloatArray
    residual: FloatArray

    @classmethod
    def fit(cls, identities: FloatArray, metric: FloatArray, codes: int) -> IdentitySpace:
        """From samples (N, 244). The way back is the linear regression of sliders on codes, so sliders that hardly show
        take the values that go with what does show."""
        mean = identities.mean(0, dtype=np.float64)
        centred = identities - mean
        covariance = centred.T @ centred / len(identities)
        root = _square_root(metric)
        values, vectors = np.linalg.eigh(root @ covariance @ root)
        order = values.argsort()[::-1][:codes]
        variance = np.maximum(values[order], 1e-9)
        encode = root @ vectors[:, order] / np.sqrt(variance)
        basis = (covariance @ encode).T
        residual = np.sqrt(np.maximum(np.diag(covariance) - (basis**2).sum(0), 0))
        return cls(mean, encode, basis, variance, residual)

    def install(self, spaces: Spaces) -> None:
        """Copy into a network's buffers."""
        for name, value in (
            ("identity_mean", self.mean), ("identity_basis", self.basis), ("identity_residual", self.residual),
        ):  # fmt: skip
            getattr(spaces, name).copy_(torch.from_numpy(np.asarray(value, np.float32)))


def _square_root(matrix: FloatArray) -> npt.NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


@dataclass(frozen=True, eq=False)
class LandmarkSpace:
    """Principal coefficients of dense landmarks in crop pixels: ``mean`` (936,), ``basis`` (L, 936), ``scale`` (L,)."""

    mean: FloatArray
    basis: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, landmarks: FloatArray, codes: int, jitter: float, rng: np.random.Generator) -> LandmarkSpace:
        """From samples (N, 468, 2), each also mirrored by the caller. ``jitter``: each sample is moved, turned and
        scaled at random by about so many pixels at the face's edge, as augmentation does: alignment has removed just
        these directions from the data."""
        flat = _jittered(landmarks, jitter, rng).reshape(len(landmarks), -1)
        mean = flat.mean(0)
        covariance = (flat - mean).T @ (flat - mean) / len(flat)
        values, vectors = np.linalg.eigh(covariance)
        order = values.argsort()[::-1][:codes]
        return cls(mean, vectors[:, order].T, np.sqrt(np.maximum(values[order], 1e-6)))

    def install(self, spaces: Spaces) -> None:
        """Copy into a network's buffers."""
        for name, value in (
            ("landmark_mean", self.mean), ("landmark_basis", self.basis), ("landmark_scale", self.scale),
        ):  # fmt: skip
            getattr(spaces, name).copy_(torch.from_numpy(np.asarray(value, np.float32)))


def _jittered(landmarks: FloatArray, jitter: float, rng: np.random.Generator) -> FloatArray:
    """Each sample (N, 468, 2) moved, turned and scaled about the crop's centre at random."""
    centre = CROP_SIZE / 2
    shift = rng.normal(0, jitter, (len(landmarks), 1, 2))
    a, b = rng.normal(0, jitter / 60, (2, len(landmarks), 1))
    x, y = landmarks[..., 0] - centre, landmarks[..., 1] - centre
    return np.stack([x + a * x - b * y, y + b * x + a * y], -1) + centre + shift


def regression(inputs: FloatArray, outputs: FloatArray) -> Tensor:
    """(I + 1, O) least-squares map of inputs (N, I) and a constant to outputs (N, O)."""
    extended = np.concatenate([inputs, np.ones((len(inputs), 1))], 1)
    gram = extended.T @ extended + 1e-3 * len(inputs) * np.diag([1e-2] * inputs.shape[1] + [0])
    return torch.from_numpy(np.linalg.solve(gram, extended.T @ outputs).astype(np.float32))


class LandmarkRig(nn.Module):
    """Parameters -> the picture of the rig's 468 landmarks, batched and differentiable."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self.rig = TorchRig(rig)
        self.camera = Camera.portrait().position

    def forward(self, identity: Tensor, expression: Tensor, pose: Tensor) -> Tensor:
        """(B, 244), (B, 23), (B, 2) in units of 30 degrees -> (B, 468, 2): the default camera's picture, y down, up
        to scale and place."""
        points = self.rig.landmarks(self.rig.vertices(identity, expression, pose * POSE_UNIT))
        x, y, z = self.camera
        depth = 1 - points[..., 2] / z
        return torch.stack([(points[..., 0] - x) / depth, (y - points[..., 1]) / depth], -1)


def fit_similarity(points: Tensor, target: Tensor) -> Tensor:
    """Points (B, N, 2) moved, turned and scaled onto ``target`` (B, N, 2) by least squares.

    Closed form, differentiable in both.
    """
    centre, goal = points.mean(1, keepdim=True), target.mean(1, keepdim=True)
    a, b = points - centre, target - goal
    size = a.square().sum((1, 2)).clamp_min(1e-12)
    cosine = (a * b).sum((1, 2)) / size
    sine = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(1) / size
    matrix = torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
    return a @ matrix.transpose(1, 2) + goal


def mirrored_landmarks(rig: Rig) -> npt.NDArray[np.intp]:
    """(468,) for each FaceMesh landmark the number of its mirror image: the cheapest matching of the base face's
    points with their reflections, an involution."""
    points = rig.landmarks(rig.base)
    distance = np.linalg.norm(points[:, None] * [-1, 1, 1] - points[None], axis=-1)
    mirrored = linear_sum_assignment((distance + distance.T) ** 2)[1]
    if (mirrored[mirrored] != np.arange(len(points))).any():
        raise ValueError("the rig's landmarks are not symmetric: their mirror images do not pair up")
    return mirrored


@dataclass(frozen=True, eq=False)
class Metric:
    """How codes are compared. encoder: (244, K) of :class:`train.geometry.IdentitySpace`; identity_weight: (K,) and
    landmark_weight: (L,), both summing to 1: shares of visible variance, flattened so that small components count
    too."""

    encoder: Tensor
    identity_weight: Tensor
    landmark_weight: Tensor

    @classmethod
    def of(cls, encoder: Tensor, identity_variance: Tensor, landmark_scale: Tensor) -> Metric:
        """identity_variance: (K,) mm^2 per squared unit of code; landmark_scale: (L,) px per unit of code."""
        identity, landmarks = identity_variance**0.7, landmark_scale**0.7
        return cls(encoder, identity / identity.sum(), landmarks / landmarks.sum())

    def encode(self, identity: Tensor, spaces: Spaces) -> Tensor:
        """Sliders (B, 244) -> code (B, K)."""
        return (identity - spaces.identity_mean) @ self.encoder


class Geometry(nn.Module):
    """The fixed maps of one training run, kept in its checkpoint: codes of identity and their metric."""

    encoder: Tensor
    identity_variance: Tensor

    def __init__(self, network: FaceNet) -> None:
        super().__init__()
        codes, identity = network.spaces.identity_basis.shape
        self.register_buffer("encoder", torch.zeros(identity, codes))
        self.register_buffer("identity_variance", torch.ones(codes))

    def fit(self, network: FaceNet, rig: Rig, renders: RenderShards, photos: PhotoShards) -> None:
        """Measure everything from the training set and install the network's linear spaces."""
        rng = np.random.default_rng(0)
        preset, arrays = network.preset, renders.arrays
        space = IdentitySpace.fit(arrays["identity"], identity_metric(rig), preset.identity_codes)
        space.install(network.spaces)
        self.encoder.copy_(torch.from_numpy(space.encode.astype(np.float32)))
        self.identity_variance.copy_(torch.from_numpy(space.variance.astype(np.float32)))
        chosen = rng.permutation(len(renders))[:SPACE_SAMPLE]
        landmarks = arrays["landmarks"][chosen]
        of_photos = photos.arrays["landmarks"][rng.permutation(len(photos))[:SPACE_SAMPLE]]
        both = np.concatenate([landmarks, of_photos])
        mirrored = (both * [-1, 1] + [CROP_SIZE, 0])[:, mirrored_landmarks(rig)]
        LandmarkSpace.fit(np.concatenate([both, mirrored]), preset.landmark_codes, JITTER, rng).install(network.spaces)
        self.start_heads(network, renders, chosen, rng)

    def start_heads(
        self, network: FaceNet, renders: RenderShards, chosen: npt.NDArray[np.intp], rng: np.random.Generator
    ) -> None:
        """Let the parameters begin as the linear map that serves best while landmarks are seen to within CODE_NOISE."""
        arrays, spaces = renders.arrays, network.spaces
        landmarks = _jittered(arrays["landmarks"][chosen], JITTER, rng).astype(np.float32)
        code = spaces.landmark_code(torch.from_numpy(landmarks)).numpy()
        seen = code + rng.normal(size=code.shape) * (CODE_NOISE / spaces.landmark_scale.numpy())
        identity = (arrays["identity"][chosen] - spaces.identity_mean.numpy()) @ self.encoder.numpy()
        pose = arrays["pose"][chosen] / POSE_UNIT
        values = np.concatenate([identity, arrays["expression"][chosen], pose, arrays["gaze"][chosen]], 1)
        network.start_from_landmarks(regression(seen, values))

    def metric(self, network: FaceNet) -> Metric:
        """How the losses compare codes."""
        return Metric.of(self.encoder, self.identity_variance, network.spaces.landmark_scale)
