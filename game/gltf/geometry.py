"""A character's surfaces as glTF wants them: own vertices per texture coordinate, metres, morph targets relative to
the resting face.

glTF's axes are the rig's (x to the person's own left, y up, z forward); the origin moves to the pivot of the neck, so
that the head joint has no offset and the inverse bind matrices are the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from game.character import Character
from game.rasteriser import vertex_normals
from game.rig import Rig
from game.style_parts import HairStyle
from sdk.schema import REFERENCE

Array = NDArray[np.float32]

METRES = np.float32(0.1)
"""Metres in a decimetre."""
STILL = np.float32(2e-4)
"""A vertex that a morph target moves by less than this, in dm, stays where it is (0.02 mm)."""
STILL_HAIR = np.float32(5e-3)
"""The same for hair (0.5 mm): only what a viewer would see as a gap to the skin is worth its bytes."""
TAPER_STEPS = 33
STILL_NORMAL = np.float32(0.01)


@dataclass(frozen=True)
class Shapes:
    """A resting face and what moves it.

    ``neutral`` (V, 3) float32 dm, this identity at rest; ``names`` and ``weights`` (K,) of the morph targets;
    ``moved`` (K, V, 3) float32 dm, the resting face with one target at 1.
    """

    neutral: Array
    names: tuple[str, ...]
    weights: Array
    moved: Array


def face_shapes(rig: Rig, character: Character, arkit: bool) -> Shapes:
    """A character's morph targets: the schema's 23 action units or the 52 ARKit shapes, weighted as its expression."""
    neutral = rig.vertices(character.identity)
    if not arkit:
        units = np.eye(len(REFERENCE.expression), dtype=np.float32)
        moved = np.stack([rig.vertices(character.identity, unit) for unit in units])
        return Shapes(neutral, REFERENCE.expression, character.expression, moved)
    moved = neutral + rig.arkit_basis
    for name, shape in zip(rig.arkit_names, moved, strict=True):
        rig.apertures.keep_apart(shape, np.array([name == "eyeBlinkLeft", name == "eyeBlinkRight"], np.float32))
    return Shapes(neutral, rig.arkit_names, rig.arkit_from_expression(character.expression), moved)


@dataclass(frozen=True)
class Surface:
    """Triangles with vertices of their own.

    ``source`` (N,): which rig or hair vertex each is; ``triangles`` (T, 3) uint32 into them; ``uv`` (N, 2) uint16,
    65535 is 1.
    """

    source: NDArray[np.int64]
    triangles: NDArray[np.uint32]
    uv: NDArray[np.uint16]

    @classmethod
    def split(cls, triangles: NDArray[np.integer], uv: NDArray[np.floating]) -> Surface:
        """Vertices of triangles (T, 3), one for every texture coordinate (T, 3, 2) in [0, 1] that a vertex has."""
        fixed = np.round(np.clip(uv, 0, 1) * 65535).astype(np.int64)
        key = (triangles.astype(np.int64) << 32) | (fixed[..., 0] << 16) | fixed[..., 1]
        unique, corner = np.unique(key.ravel(), return_inverse=True)
        coordinates = np.stack([(unique >> 16) & 0xFFFF, unique & 0xFFFF], axis=1)
        return cls(unique >> 32, corner.reshape(-1, 3).astype(np.uint32), coordinates.astype(np.uint16))


@dataclass(frozen=True)
class Morph:
    """One morph target of a surface.

    ``where`` (M,) vertices change; their ``positions`` by (M, 3) metres, their ``normals`` by (M, 3), or not at all.
    """

    where: NDArray[np.intp]
    positions: Array
    normals: Array | None


def normals_of(vertices: Array, triangles: NDArray[np.int32]) -> Array:
    """Area-weighted unit normals (V, 3)."""
    normals = np.zeros_like(vertices)
    vertex_normals(np.ascontiguousarray(vertices), triangles, normals)
    return normals


def skin_morphs(rig: Rig, shapes: Shapes) -> list[Morph]:
    """The morph targets on the vertices of the rig, before :func:`on_surface`."""
    rest = normals_of(shapes.neutral, rig.triangles)
    morphs = []
    for moved in shapes.moved:
        offset, turn = moved - shapes.neutral, normals_of(moved, rig.triangles) - rest
        changed = (np.abs(offset).max(1) > STILL) | (np.abs(turn).max(1) > STILL_NORMAL)
        where = np.flatnonzero(changed)
        morphs.append(Morph(where, offset[where] * METRES, turn[where]))
    return morphs


def on_surface(morph: Morph, surface: Surface, count: int) -> Morph:
    """A morph target of the rig (``count`` vertices) on a surface."""
    row = np.full(count, -1)
    row[morph.where] = np.arange(len(morph.where))
    rows = row[surface.source]
    where = np.flatnonzero(rows >= 0)
    normals = None if morph.normals is None else morph.normals[rows[where]]
    return Morph(where, morph.positions[rows[where]], normals)


def hair_morphs(hair: HairStyle, shapes: Shapes) -> list[Morph]:
    """The morph targets of the hair; it shifts with the skin under it, and its normals stay."""
    rest = hair.attach(shapes.neutral)
    morphs = []
    for moved in shapes.moved:
        offset = hair.attach(moved) - rest
        where = np.flatnonzero(np.abs(offset).max(1) > STILL_HAIR)
        morphs.append(Morph(where, offset[where] * METRES, None))
    return morphs


def even_ribbons(hair: HairStyle, vertices: Array) -> tuple[Array, Array]:
    """Hair vertices (N, 3) with every ribbon equally wide all along, and what its width was.

    The mean widths (TAPER_STEPS,) from root to tip, relative to the widest, go into the alpha of the hair's texture
    instead: where ribbons taper to less than a pixel, a viewer would read the texture's coarsest mip level, whose alpha
    means nothing.
    """
    pairs = vertices.reshape(-1, 2, 3)
    middle, half = pairs.mean(1, keepdims=True), (pairs[:, 1:] - pairs[:, :1]) / 2
    length = np.linalg.norm(half, axis=2, keepdims=True)
    along = hair.along[::2]
    ribbon = np.cumsum(along == 0) - 1
    widest = np.zeros(ribbon[-1] + 1, np.float32)
    np.maximum.at(widest, ribbon, length[:, 0, 0])
    wide = half / np.maximum(length, 1e-9) * widest[ribbon][:, None, None]
    bins = np.round(along * (TAPER_STEPS - 1)).astype(int)
    count = np.bincount(bins, minlength=TAPER_STEPS)
    share = np.bincount(bins, length[:, 0, 0] / widest[ribbon], TAPER_STEPS)
    steps = np.arange(TAPER_STEPS)
    taper = np.interp(steps, steps[count > 0], share[count > 0] / count[count > 0])
    return np.concatenate([middle - wide, middle + wide], axis=1).reshape(-1, 3), taper.astype(np.float32)


def facing_outwards(triangles: NDArray[np.int32], vertices: Array, normals: Array) -> NDArray[np.int32]:
    """Triangles (T, 3) wound so that their front is where their vertices' normals point.

    Viewers turn the normals of back faces round; the renderer goes by the normals alone.
    """
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    front = np.cross(b - a, c - a)
    outwards = (front * normals[triangles].sum(axis=1)).sum(axis=1) >= 0
    return np.where(outwards[:, None], triangles, triangles[:, [0, 2, 1]])
