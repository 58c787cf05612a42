"""Layers of strands -> the arrays of one hair style in the asset; :func:`game.styles.ribbons` is the way back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from game.baking.hair_flow import Strands, travelled
from game.baking.head_surface import Floats, HeadSurface, smoothstep
from game.style_parts import RIBBON_CENTRE, RIBBON_EXTENT, outward

_REACH = 0.16
_CROWD = 14.0


def openness(layers: Sequence[Strands]) -> list[Floats]:
    """(N, S) in [0, 1] per layer: 0 deep under other hair, 1 outermost; less at the roots, which hair beside them
    shades.
    """
    points = np.concatenate([s.paths.reshape(-1, 3) for s in layers])
    away = outward(points)
    neighbours = cKDTree(points).query_ball_point(points, _REACH)
    crowd = np.array([((points[near] - points[i]) @ away[i] > 0.02).sum() for i, near in enumerate(neighbours)])
    sky = np.split(np.exp(-crowd / _CROWD), np.cumsum([s.paths[..., 0].size for s in layers])[:-1])
    out = []
    for strands, values in zip(layers, sky, strict=True):
        position = travelled(strands.paths)
        out.append(values.reshape(position.shape) * (0.5 + 0.5 * smoothstep(0.0, 0.12, position)))
    return out


def pack(surface: HeadSurface, layers: Sequence[Strands], rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    """Arrays of P points of N strands, layer after layer.

    points: (P, 3) uint16 in the box RIBBON_CENTRE +- RIBBON_EXTENT; openness: (P,) uint8; lengths: (N,) uint8 points
    per strand; shape: (N, 3) uint8: width (1/1000 dm), twist (128 is none), random; anchor_indices: (N, 3, 6) uint16,
    anchor_weights: (N, 3, 6) uint8: what root, middle and tip hang on.
    """
    points = np.concatenate([s.paths.reshape(-1, 3) for s in layers])
    scaled = (points - np.array(RIBBON_CENTRE)) / RIBBON_EXTENT
    if np.abs(scaled).max() >= 1:
        raise ValueError("hair outside of the box it is stored in")
    indices, weights = surface.bind(np.concatenate([_ends(s.paths) for s in layers]).reshape(-1, 3))
    count = sum(len(s.paths) for s in layers)
    shape = np.stack(
        [
            np.concatenate([s.width for s in layers]) * 1000,
            128 + 30 * rng.normal(size=count).clip(-3, 3),
            np.concatenate([s.random for s in layers]) * 255,
        ],
        1,
    )
    return {
        "points": np.rint(scaled * 32767 + 32768).astype(np.uint16),
        "openness": np.rint(np.concatenate([o.ravel() for o in openness(layers)]) * 255).astype(np.uint8),
        "lengths": np.concatenate([np.full(len(s.paths), s.count, np.uint8) for s in layers]),
        "shape": np.rint(shape).clip(0, 255).astype(np.uint8),
        "anchor_indices": indices.reshape(-1, 3, 6),
        "anchor_weights": np.rint(weights * 255).astype(np.uint8).reshape(-1, 3, 6),
    }


def _ends(paths: Floats) -> Floats:
    """Root, the point half way, and tip of strands (N, S, 3): (N, 3, 3)."""
    position = travelled(paths)
    middle = np.abs(position / position[:, -1:] - 0.5).argmin(1)
    return np.stack([paths[:, 0], paths[np.arange(len(paths)), middle], paths[:, -1]], 1)
