"""The camera: where the points of a head fall in the picture.

One pinhole camera looks along -z (into the picture) at the head. It never turns: the head's pitch and yaw are parameters of
the character, and the roll of a photo is taken out by alignment, so here roll is a rotation of the picture about its centre.
``train.rig`` projects with the same formula, in torch.

Frame: x to the person's own left (picture right), y up, z towards the camera, in decimetres. Pixels: x right, y down, the
centre of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Camera:
    """A perspective camera.

    ``focal`` is in pixels; ``position`` is the camera's place in dm; ``centre`` is the pixel in which the camera's axis
    pierces the picture; ``roll`` is in degrees, positive turns the picture clockwise (the head tilts to the picture's right).
    """

    focal: float
    position: tuple[float, float, float]
    centre: tuple[float, float]
    roll: float = 0.0

    @classmethod
    def portrait(
        cls, size: int = 256, view: float = 3.4, distance: float = 11.0, target: tuple[float, float] = (0.0, 7.14)
    ) -> Camera:
        """The default framing: head, neck and collar in a square picture.

        ``view``: height in dm that the picture shows in the plane of the face; ``distance``: from the camera to that plane,
        in dm; ``target``: the point (x, y) in dm that falls in the middle of the picture.
        """
        plane = 0.3
        return cls(focal=distance / view * size, position=(*target, distance + plane), centre=(size / 2.0, size / 2.0))

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Project points (..., 3) in dm to (..., 3): x and y in pixels, and the depth along the camera's axis in dm."""
        offset = np.asarray(points, np.float32) - np.asarray(self.position, np.float32)
        depth = -offset[..., 2]
        x = self.focal * offset[..., 0] / depth
        y = -self.focal * offset[..., 1] / depth
        cos, sin = math.cos(math.radians(self.roll)), math.sin(math.radians(self.roll))
        projected = np.empty(offset.shape, np.float32)
        projected[..., 0] = cos * x - sin * y + self.centre[0]
        projected[..., 1] = sin * x + cos * y + self.centre[1]
        projected[..., 2] = depth
        return projected

    def scaled(self, factor: float) -> Camera:
        """The same view in a picture ``factor`` times as large."""
        return replace(self, focal=self.focal * factor, centre=(self.centre[0] * factor, self.centre[1] * factor))

    def mirrored(self, width: int) -> Camera:
        """The camera that sees the mirrored head (x -> -x) as the mirror image of a picture ``width`` pixels wide."""
        x, y, z = self.position
        return replace(self, position=(-x, y, z), centre=(width - self.centre[0], self.centre[1]), roll=-self.roll)
