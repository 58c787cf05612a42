"""Where the lids and the lips meet: paired rim vertices, and how a correction of their gap spreads over the skin around
them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from game.baking.anatomy import Anatomy, FloatArray
from game.rig import PARTS, is_of

# Two neighbouring vertices of the template on each rim, from which the edge loop is followed (dm).
_EYE_SEED = ((0.3110, 7.3315, 1.4107), (0.3490, 7.3300, 1.4080))
_MOUTH_SEED = ((0.0, 6.6080, 1.5530), (0.0220, 6.6100, 1.5500))
_EYE_REACH = 0.06
_MOUTH_REACH = 0.09
_ALONG = 0.03
_LID_REACH = 0.12
_LID_FRONT = 0.06
_LID_CLEARANCE = 0.012
_LASH_CLEARANCE = 0.024
_NEGLIGIBLE = 0.01


def edge_loop(quads: npt.NDArray[np.int32], first: int, second: int) -> list[int]:
    """The closed edge loop through two neighbouring vertices: straight on through vertices of four quads."""
    neighbours: dict[int, set[int]] = {}
    faces: dict[int, set[int]] = {}
    for index, quad in enumerate(quads):
        for a, b in zip(quad, np.roll(quad, 1), strict=True):
            neighbours.setdefault(int(a), set()).add(int(b))
            neighbours.setdefault(int(b), set()).add(int(a))
            faces.setdefault(int(a), set()).add(index)
    loop = [first, second]
    while True:
        previous, current = loop[-2:]
        ahead = [v for v in neighbours[current] if v != previous and not (faces[v] & faces[current] & faces[previous])]
        if len(ahead) != 1:
            raise ValueError(f"the edge loop is not defined at vertex {current}")
        if ahead[0] == first:
            return loop
        loop.append(ahead[0])


def bake_apertures(anatomy: Anatomy, base: FloatArray, mirror: npt.NDArray[np.int32]) -> dict[str, npt.NDArray]:
    """Arrays of :class:`game.apertures.Apertures` for the left eye, the right eye and the mouth."""
    half = len(anatomy.triangles) // 2
    quads = np.concatenate([anatomy.triangles[:half], anatomy.triangles[half:, 2:]], 1)
    eye = edge_loop(quads, *(_nearest(anatomy.template, point) for point in _EYE_SEED))
    mouth = edge_loop(quads, *(_nearest(anatomy.template, point) for point in _MOUTH_SEED))
    movable = is_of(anatomy.vertex_part, "skin", "lashes")
    groups = []
    for number, loop, reach, upper_share in (
        (0, eye, _EYE_REACH, 1.0),
        (1, [int(mirror[v]) for v in eye], _EYE_REACH, 1.0),
        (2, mouth, _MOUTH_REACH, 0.5),
    ):
        upper, lower, weights = _pairs(base, loop)
        spread = _spread(base, loop, upper, reach, upper_share) * movable[:, None]
        groups.append((upper, lower, weights, np.full(len(upper), number), spread))
    balls, lids, lid_ball, lid_clearance = _lids(anatomy, base)
    spread = np.concatenate([group[4] for group in groups], 1)
    moved = np.flatnonzero(np.abs(spread).max(1) > _NEGLIGIBLE)
    return {
        "aperture_upper": np.concatenate([group[0] for group in groups]).astype(np.int32),
        "aperture_lower": np.concatenate([group[1] for group in groups]).astype(np.int32),
        "aperture_lower_weights": np.concatenate([group[2] for group in groups]).astype(np.float32),
        "aperture_group": np.concatenate([group[3] for group in groups]).astype(np.int32),
        "aperture_moved": moved.astype(np.int32),
        "aperture_spread": spread[moved].astype(np.float16),
        "aperture_balls": balls,
        "aperture_lids": lids,
        "aperture_lid_ball": lid_ball,
        "aperture_lid_clearance": lid_clearance,
    }


def lid_rims(apertures: dict[str, npt.NDArray]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Vertices of the lid rims around the left and the right eye, from the arrays of :func:`bake_apertures`."""
    group = apertures["aperture_group"]
    upper, lower = apertures["aperture_upper"], apertures["aperture_lower"]
    left, right = (np.union1d(upper[group == eye], lower[group == eye]) for eye in (0, 1))
    return left, right


def _lids(anatomy: Anatomy, base: FloatArray) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray, npt.NDArray]:
    """Eyeball vertices (2, E), the lid vertices (L,) in front of them, the eyeball (L,) each covers and the clearance
    (L,) to keep, dm."""
    part = anatomy.vertex_part
    movable = is_of(part, "skin", "lashes")
    balls, lids, owners, clearances = [], [], [], []
    for number, name in enumerate(("eye_left", "eye_right")):
        ball = np.flatnonzero(part == PARTS.index(name))
        centre = base[ball].mean(0)
        offset = base - centre
        above = np.linalg.norm(offset, axis=1) - np.linalg.norm(base[ball] - centre, axis=1).mean()
        lid = np.flatnonzero(movable & (above > 0) & (above < _LID_REACH) & (offset[:, 2] > _LID_FRONT))
        balls.append(ball)
        lids.append(lid)
        owners.append(np.full(len(lid), number))
        most = np.where(part[lid] == PARTS.index("lashes"), _LASH_CLEARANCE, _LID_CLEARANCE)
        clearances.append(np.minimum(0.9 * above[lid], most))
    return (
        np.array(balls, np.int32),
        np.concatenate(lids).astype(np.int32),
        np.concatenate(owners).astype(np.int32),
        np.concatenate(clearances).astype(np.float32),
    )


def _nearest(template: FloatArray, point: tuple[float, float, float]) -> int:
    return int(np.linalg.norm(template - np.array(point), axis=1).argmin())


def _pairs(base: FloatArray, loop: list[int]) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """Each upper vertex of the loop between its corners, and the point of the lower half below it (two vertices and
    weights)."""
    x = base[loop, 0]
    start, end = int(x.argmin()), int(x.argmax())
    low, high = sorted((start, end))
    halves = [loop[low : high + 1], loop[high:] + loop[: low + 1]]
    upper, lower = sorted(halves, key=lambda half: -float(base[half, 1].mean()))
    lower = sorted(lower, key=lambda v: float(base[v, 0]))
    inner = [v for v in upper if v not in (loop[start], loop[end])]
    lower_x = base[lower, 0]
    after = np.clip(np.searchsorted(lower_x, base[inner, 0]), 1, len(lower) - 1)
    share = np.clip((base[inner, 0] - lower_x[after - 1]) / (lower_x[after] - lower_x[after - 1]), 0, 1)
    pairs = np.stack([np.array(lower)[after - 1], np.array(lower)[after]], 1)
    return np.array(inner), pairs, np.stack([1 - share, share], 1)


def _spread(base: FloatArray, loop: list[int], upper: npt.NDArray, reach: float, upper_share: float) -> npt.NDArray[np.float64]:
    """(V, pairs) how far each vertex moves up for each unit of a pair's correction: fully at the upper rim, fading with
    distance; vertices nearer to the lower rim move down by the rest."""
    to_loop = np.linalg.norm(base[:, None] - base[None, loop], axis=-1)
    nearest = np.array(loop)[to_loop.argmin(1)]
    share = np.where(np.isin(nearest, upper), upper_share, upper_share - 1)
    fade = np.exp(-((to_loop.min(1) / reach) ** 2))
    along = np.exp(-0.5 * ((base[:, None, 0] - base[None, upper, 0]) / _ALONG) ** 2) + 1e-12
    along /= along.sum(1, keepdims=True)
    spread = along * (share * fade)[:, None]
    if upper_share == 1:
        spread[upper] = np.eye(len(upper))
    return spread
