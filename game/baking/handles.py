"""The 27 identity handles: where they sit, how far they reach, and what each of their nine sliders does.

CN112200236A [0085] moves, turns and scales local parts of the face. Each handle here is a Gaussian weight field around
a point of the base face (two mirrored fields for paired parts); a slider moves its field along an axis, turns it about
the field's weighted centre, or scales it from there. Rotations are linearised (a skew matrix) and scales are 1 + s, so
that every slider is one linear displacement field and 244 sliders are one linear basis:

    displacement[v] = sum over fields f of weight[f, v] * (A[f] @ (base[v] - HEAD_CENTRE) + c[f]),   (A, c) linear in
        the sliders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from game.baking.anatomy import FloatArray
from game.rig import PARTS, is_of
from sdk.schema import AXES, HANDLES

MIRROR = np.diag([-1.0, 1.0, 1.0])
TEETH_FOLLOW_MOUTH = 0.6
_NEGLIGIBLE = 0.004
_SIDE_SOFTNESS = 0.04
# These move the lids over the eyeball; the eye's own field moves it by its rigid field.
_LID_HANDLES = ("eye", "eye_inner", "eye_outer", "lid_upper", "lid_lower")
HEAD_CENTRE = np.array([0.0, 7.0, 0.5])
"""Positions that the sliders' maps act on are relative to this point (dm), for the sake of float32."""


@dataclass(frozen=True)
class Handle:
    """Centre (dm), Gaussian radius (dm) per axis, and whether it exists on both sides (the centre is then the left
    one's)."""

    centre: tuple[float, float, float]
    radius: tuple[float, float, float]
    paired: bool


def _handle(x: float, y: float, z: float, radius: float | tuple[float, float, float], paired: bool) -> Handle:
    return Handle((x, y, z), (radius, radius, radius) if isinstance(radius, float) else radius, paired)


HANDLE_FIELDS: dict[str, Handle] = {
    "brow_inner": _handle(0.15, 7.46, 1.38, 0.10, True),
    "brow_middle": _handle(0.35, 7.52, 1.33, 0.11, True),
    "brow_outer": _handle(0.55, 7.47, 1.12, 0.11, True),
    "eye": _handle(0.308, 7.284, 1.28, 0.17, True),
    "eye_inner": _handle(0.15, 7.265, 1.29, 0.065, True),
    "eye_outer": _handle(0.465, 7.295, 1.19, 0.075, True),
    "lid_upper": _handle(0.31, 7.36, 1.33, 0.085, True),
    "lid_lower": _handle(0.31, 7.205, 1.33, 0.085, True),
    "nose_root": _handle(0.0, 7.30, 1.43, 0.11, False),
    "nose_bridge": _handle(0.0, 7.10, 1.53, 0.11, False),
    "nose_tip": _handle(0.0, 6.94, 1.66, 0.11, False),
    "nose_wing": _handle(0.15, 6.90, 1.47, 0.085, True),
    "nose_base": _handle(0.0, 6.82, 1.50, 0.09, False),
    "mouth": _handle(0.0, 6.60, 1.42, 0.24, False),
    "lip_upper": _handle(0.0, 6.66, 1.50, 0.11, False),
    "lip_lower": _handle(0.0, 6.53, 1.47, 0.11, False),
    "mouth_corner": _handle(0.26, 6.60, 1.33, 0.09, True),
    "philtrum": _handle(0.0, 6.75, 1.48, 0.09, False),
    "chin": _handle(0.0, 6.25, 1.38, 0.17, False),
    "jaw_angle": _handle(0.64, 6.52, 0.66, (0.20, 0.27, 0.25), True),
    "jaw_line": _handle(0.42, 6.32, 1.00, (0.17, 0.19, 0.20), True),
    "cheekbone": _handle(0.52, 7.04, 1.14, 0.16, True),
    "cheek": _handle(0.52, 6.76, 1.05, 0.17, True),
    "forehead": _handle(0.0, 7.78, 1.25, 0.30, False),
    "temple": _handle(0.70, 7.50, 0.85, 0.20, True),
    "ear": _handle(0.84, 7.08, 0.50, 0.17, True),
    "cranium": _handle(0.0, 8.15, 0.20, 0.50, False),
}


@dataclass(frozen=True)
class Field:
    """One weight field.

    ``weights`` (V,); the ``centre`` (3,) about which it turns and scales; the ``handle`` it belongs to (none: the
    global scale); its ``side``, +1 left or middle, -1 right; ``rigid``, an eyeball's: it neither turns nor changes
    shape; ``follows``, for those, the share in which the eyeball as a whole is carried along by each other field, by
    its number.
    """

    weights: npt.NDArray[np.float64]
    centre: npt.NDArray[np.float64]
    handle: str | None
    side: int
    rigid: bool = False
    follows: tuple[tuple[int, float], ...] = ()


def build_fields(
    base: FloatArray,
    vertex_part: npt.NDArray[np.uint8],
    lid_rims: tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]],
) -> list[Field]:
    """Weight fields on the base face ``base`` (V, 3): all handles', the eyeballs' own, and last the constant one of
    ``head.scale``.

    ``lid_rims`` are the vertices around the left and the right eye: what carries them along carries the eyeball.
    """
    vertices = base.astype(np.float64)
    fields = []
    for name in HANDLES:
        handle = HANDLE_FIELDS[name]
        for side in (1, -1) if handle.paired else (1,):
            weights = _weights(name, handle, side, vertices, vertex_part)
            fields.append(Field(weights, weights @ vertices / weights.sum(), name, side))
    surroundings = [(i, field) for i, field in enumerate(fields) if field.handle not in _LID_HANDLES]
    for side, part, rim in ((1, "eye_left", lid_rims[0]), (-1, "eye_right", lid_rims[1])):
        weights = (vertex_part == PARTS.index(part)).astype(np.float64)
        follows = tuple((i, float(field.weights[rim].mean())) for i, field in surroundings)
        fields.append(Field(weights, weights @ vertices / weights.sum(), "eye", side, rigid=True, follows=follows))
    fields.append(Field(np.ones(len(base)), HEAD_CENTRE, None, 1))
    return fields


def _weights(
    name: str, handle: Handle, side: int, vertices: npt.NDArray[np.float64], vertex_part: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    offset = (vertices - np.array(handle.centre) * [side, 1, 1]) / np.array(handle.radius)
    weights = np.exp(-0.5 * (offset**2).sum(1))
    if handle.paired:
        weights /= 1 + np.exp(-np.clip(side * vertices[:, 0] / _SIDE_SOFTNESS, -30, 30))
    if name == "ear":
        weights = np.clip(1.4 * weights, 0, 1) * np.clip((abs(vertices[:, 0]) - 0.66) / 0.10, 0, 1)
    if name == "eye":
        weights = np.clip(1.35 * weights, 0, 1)
    eyes = is_of(vertex_part, "eye_left", "eye_right")
    teeth = is_of(vertex_part, "teeth_upper", "teeth_lower", "tongue")
    weights[eyes] = 0
    weights[teeth] = TEETH_FOLLOW_MOUTH if name == "mouth" else 0
    weights[weights < _NEGLIGIBLE] = 0
    return weights


def _generator(axis: str) -> npt.NDArray[np.float64]:
    """(3, 4) linear part about the centre, and translation, of one unit along one of the nine axes."""
    kind, index = axis[0], "xyz".index(axis[1])
    generator = np.zeros((3, 4))
    if kind == "t":
        generator[index, 3] = 1
    elif kind == "s":
        generator[index, index] = 1
    else:
        after, last = (index + 1) % 3, (index + 2) % 3
        generator[last, after], generator[after, last] = 1, -1
    return generator


def _rigid_generator(axis: str) -> npt.NDArray[np.float64]:
    """As :func:`_generator` for an eyeball, which keeps looking ahead and stays a ball: no rotation, a third of each
    scale all round."""
    if axis[0] == "r":
        return np.zeros((3, 4))
    if axis[0] == "s":
        return np.eye(3, 4) / 3
    return _generator(axis)


def slider_maps(fields: list[Field], ranges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(244, F, 3, 4) affine map (A | c), acting on base-face positions relative to :data:`HEAD_CENTRE`, that a slider
    at 1 adds to each field."""
    maps = np.zeros((len(ranges), len(fields), 3, 4))
    for index, field in enumerate(fields):
        if field.handle is None:
            maps[-1, index, :, :3] = np.eye(3)
        else:
            first = HANDLES.index(field.handle) * len(AXES)
            for k, axis in enumerate(AXES):
                generator = _rigid_generator(axis) if field.rigid else _generator(axis)
                if field.side < 0:
                    generator = MIRROR @ generator @ np.diag([-1.0, 1, 1, 1])
                maps[first + k, index] = generator
        centre = field.centre - HEAD_CENTRE
        maps[:, index, :, 3] -= maps[:, index, :, :3] @ centre
        for other, share in field.follows:
            maps[:, index, :, 3] += share * (maps[:, other, :, :3] @ centre + maps[:, other, :, 3])
    return maps * ranges[:, None, None, None]


def expand_basis(
    base: npt.NDArray[np.floating], weights: npt.NDArray[np.floating], maps: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """(S, V, 3) displacement field of every slider from (V, 3) base, (F, V) weights and (S, F, 3, 4) maps."""
    homogeneous = np.concatenate([base - HEAD_CENTRE, np.ones((len(base), 1))], 1)
    basis = np.zeros((len(maps), len(base), 3))
    for index in range(len(weights)):
        moved = np.flatnonzero(weights[index])
        for slider in np.flatnonzero(np.abs(maps[:, index]).max((1, 2))):
            basis[slider, moved] += weights[index, moved, None] * (homogeneous[moved] @ maps[slider, index].T)
    return basis
