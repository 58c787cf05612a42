"""Pictures of characters, on the CPU, with pixel-aligned labels, depth and landmarks.

    renderer = Renderer()
    picture = renderer.render(Character.base(), Scene.studio())
    picture.image   # uint8 (256, 256, 3), sRGB

The picture is drawn with 2 x 2 samples a pixel: head, spectacles and hair into an index buffer (:mod:`game.rasteriser`), the
key light's view of them into a shadow map, then every pixel is shaded (:mod:`game.shading`). It needs no display and no GPU, and
the same character and scene give the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from game.apertures import GROUPS
from game.assembly import Assembly
from game.camera import Camera
from game.character import Character
from game.hair_pruning import pruned
from game.kernels import DEVICE, KERNEL
from game.lighting import Lights, scalars, smoothstep
from game.materials import Textures
from game.pigments import paint
from game.rasteriser import rasterise_depth
from game.rig import PARTS, Rig, rotation
from game.scene import Light, Scene
from game.shading import blend_lenses, resolve, shade_picture, tone_curve
from game.style_parts import HairStyle
from game.styles import Styles
from game.visibility import SampleBuffers

Array = NDArray[np.float32]

_SHADOW_SIZE = 240
_SHADOW_REACH = 3.9
"""Width in dm of the square that the shadow map covers, about the head."""
_SHADOW_CENTRE = np.array([0.0, 7.0, 0.2], np.float32)
_LID_SHADOW = 0.075
"""Length in dm of the shadow that the upper lid throws on the eye."""


@dataclass(frozen=True, eq=False)
class Rendering:
    """A picture of a character.

    image: (S, S, 3) uint8 sRGB. labels: (S, S) uint8, indices into :data:`game.labels.LABELS`. depth: (S, S) float32, dm along
    the camera's axis, inf where the label is background. landmarks: (468, 2) float32 pixels. camera: the one that drew it.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    depth: Array
    landmarks: Array
    camera: Camera


@njit(**KERNEL)
def _seen_by_light(packed, frame, seen):
    """Packed vertices in the shadow map: column, row, nearness."""
    for i in range(packed.shape[0]):
        for k in range(3):
            seen[i, k] = frame[k, 0] * packed[i, 0] + frame[k, 1] * packed[i, 1] + frame[k, 2] * packed[i, 2] + frame[k, 3]


@njit(**KERNEL)
def _stretched(picture, size):
    """A picture (h, w, 3) uint8 stretched to (size, size, 3), bilinearly: first the rows, then the columns."""
    height, width = picture.shape[0], picture.shape[1]
    tall = np.empty((size, width * 3), np.float32)
    flat = picture.reshape(height, width * 3)
    for row in range(size):
        y0, y1, share = _between(row, size, height)
        for k in range(width * 3):
            tall[row, k] = np.float32(flat[y0, k]) + share * (np.float32(flat[y1, k]) - np.float32(flat[y0, k]))
    out = np.empty((size, size, 3), np.uint8)
    for column in range(size):
        x0, x1, share = _between(column, size, width)
        for row in range(size):
            for k in range(3):
                first = tall[row, 3 * x0 + k]
                out[row, column, k] = np.uint8(first + share * (tall[row, 3 * x1 + k] - first) + np.float32(0.5))
    return out


@njit(**DEVICE)
def _between(place, size, count):
    """The two of ``count`` lines between which line ``place`` of ``size`` falls, and the share of the second."""
    at = (np.float32(place) + np.float32(0.5)) * np.float32(count) / np.float32(size) - np.float32(0.5)
    at = min(max(at, np.float32(0.0)), np.float32(count - 1))
    first = int(at)
    return first, min(first + 1, count - 1), at - np.float32(first)


def _halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (H, W) or (H, W, C) at half the size: means of 2 x 2 pixels."""
    wide = pixels.astype(np.uint16)
    return ((wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2] + 2) // 4).astype(np.uint8)


def _shadow_frame(light: Light) -> Array:
    """(3, 4): maps a point in dm to column and row of the shadow map and to its nearness to the light."""
    towards = np.asarray(light.direction, np.float64)
    side = np.cross([0.0, 1.0, 0.0], towards)
    side /= max(float(np.linalg.norm(side)), 1e-6)
    above = np.cross(towards, side)
    scale = _SHADOW_SIZE / _SHADOW_REACH
    frame = np.zeros((3, 4))
    frame[0, :3], frame[1, :3], frame[2, :3] = side * scale, above * scale, towards
    frame[:2, 3] = _SHADOW_SIZE / 2 - frame[:2, :3] @ _SHADOW_CENTRE
    return frame.astype(np.float32)


def _mouth_line(rig: Rig) -> float:
    """Template y between the lips of the base face."""
    rims = rig.apertures
    mouth = rims.group == GROUPS.index("mouth")
    lower = (rig.base[rims.lower[mouth], 1] * rims.lower_weights[mouth]).sum(1)
    return float((rig.base[rims.upper[mouth], 1] + lower).mean() / 2)


@cache
def _hair(option: int) -> HairStyle | None:
    """A hair style without what is never seen; shared by all renderers."""
    style = Styles.load().hair[option]
    return pruned(style, Rig.load()) if style is not None else None


class Renderer:
    """Draws characters at ``size`` x ``size`` pixels. Not thread-safe (it reuses its buffers); make one per thread."""

    def __init__(self, size: int = 256) -> None:
        self.size = size
        self.rig, self.styles = Rig.load(), Styles.load()
        self._buffers = SampleBuffers(size)
        self._shadow_map = np.zeros((_SHADOW_SIZE, _SHADOW_SIZE), np.float32)
        self._tone = tone_curve()
        self._assemblies: dict[tuple[int, int], Assembly] = {}
        # Texels smaller than a sample would only alias.
        shown = _halved if size <= 320 else np.array
        styles = self.styles
        self._brows = [shown(texture) for texture in styles.brow]
        self._beards = [shown(texture) for texture in styles.beard]
        self._scalps = [shown(texture) for texture in styles.scalp]
        self._skin = tuple(shown(texture) for texture in (styles.detail, styles.freckles, styles.lips))
        self._eyes = tuple(
            self.rig.base[np.unique(self.rig.triangles[self.rig.part == PARTS.index(part)])].mean(0).astype(np.float32)
            for part in ("eye_left", "eye_right")
        )
        self._mouth_line = _mouth_line(self.rig)

    def render(self, character: Character, scene: Scene) -> Rendering:
        """Draw a character in a scene.

        ``scene.camera`` is for a picture of this renderer's size; :class:`ValueError` where its background is no picture.
        """
        if scene.background.ndim != 3 or scene.background.shape[2] != 3 or scene.background.dtype != np.uint8:
            raise ValueError(
                f"background must be uint8 (height, width, 3), not {scene.background.dtype} {scene.background.shape}"
            )
        style = character.style
        assembly = self._assembly(style["hair"], scene.glasses)
        face = self.rig.vertices(character.identity, character.expression, gaze=scene.gaze)
        turned = assembly.place(face, character.pose)
        buffers = self._buffers
        buffers.draw(assembly, scene.camera)
        lights = self._lights(assembly, scene)
        up = rotation(float(character.pose[0]), float(character.pose[1]))[:, 1]
        pigments = paint(style, scene, self.styles.palettes, self._eyes, up, self._mouth_line, self._mouth_light(face))
        textures = Textures(*self._skin, self._brows[style["brow"]], self._beards[style["beard"]], self._scalps[style["hair"]])
        size = self.size
        eye_point = np.asarray(scene.camera.position, np.float32)
        background = _stretched(np.ascontiguousarray(scene.background), size)
        shown, seen = np.zeros((size * size, 3), np.float32), np.empty((size, size, 4), np.uint8)
        shade_picture(
            buffers.screen, assembly.packed, assembly.triangles, assembly.material, buffers.index, buffers.nearness, lights,
            pigments, textures, self._shadow_map, eye_point, self._head_up(scene.camera, up), background, self._tone, shown, seen,
        )  # fmt: skip
        image, labels = np.empty((size, size, 3), np.uint8), np.empty((size, size), np.uint8)
        depth = np.empty((size, size), np.float32)
        resolve(shown, seen, buffers.nearness, image, labels, depth)
        if len(assembly.lenses):
            self._draw_lenses(assembly, scene, lights, eye_point, image)
        landmarks = scene.camera.project(self.rig.landmarks(turned))[:, :2]
        return Rendering(image, labels, depth, np.ascontiguousarray(landmarks), scene.camera)

    def _mouth_light(self, face: Array) -> float:
        """Share of the light on the front teeth of a face (V, 3) that comes in between its lips: little where they are shut, all
        where they are 3.5 mm apart."""
        rims = self.rig.apertures
        gap = rims.gaps(face)[rims.group == GROUPS.index("mouth")].max()
        return float(smoothstep(np.float32(0.005), np.float32(0.035), gap))

    def _assembly(self, hair: int, glasses: int) -> Assembly:
        key = (hair, glasses)
        if key not in self._assemblies:
            self._assemblies[key] = Assembly(self.rig, _hair(hair), self.styles.eyewear[glasses])
        return self._assemblies[key]

    def _lights(self, assembly: Assembly, scene: Scene) -> Lights:
        """The scene's light for the kernels, with the shadow map drawn."""
        frame = _shadow_frame(scene.key)
        seen = np.empty((len(assembly.packed), 3), np.float32)
        _seen_by_light(assembly.packed, frame, seen)
        self._shadow_map[:] = -1e9
        rasterise_depth(seen, assembly.triangles[: assembly.head[1]], False, np.float32(1.0), self._shadow_map)
        rasterise_depth(seen, assembly.shadow_casters, True, np.float32(1.0), self._shadow_map)

        exposure = np.float32(scene.exposure)
        lamps = (
            scalars(values)
            for light in (scene.key, scene.fill, scene.rim)
            for values in (light.direction, np.asarray(light.colour) * exposure)
        )
        return Lights(*lamps, ambient=scalars(scene.ambient * exposure), frame=scalars(frame))

    def _head_up(self, camera: Camera, up: Array) -> Array:
        """Step of one sample up the head in the picture, and the length of the lid's shadow in samples."""
        roll = math.radians(camera.roll)
        x, y = float(up[0]), -float(up[1])
        x, y = math.cos(roll) * x - math.sin(roll) * y, math.sin(roll) * x + math.cos(roll) * y
        length = max(math.hypot(x, y), 1e-6)
        reach = max(2.0, _LID_SHADOW * 2 * camera.focal / camera.position[2])
        return np.array([x / length, y / length, reach], np.float32)

    def _draw_lenses(self, assembly: Assembly, scene: Scene, lights: Lights, eye_point: Array, image: NDArray[np.uint8]) -> None:
        """Blend the spectacles' glass over the picture, where nothing is in front of it."""
        index = self._buffers.draw_lenses(assembly)
        opacity = np.float32(max(assembly.eyewear.lens_opacity, scene.lens_tint))
        colour = assembly.eyewear.lens_colour.astype(np.float32)
        blend_lenses(
            self._buffers.screen, assembly.packed, assembly.lenses, index, lights, eye_point, colour, opacity, self._tone, image
        )
