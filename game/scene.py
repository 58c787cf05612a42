"""Everything about a picture that is not the character: camera, light, background, glasses, cloth, details of the skin.

Colours here are linear RGB (not sRGB-encoded) unless said otherwise. Directions are unit vectors that point from the face
towards the light, x to the person's own left, y up, z to the camera; lights stay in place when the head turns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from game.camera import Camera

Colour = tuple[float, float, float]

MIRRORED_SH = np.array([1, 1, 1, -1, -1, 1, 1, -1, 1], np.float32)
"""Sign of each ambient coefficient in the mirror (x -> -x)."""


@dataclass(frozen=True)
class Light:
    """A directional light: unit vector towards it, linear RGB irradiance."""

    direction: tuple[float, float, float]
    colour: Colour

    @classmethod
    def at(cls, azimuth: float, elevation: float, colour: Colour) -> Light:
        """A light ``azimuth`` degrees to the person's own left of the camera and ``elevation`` degrees above it."""
        a, e = math.radians(azimuth), math.radians(elevation)
        return cls((math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)), colour)

    def mirrored(self) -> Light:
        """The same light seen in a mirror (x -> -x)."""
        x, y, z = self.direction
        return replace(self, direction=(-x, y, z))


@dataclass(frozen=True)
class Look:
    """Details of skin, make-up and wear. Strengths are 0 (none) to 1 (strong); tints multiply the palette's linear RGB."""

    freckles: float = 0.0
    redness: float = 0.6
    oil: float = 0.45
    pores: float = 0.25
    eye_sockets: float = 0.35
    eye_liner: float = 0.15
    eye_shadow: float = 0.0
    eye_shadow_colour: Colour = (0.12, 0.07, 0.06)
    lip_gloss: float = 0.35
    lip_cover: float = 0.9
    brow_density: float = 1.0
    beard_density: float = 1.0
    detail_shift: float = 0.0
    skin_tint: Colour = (1.0, 1.0, 1.0)
    hair_tint: Colour = (1.0, 1.0, 1.0)
    iris_tint: Colour = (1.0, 1.0, 1.0)
    lip_tint: Colour = (1.0, 1.0, 1.0)


def ambient(level: Colour = (0.3, 0.3, 0.31), sky: float = 0.25, front: float = 0.2, side: float = 0.0) -> NDArray[np.float32]:
    """Ambient light (9, 3): irradiance over the normal (x, y, z) as c0 + c1 y + c2 z + c3 x + c4 xy + c5 yz + c6 (3y^2-1)
    + c7 xz + c8 (x^2-z^2). ``sky``, ``front`` and ``side`` are its slopes relative to ``level``."""
    coefficients = np.zeros((9, 3), np.float32)
    coefficients[:4] = np.outer([1.0, sky, front, side], level)
    return coefficients


def gradient(top: Colour, bottom: Colour) -> NDArray[np.uint8]:
    """A background picture (64, 1, 3), sRGB uint8: a vertical gradient between two sRGB colours in 0-255."""
    share = np.linspace(0.0, 1.0, 64)[:, None, None]
    return np.clip((1 - share) * np.asarray(top) + share * np.asarray(bottom) + 0.5, 0, 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Scene:
    """How a character is photographed.

    ``background``: sRGB uint8 (height, width, 3), stretched over the picture. ``glasses``: 0 for none, else the number of an
    eyewear model. ``gaze``: (x, y) of the eyes in [-1, 1], x to the person's own left, y up, as for :class:`game.rig.Rig`.
    """

    camera: Camera = field(default_factory=Camera.portrait)
    key: Light = field(default_factory=lambda: Light.at(32.0, 34.0, (1.0, 0.97, 0.93)))
    fill: Light = field(default_factory=lambda: Light.at(-50.0, 8.0, (0.14, 0.15, 0.17)))
    rim: Light = field(default_factory=lambda: Light.at(-140.0, 30.0, (0.4, 0.44, 0.5)))
    ambient: NDArray[np.float32] = field(default_factory=ambient)
    exposure: float = 0.86
    background: NDArray[np.uint8] = field(default_factory=lambda: gradient((96, 100, 106), (48, 51, 56)))
    glasses: int = 0
    glasses_colour: Colour = (0.015, 0.014, 0.014)
    lens_tint: float = 0.06
    cloth: Colour = (0.05, 0.09, 0.14)
    collar: float = 0.5
    look: Look = field(default_factory=Look)
    gaze: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def studio(cls, size: int = 256) -> Scene:
        """The default scene: portrait framing, soft key from the upper left of the person, grey backdrop."""
        return cls(camera=Camera.portrait(size))

    def mirrored(self, width: int = 256) -> Scene:
        """The scene in which the mirrored character gives the mirror image of a picture ``width`` pixels wide."""
        return replace(
            self,
            camera=self.camera.mirrored(width),
            key=self.key.mirrored(),
            fill=self.fill.mirrored(),
            rim=self.rim.mirrored(),
            ambient=self.ambient * MIRRORED_SH[:, None],
            background=np.ascontiguousarray(self.background[:, ::-1]),
            gaze=(-self.gaze[0], self.gaze[1]),
        )
