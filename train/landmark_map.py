"""Find where MediaPipe's 468 FaceMesh points sit on the game's mesh.

    python -m train.landmark_map           # writes game/baking/landmark_map.json; then: python -m game.bake --only rig

Renders of many people, poses and lights, whose geometry and camera are known, go through FaceMesh. Each point's ray
meets the mesh in a triangle; as all heads share one mesh, the median over the renders of the hit positions *on the base
face* is the point's place. The places are made symmetric and bound to the nearest triangle of the skin. The rims of
lids and lips come apart when they move, so their points are bound to the right rim by name instead: a point between the
lids belongs to the upper or to the lower one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm
from trimesh import Trimesh
from trimesh.triangles import closest_point, points_to_barycentric

from game.apertures import GROUPS
from game.camera import Camera
from game.character import Character
from game.renderer import Renderer
from game.rig import PARTS, Rig
from game.scene import Light, Scene
from sdk.schema import REFERENCE
from train.facemesh import INPUT_SIZE, FaceMesh
from train.mediapipe_weights import load_facemesh

OUTPUT = Path(__file__).parents[1] / "game" / "baking" / "landmark_map.json"
POINTS = 468
_SAMPLES = 160
_RENDER_SIZE = 384
_FACING = 0.25

# MediaPipe's points on the rims, from the person's right to left: corner, ..., corner.
EYE_RIGHT_UPPER = (33, 246, 161, 160, 159, 158, 157, 173, 133)
EYE_RIGHT_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
EYE_LEFT_UPPER = (362, 398, 384, 385, 386, 387, 388, 466, 263)
EYE_LEFT_LOWER = (362, 382, 381, 380, 374, 373, 390, 249, 263)
LIPS_INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LIPS_INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
RIMS = {
    "eye_right": (EYE_RIGHT_UPPER, EYE_RIGHT_LOWER),
    "eye_left": (EYE_LEFT_UPPER, EYE_LEFT_LOWER),
    "mouth": (LIPS_INNER_UPPER, LIPS_INNER_LOWER),
}


@dataclass(frozen=True)
class Binding:
    """``vertices`` (468, 3) and barycentric ``weights`` (468, 3) of each point; ``mirror`` (468,) the point on the
    other side."""

    vertices: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    mirror: npt.NDArray[np.int32]


def main() -> None:
    """Command line."""
    rig = Rig.load()
    places, spread = measure(rig, _SAMPLES, np.random.default_rng(0))
    binding = bind(rig, places)
    bound = rig.base[binding.vertices] * binding.weights[..., None]
    moved = 100 * np.linalg.norm(bound.sum(1) - places, axis=1)
    print(f"spread over renders: median {100 * np.median(spread):.2f} mm")
    print(f"moved by binding: median {np.median(moved):.2f} mm")
    fields = {
        "vertices": binding.vertices.tolist(),
        "weights": np.round(binding.weights.astype(float), 4).tolist(),
        "mirror": binding.mirror.tolist(),
    }
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(values, separators=(',', ':'))}" for name, values in fields.items())
    OUTPUT.write_text("{\n" + rows + "\n}\n", encoding="utf-8")
    print(f"wrote {OUTPUT}")


def measure(rig: Rig, samples: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(468, 3) median place on the base face of each point, dm, and (468,) median distance of single measurements from
    it."""
    network, renderer = load_facemesh().eval(), Renderer(_RENDER_SIZE)
    hits: list[list[npt.NDArray]] = [[] for _ in range(POINTS)]
    for _ in tqdm(range(samples), desc="renders"):
        character, scene = _sample(rig, rng)
        points, camera = _locate(network, renderer, character, scene)
        vertices = rig.vertices(character.identity, None, character.pose)
        for index, place in _hit_places(rig, vertices, camera, points):
            hits[index].append(place)
    places = np.array([np.median(found, 0) if found else np.full(3, np.nan) for found in hits])
    spread = [
        np.median(np.linalg.norm(found - place, axis=1)) if found else np.nan for found, place in zip(hits, places, strict=True)
    ]
    return places, np.array(spread)


def _sample(rig: Rig, rng: np.random.Generator) -> tuple[Character, Scene]:
    """A person without expression, mostly near the front, in daylight from somewhere."""
    person = rig.phenotype_identity[rng.integers(len(rig.phenotype_identity))]
    frontal = rng.random() < 0.4
    pose = rng.uniform(-1, 1, 2) * ((5, 6) if frontal else (14, 28))
    style = {slot.name: int(rng.integers(len(slot.options))) for slot in REFERENCE.style}
    style |= {"hair": int(rng.integers(2)), "beard": 0, "brow": int(rng.choice([0, 0, 1, 3]))}
    level = rng.uniform(0.7, 1.2)
    key = Light.at(rng.uniform(-60, 60), rng.uniform(0, 55), (level, level, level))
    return Character(person * np.float32(rng.uniform(0, 1)), pose=pose, style=style), Scene(key=key)


def _locate(network: FaceMesh, renderer: Renderer, character: Character, scene: Scene) -> tuple[npt.NDArray, Camera]:
    """FaceMesh's points (468, 2) in pixels of the camera that is returned; the second pass is framed by the first's
    points."""
    view, target = 2.9, np.array([0.25 * np.sin(np.deg2rad(character.pose[1])), 7.03])
    for _ in range(2):
        camera = Camera.portrait(renderer.size, view=view, target=(float(target[0]), float(target[1])))
        framed = Scene(camera=camera, key=scene.key)
        image = torch.from_numpy(renderer.render(character, framed).image.copy()).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            points = network(F.interpolate(image, (INPUT_SIZE, INPUT_SIZE), mode="area"))[0][0].numpy()
        pixels = points[:, :2] * renderer.size / INPUT_SIZE
        low, high = pixels.min(0), pixels.max(0)
        target = target + ((low + high) / 2 - renderer.size / 2) * view / renderer.size * [1, -1]
        view *= 1.5 * float((high - low).max()) / renderer.size
    return pixels, camera


def _hit_places(
    rig: Rig, vertices: npt.NDArray, camera: Camera, points: npt.NDArray
) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """(point, place on the base face) of each point whose ray meets a front face at no grazing angle."""
    projected = camera.project(vertices)
    corners = projected[rig.triangles].astype(np.float64)  # (T, 3, 3)
    a, b, c = corners[:, 0, :2], corners[:, 1, :2], corners[:, 2, :2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    normals = Trimesh(vertices, rig.triangles, process=False).face_normals
    front = np.flatnonzero((area < 0) & (rig.part != PARTS.index("lashes")))
    a, b, c, area = a[front], b[front], c[front], area[front]
    places = []
    for index, (x, y) in enumerate(points):
        first = ((b[:, 0] - x) * (c[:, 1] - y) - (b[:, 1] - y) * (c[:, 0] - x)) / area
        second = ((c[:, 0] - x) * (a[:, 1] - y) - (c[:, 1] - y) * (a[:, 0] - x)) / area
        inside = np.flatnonzero((first >= 0) & (second >= 0) & (first + second <= 1))
        if len(inside):
            nearest = inside[corners[front[inside], :, 2].mean(1).argmin()]
            triangle = front[nearest]
            weights = np.array([first[nearest], second[nearest], 1 - first[nearest] - second[nearest]])
            if normals[triangle, 2] > _FACING:
                places.append((index, weights @ rig.base[rig.triangles[triangle]].astype(np.float64)))
    return places


def bind(rig: Rig, places: npt.NDArray[np.float64]) -> Binding:
    """Symmetric bindings of the measured ``places`` (468, 3) to the skin and to the rims."""
    flip = np.array([-1.0, 1.0, 1.0])
    distance = np.linalg.norm(places[:, None] * flip - places[None], axis=-1)
    mirror = linear_sum_assignment(np.nan_to_num(distance + distance.T, nan=10.0))[1]
    if not (mirror[mirror] == np.arange(POINTS)).all():
        raise ValueError("FaceMesh's points could not be paired")
    places = (places + places[mirror] * flip) / 2
    vertices, weights = _nearest_on_skin(rig, places)
    for group, (upper, lower) in RIMS.items():
        for names, rim in ((upper, _rim(rig, group, upper=True)), (lower, _rim(rig, group, upper=False))):
            for name in names:
                vertices[name], weights[name] = _on_rim(rig.base, rim, places[name, 0])
    right = np.flatnonzero((places[:, 0] < 0) & (mirror != np.arange(POINTS)))
    vertices[mirror[right]] = rig.mirror[vertices[right]]
    weights[mirror[right]] = weights[right]
    return Binding(vertices.astype(np.int32), weights.astype(np.float32), mirror.astype(np.int32))


def _nearest_on_skin(rig: Rig, places: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Triangle corners (468, 3) and barycentric weights of the nearest points on the face's outside."""
    inside = rig.masks["mouth_interior"][rig.triangles].max(1) > 0.5
    hidden = rig.ambient_occlusion[rig.triangles].mean(1) < 0.3
    normals = Trimesh(rig.base, rig.triangles, process=False).face_normals
    skin = rig.triangles[(rig.part == PARTS.index("skin")) & ~inside & ~hidden & (normals[:, 2] > 0)]
    corners = rig.base[skin].astype(np.float64)
    vertices, weights = np.zeros((POINTS, 3), int), np.zeros((POINTS, 3))
    for index, place in enumerate(places):
        foot = closest_point(corners, np.broadcast_to(place, (len(corners), 3)))
        best = int(np.linalg.norm(foot - place, axis=1).argmin())
        vertices[index] = skin[best]
        weights[index] = points_to_barycentric(corners[best : best + 1], foot[best : best + 1])[0].clip(0, 1)
    return vertices, weights / weights.sum(1, keepdims=True)


def _rim(rig: Rig, group: str, upper: bool) -> npt.NDArray[np.int64]:
    """Vertices of one rim from the person's right to left, with both corners."""
    pairs = rig.apertures.group == GROUPS.index(group)
    lower = np.unique(rig.apertures.lower[pairs])
    lower = lower[rig.base[lower, 0].argsort()]
    if not upper:
        return lower
    inner = rig.apertures.upper[pairs]
    return np.concatenate([lower[:1], inner[rig.base[inner, 0].argsort()], lower[-1:]])


def _on_rim(base: npt.NDArray, rim: npt.NDArray, x: float) -> tuple[npt.NDArray, npt.NDArray]:
    """The point of a rim at this x: three vertices (the last one idle) and weights."""
    after = int(np.clip(np.searchsorted(base[rim, 0], x), 1, len(rim) - 1))
    left, right = base[rim[after - 1], 0], base[rim[after], 0]
    share = float(np.clip((x - left) / (right - left), 0, 1))
    return np.array([rim[after - 1], rim[after], rim[after]]), np.array([1 - share, share, 0.0])


if __name__ == "__main__":
    main()
