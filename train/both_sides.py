"""The regressor as it is served: it looks at a crop and at its mirror image, and says the mean of what it says about both.

A mirror image shows the mirrored face, exactly, so that errors that depend on the side are all that is lost. It costs a
sixth more: the fixed networks, which take most of the time, look at the crop alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from game.character import identity_mirror_signs, mirrored_units
from game.rig import Rig
from train.data import POSE_SIGNS
from train.geometry import mirrored_landmarks
from train.layers import mirrored, mirrored_points, sides
from train.networks import POSE_UNIT, FaceNet


class Answer(NamedTuple):
    """What R says about B crops: identity (B, 244), meant for [-1, 1], and expression (B, 23), meant for [0, 1], neither clipped;
    pose (B, 2) in degrees; and the standard deviations of each, in the same units."""

    identity: Tensor
    expression: Tensor
    pose: Tensor
    identity_sigma: Tensor
    expression_sigma: Tensor
    pose_sigma: Tensor


class BothSides(nn.Module):
    """R, looking at both sides."""

    landmarks: Tensor
    units: Tensor
    identity_signs: Tensor
    pose_signs: Tensor

    def __init__(self, network: FaceNet) -> None:
        super().__init__()
        self.network = network
        for name, values in (
            ("landmarks", mirrored_landmarks(Rig.load())), ("units", mirrored_units()),
            ("identity_signs", identity_mirror_signs()[None]), ("pose_signs", POSE_SIGNS[None]),
        ):  # fmt: skip
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def forward(self, crop: Tensor, mesh: Tensor) -> Answer:
        """crop: (B, 3, 256, 256) float32 RGB in [0, 1]; mesh: (B, 468, 2) FaceMesh's landmarks, crop px."""
        network, spaces = self.network, self.network.spaces
        both = torch.cat([crop, mirrored(crop)]), torch.cat([mesh, mirrored_points(mesh, self.landmarks)])
        said = network.regress(*both, network.look(crop).features().both_sides())
        code_sigma, expression_sigma, pose_sigma = said.log_sigma.clamp(-5, 3).exp().split(network.sizes[:3], 1)

        def mean(values: Tensor, turned: Callable[[Tensor], Tensor] = lambda values: values) -> Tensor:
            own, other = sides(values).unbind(0)
            return (own + turned(other)) / 2

        return Answer(
            mean(spaces.identity(said.identity_code), lambda identity: identity * self.identity_signs),
            mean(said.expression, lambda units: units[:, self.units]),
            mean(said.pose, lambda pose: pose * self.pose_signs) * POSE_UNIT,
            spaces.identity_sigma(mean(code_sigma)),
            mean(expression_sigma, lambda units: units[:, self.units]),
            mean(pose_sigma) * POSE_UNIT,
        )
