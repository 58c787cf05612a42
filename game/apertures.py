"""Lids and lips that never cross, and eyes that close for every identity.

Sliders and action units are displacement fields, so their sum can push the upper lid through the lower one, or leave an
eye half open although ``eye_close`` is 1. Along each opening, pairs of upper and lower rim points measure the gap; with
c the closing unit and g the gap without what the closing unit itself does, the gap becomes max(0, (1 - c) g). The
difference moves the rim and fades out over the skin around it. Last, lid skin that would sink into the eyeball is
brought forward onto it. :class:`train.rig.TorchRig` does the same with gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]

SMALLEST_SQUARE = np.float32(2e-3)
"""Where the eyeball's surface turns away from the viewer (dm²); below it the slope of its height is not usable."""

GROUPS = ("eye_left", "eye_right", "mouth")


@dataclass(frozen=True)
class Apertures:
    """Rim pairs of both eyes and the mouth.

    ``upper`` (P,) rim vertices; ``lower`` (P, 2) and ``lower_weights`` (P, 2) the rim point under each; ``group`` (P,)
    index into :data:`GROUPS`; ``moved`` (M,) vertices that a correction moves and ``spread`` (M, P) how far up each
    goes per dm of correction; ``closing_gap`` (P,) what the closing unit of the pair's eye at 1 adds to the gap (0 for
    the mouth), dm. ``balls`` (2, E) vertices of the eyeballs; ``lids`` (L,) lid vertices, ``lid_ball`` (L,) the eyeball
    each covers, ``lid_clearance`` (L,) its least height over it.
    """

    upper: IntArray
    lower: IntArray
    lower_weights: FloatArray
    group: IntArray
    moved: IntArray
    spread: FloatArray
    balls: IntArray
    lids: IntArray
    lid_ball: IntArray
    lid_clearance: FloatArray
    closing_gap: FloatArray

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray], closing_fields: FloatArray) -> Apertures:
        """From the asset's ``rig/aperture_*`` arrays (keys without the prefix) and the (2, V, 3) fields of the closing
        units."""
        names = [field.name for field in fields(cls) if field.name != "closing_gap"]
        apertures = cls(**{name: arrays[name] for name in names}, closing_gap=np.zeros(len(arrays["upper"]), np.float32))
        for eye, field in enumerate(closing_fields):
            apertures.closing_gap[apertures.group == eye] = apertures.gaps(field)[apertures.group == eye]
        return apertures

    def gaps(self, vertices: FloatArray) -> FloatArray:
        """(P,) height of the upper rim over the lower one, dm, in unposed vertices (V, 3)."""
        height = vertices[:, 1]
        return height[self.upper] - (height[self.lower] * self.lower_weights).sum(1)

    def keep_apart(self, vertices: FloatArray, closing: FloatArray) -> None:
        """Correct unposed vertices (V, 3) in place; ``closing`` (2,) in [0, 1] are eye_close_left and
        eye_close_right."""
        closed = np.append(closing, np.float32(0))[self.group]
        gaps = self.gaps(vertices)
        wanted = np.maximum((1 - closed) * (gaps - closed * self.closing_gap), 0)
        vertices[self.moved, 1] += self.spread @ (wanted - gaps)
        # What the spread left over, on the upper rim alone.
        vertices[self.upper, 1] += wanted - self.gaps(vertices)
        self._cover_eyeballs(vertices)

    def _cover_eyeballs(self, vertices: FloatArray) -> None:
        balls = vertices[self.balls]  # (2, E, 3)
        centres = balls.mean(1)
        radii = np.sqrt(((balls - centres[:, None]) ** 2).sum(2).mean(1))
        offset = vertices[self.lids] - centres[self.lid_ball]
        least = (radii[self.lid_ball] + self.lid_clearance) ** 2 - offset[:, 0] ** 2 - offset[:, 1] ** 2
        depth = np.sqrt(np.maximum(least, SMALLEST_SQUARE))
        vertices[self.lids, 2] += np.maximum(depth - offset[:, 2], 0) * (least > SMALLEST_SQUARE)
