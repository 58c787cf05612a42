"""The face rig as a torch module: batched, differentiable, the same numbers as :class:`game.rig.Rig` to 1e-5 dm."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from game.apertures import SMALLEST_SQUARE
from game.camera import Camera
from game.rig import Rig


class TorchRig(nn.Module):
    """:class:`game.rig.Rig` on tensors. All arrays are buffers: the module moves with ``.to`` and has no parameters."""

    base: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    gaze_basis: Tensor
    pose_weights: Tensor
    pose_pivot: Tensor
    landmark_vertices: Tensor
    landmark_weights: Tensor
    aperture_upper: Tensor
    aperture_lower: Tensor
    aperture_lower_weights: Tensor
    aperture_group: Tensor
    aperture_closing_gap: Tensor
    aperture_spread: Tensor
    aperture_balls: Tensor
    aperture_lids: Tensor
    aperture_lid_ball: Tensor
    aperture_lid_clearance: Tensor

    def __init__(self, rig: Rig | None = None) -> None:
        super().__init__()
        rig = rig or Rig.load()
        for name in ("base", "identity_basis", "expression_basis", "gaze_basis", "pose_weights", "pose_pivot"):
            self._keep(name, getattr(rig, name))
        for name in ("landmark_vertices", "landmark_weights", "landmarks68", "triangles"):
            self._keep(name, getattr(rig, name))
        apertures = rig.apertures
        for name in (
            "upper",
            "lower",
            "lower_weights",
            "group",
            "closing_gap",
            "balls",
            "lids",
            "lid_ball",
            "lid_clearance",
        ):
            self._keep(f"aperture_{name}", getattr(apertures, name))
        spread = np.zeros((len(rig.base), len(apertures.upper)), np.float32)
        spread[apertures.moved] = apertures.spread
        self._keep("aperture_spread", spread)

    def _keep(self, name: str, array: np.ndarray) -> None:
        tensor = torch.as_tensor(np.array(array))
        self.register_buffer(name, tensor.long() if array.dtype.kind in "iu" else tensor, persistent=False)

    def vertices(
        self,
        identity: Tensor | None = None,
        expression: Tensor | None = None,
        pose: Tensor | None = None,
        gaze: Tensor | None = None,
    ) -> Tensor:
        """Vertices (B, V, 3), dm, of ``identity`` (B, 244), ``expression`` (B, 23), ``pose`` (B, 2) degrees and
        ``gaze`` (B, 2).

        What is not given is 0; without any of them the batch is one base face.
        """
        given = [tensor for tensor in (identity, expression, pose, gaze) if tensor is not None]
        batch = len(given[0]) if given else 1
        vertices = self.base.expand(batch, -1, -1)
        if identity is not None:
            vertices = vertices + _combine(identity, self.identity_basis)
        closing = self.base.new_zeros(batch, 3)
        if expression is not None:
            vertices = vertices + _combine(expression, self.expression_basis)
            closing = torch.cat([expression[:, :2], closing[:, :1]], 1)
        if gaze is not None:
            signed = torch.stack([gaze[:, 0], -gaze[:, 0], gaze[:, 1], -gaze[:, 1]], 1)
            vertices = vertices + _combine(torch.relu(signed), self.gaze_basis)
        vertices = self._keep_apart(vertices, closing)
        return vertices if pose is None else self.turn(vertices, pose)

    forward = vertices

    def turn(self, vertices: Tensor, pose: Tensor) -> Tensor:
        """Vertices (B, V, 3) of heads that look straight ahead, turned by ``pose`` (B, 2) in degrees."""
        centred = vertices - self.pose_pivot
        turned = centred @ rotation(pose).transpose(1, 2)
        return vertices + self.pose_weights[:, None] * (turned - centred)

    def _gaps(self, heights: Tensor) -> Tensor:
        lower = (heights[:, self.aperture_lower] * self.aperture_lower_weights).sum(2)
        return heights[:, self.aperture_upper] - lower

    def _keep_apart(self, vertices: Tensor, closing: Tensor) -> Tensor:
        """:meth:`game.apertures.Apertures.keep_apart`, out of place."""
        closed = closing[:, self.aperture_group]
        heights = vertices[..., 1]
        gaps = self._gaps(heights)
        wanted = torch.relu((1 - closed) * (gaps - closed * self.aperture_closing_gap))
        heights = heights + (wanted - gaps) @ self.aperture_spread.T
        heights = heights.index_add(1, self.aperture_upper, wanted - self._gaps(heights))
        return self._cover_eyeballs(torch.stack([vertices[..., 0], heights, vertices[..., 2]], -1))

    def _cover_eyeballs(self, vertices: Tensor) -> Tensor:
        balls = vertices[:, self.aperture_balls]  # (B, 2, E, 3)
        centres = balls.mean(2)
        radii = (balls - centres[:, :, None]).square().sum(3).mean(2).sqrt()
        offset = vertices[:, self.aperture_lids] - centres[:, self.aperture_lid_ball]
        reach = radii[:, self.aperture_lid_ball] + self.aperture_lid_clearance
        least = reach.square() - offset[..., 0].square() - offset[..., 1].square()
        depth = least.clamp_min(float(SMALLEST_SQUARE)).sqrt()
        forward = torch.relu(depth - offset[..., 2]) * (least > float(SMALLEST_SQUARE))
        zero = torch.zeros_like(forward)
        return vertices.index_add(1, self.aperture_lids, torch.stack([zero, zero, forward], -1))

    def landmarks(self, vertices: Tensor) -> Tensor:
        """MediaPipe's 468 points (B, 468, 3) on vertices (B, V, 3)."""
        return (vertices[:, self.landmark_vertices] * self.landmark_weights[..., None]).sum(2)

    @staticmethod
    def project(points: Tensor, camera: Camera) -> Tensor:
        """Points (..., 3) in dm to (..., 3): pixels x, y of ``camera`` and depth along its axis, as :meth:`Camera.project`."""
        offset = points - points.new_tensor(camera.position)
        depth = -offset[..., 2]
        x, y = camera.focal * offset[..., 0] / depth, -camera.focal * offset[..., 1] / depth
        cos, sin = math.cos(math.radians(camera.roll)), math.sin(math.radians(camera.roll))
        return torch.stack([cos * x - sin * y + camera.centre[0], sin * x + cos * y + camera.centre[1], depth], -1)


def rotation(pose: Tensor) -> Tensor:
    """(B, 3, 3) rotations of pose (B, 2), (pitch, yaw) in degrees: pitch > 0 looks up, then yaw > 0 turns to the
    person's left."""
    angles = torch.deg2rad(pose)
    cos_x, sin_x = torch.cos(angles[:, 0]), -torch.sin(angles[:, 0])
    cos_y, sin_y = torch.cos(angles[:, 1]), torch.sin(angles[:, 1])
    zero = torch.zeros_like(cos_x)
    rows = [cos_y, sin_y * sin_x, sin_y * cos_x, zero, cos_x, -sin_x, -sin_y, cos_y * sin_x, cos_y * cos_x]
    return torch.stack(rows, 1).reshape(-1, 3, 3)


def _combine(coefficients: Tensor, basis: Tensor) -> Tensor:
    """(B, V, 3) from (B, K) and (K, V, 3)."""
    return (coefficients @ basis.flatten(1)).reshape(len(coefficients), *basis.shape[1:])
