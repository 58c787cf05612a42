"""The styles part of the bake: the rig's arrays -> the arrays under ``styles/``."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from game.baking import eyewear
from game.baking.facial_hair import beard_textures, brow_textures
from game.baking.hair import grow_style
from game.baking.hair_pack import pack
from game.baking.head_surface import HeadSurface
from game.baking.textures import SCALP_KINDS, detail_tile, freckle_texture, lip_texture, scalp_kind, scalp_textures
from game.styles import EYEWEAR
from sdk.schema import REFERENCE

Arrays = dict[str, npt.NDArray]

SKIN, EYE_LEFT = 0, 1
log = logging.getLogger(__name__)


def bake_styles(rig_arrays: Mapping[str, npt.NDArray]) -> Arrays:
    """All ``styles/`` arrays. ``rig_arrays`` holds the ``rig/`` keys of the asset."""
    surface = head_surface(rig_arrays)
    arrays: Arrays = {}
    for name in REFERENCE.slot("hair").options[1:]:
        packed = pack(surface, grow_style(surface, name), np.random.default_rng(0))
        log.info("hair %s: %d ribbons, %d triangles", name, *ribbon_counts(packed))
        arrays |= {f"hair/{name}/{key}": array for key, array in packed.items()}
    arrays |= {
        f"eyewear/{name}/{key}": array for name in EYEWEAR[1:] for key, array in _eyewear(surface, rig_arrays, name).items()
    }
    skin = rig_arrays["rig/triangle_part"] == SKIN
    textures = {
        "brow": brow_textures(REFERENCE.slot("brow").options),
        "beard": beard_textures(REFERENCE.slot("beard").options),
        "lips": lip_texture(surface, rig_arrays["rig/uv"][skin])[None],
        "freckles": freckle_texture()[None],
    }
    for name, texture in textures.items():
        arrays |= {f"texture/{name}/{key}": array for key, array in cropped(texture).items()}
    scalps = scalp_textures(surface)
    kinds = [SCALP_KINDS.index(scalp_kind(hair)) for hair in REFERENCE.slot("hair").options]
    arrays |= {"scalp": np.stack([scalps[kind] for kind in SCALP_KINDS]), "scalp_of_hair": np.array(kinds, np.uint8)}
    arrays["detail"] = detail_tile()
    return {f"styles/{key}": array for key, array in arrays.items()}


def head_surface(rig_arrays: Mapping[str, npt.NDArray]) -> HeadSurface:
    """The base face's skin from the ``rig/`` arrays."""
    skin = rig_arrays["rig/triangle_part"] == SKIN
    return HeadSurface(
        vertices=rig_arrays["rig/base"].astype(float),
        triangles=rig_arrays["rig/triangles"][skin],
        ears=rig_arrays["rig/masks/ears"].astype(float),
        hidden=rig_arrays["rig/masks/mouth_interior"] > 0.5,
    )


def ribbon_counts(packed: Mapping[str, npt.NDArray]) -> tuple[int, int]:
    """Ribbons and triangles of a packed style."""
    lengths = packed["lengths"].astype(int)
    return len(lengths), int(2 * (lengths - 1).sum())


def _eyewear(surface: HeadSurface, rig_arrays: Mapping[str, npt.NDArray], name: str) -> Arrays:
    eye = np.unique(rig_arrays["rig/triangles"][rig_arrays["rig/triangle_part"] == EYE_LEFT])
    points = surface.vertices[eye]
    return eyewear.build(surface, eyewear.fit_face(surface, (points.min(0) + points.max(0)) / 2), eyewear.MODELS[name])


def cropped(textures: npt.NDArray[np.uint8]) -> Arrays:
    """Textures (n, H, W) cut to the window that any of them paints: ``pixels`` and its ``corner`` (row, column)."""
    painted = textures.max(0) > 0
    rows, columns = np.flatnonzero(painted.any(1)), np.flatnonzero(painted.any(0))
    window = textures[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return {"pixels": np.ascontiguousarray(window), "corner": np.array([rows[0], columns[0]], np.uint16)}
