"""Hair styles that leave the ears free: buzz, short, parted, slicked back, spiky, and curly.

Frame and unit: x to the person's own left, y up, z forward; decimetres.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from game.baking.groom import (
    PARTINGS,
    Groom,
    Range,
    along_skin,
    blended,
    cropped_flow,
    down_sides,
    front_share,
    rows,
    top_share,
)
from game.baking.hair_flow import Flow, Growth, Strands, coiled
from game.baking.head_surface import Floats, angle, hairline, smoothstep, unit
from game.style_parts import outward


def buzz(groom: Groom) -> list[Strands]:
    """A few millimetres all over."""
    roots = groom.roots(2900)
    n = len(roots)

    def flow(p: Floats, r: Floats, n: Floats) -> Floats:
        return cropped_flow(p, r, n) + 1.1 * n

    return [groom.layer(roots, flow, groom.between(0.035, 0.06, n), groom.between(0.004, 0.02, n), 0.020, Growth(3, 6))]


def _tightdown_sides(groom: Groom, flow: Flow, below: float, length: Range = (0.13, 0.22)) -> list[Strands]:
    """The under-layer of a short cut, and its sides up to y = ``below`` dm."""
    under = groom.roots(650)
    low = groom.layer(under, cropped_flow, 0.15 + 0.1 * top_share(under), np.full(len(under), 0.015), 0.085, Growth(4, 16))
    side = groom.roots(950, lambda p: p[:, 1] < below)
    n = len(side)
    length_here = groom.between(*length, n) * (0.7 + 0.5 * smoothstep(7.1, 7.8, side[:, 1]))
    sides = groom.layer(side, flow, length_here, groom.between(0.015, 0.055, n), 0.046, Growth(5, 20, lean=0.7))
    return [low, groom.locked(sides, 170, 0.4)]


def short(groom: Groom) -> list[Strands]:
    """A classic short cut: tight sides, a textured top brushed forward and a little aside."""

    def flow(p: Floats, r: Floats, n: Floats) -> Floats:
        up = 0.25 + 0.45 * front_share(r)
        top = rows(-0.35 - 0.2 * np.sign(r[:, 0] - 0.2), up, 0.35 + 0.5 * front_share(r))
        return along_skin(blended(top_share(r), down_sides(r), top), n) + 0.22 * n * top_share(r)[:, None]

    crown = groom.roots(900, lambda p: p[:, 1] > 7.72)
    n = len(crown)
    growth = Growth(6, 24, gravity=0.12, lean=1.0, hug=0.3)
    tops = groom.layer(crown, flow, groom.between(0.26, 0.46, n), groom.between(0.04, 0.17, n), 0.05, growth)
    edge = groom.edge_row(130)
    front = groom.layer(edge, flow, groom.between(0.14, 0.26, len(edge)), groom.between(0.02, 0.08, len(edge)), 0.04, growth)
    return [
        *_tightdown_sides(groom, flow, 7.86),
        groom.locked(tops, 110, 0.7),
        front,
        groom.baby_hair(flow, 180, (0.05, 0.12)),
    ]


def parted(groom: Groom) -> list[Strands]:
    """A side parting on the person's left, the top swept over to the right with some volume."""
    x = PARTINGS["parted"]

    def flow(p: Floats, r: Floats, n: Floats) -> Floats:
        left = r[:, 0] > x
        over = rows(
            np.where(left, 1.2, -1.2),
            np.where(left, -0.25, -0.25 + 0.3 * front_share(r)),
            np.where(left, -0.55, -0.55 + 0.45 * front_share(r)),
        )
        return along_skin(blended(smoothstep(7.75, 7.5, p[:, 1]), over, rows(0.0, -0.8, -0.75 + 0 * p[:, 2])), n)

    def swept(roots: Floats) -> Strands:
        n = len(roots)
        quiff = smoothstep(x, -0.1, roots[:, 0]) * smoothstep(-0.9, -0.3, roots[:, 0]) * front_share(roots)
        height = (0.07 + 0.15 * quiff) * groom.between(0.4, 1.0, n)
        reach = np.interp(roots[:, 0], [-0.6, 0.0, x, x + 0.01], [0.42, 0.85, 1.02, 0.52])
        length = reach * groom.between(0.8, 1.08, n)
        return groom.layer(roots, flow, length, height, 0.055, Growth(8, 36, gravity=0.05, lean=0.45))

    under = groom.roots(600)
    low = groom.layer(
        under, flow, 0.14 + 0.36 * smoothstep(7.3, 7.95, under[:, 1]), np.full(len(under), 0.02), 0.09, Growth(6, 24)
    )
    side = groom.roots(480, lambda p: p[:, 1] < 7.8)
    n = len(side)
    length = groom.between(0.2, 0.34, n) * (0.5 + 0.5 * smoothstep(7.1, 7.6, side[:, 1]))
    sides = groom.layer(side, flow, length, groom.between(0.02, 0.06, n), 0.05, Growth(6, 24))
    crown = groom.locked(swept(groom.roots(820, lambda p: p[:, 1] > 7.72)), 85, 0.5)
    row = swept(np.concatenate([groom.parting_row(x, 90), groom.edge_row(90)]))
    return [low, groom.locked(sides, 120, 0.35), crown, row, groom.baby_hair(flow, 160, (0.07, 0.15))]


def slicked_back(groom: Groom) -> list[Strands]:
    """Combed straight back from the forehead, close to the head."""

    def flow(p: Floats, r: Floats, n: Floats) -> Floats:
        back = rows(
            -0.10 * np.sign(p[:, 0]) * (p[:, 2] < 0.2),
            0.35 * (p[:, 2] > 0.9) - 0.55 * smoothstep(7.75, 7.4, r[:, 1]),
            -1.0,
        )
        return along_skin(blended(smoothstep(0.1, -0.5, p[:, 2]), back, rows(0.0, -1.0, 0.0 * p[:, 2])), n)

    def combed(roots: Floats, width: float) -> Strands:
        n = len(roots)
        height = 0.02 + (0.05 + 0.07 * front_share(roots)) * top_share(roots) * groom.rng.random(n)
        length = groom.between(0.7, 1.1, n) * (0.32 + 0.68 * smoothstep(7.2, 7.8, roots[:, 1]))
        return groom.layer(roots, flow, length, height, width, Growth(7, 36, gravity=0.0, lean=0.5, hug=0.8))

    under = groom.roots(560)
    low = groom.layer(
        under, flow, 0.3 + 0.2 * top_share(under), np.full(len(under), 0.012), 0.085, Growth(5, 24, lean=0.2, hug=0.8)
    )
    tops = groom.locked(combed(groom.roots(1250), 0.048), 170, 0.45)
    return [low, tops, combed(groom.edge_row(150), 0.032), groom.baby_hair(flow, 200, (0.08, 0.18))]


def spiky(groom: Groom) -> list[Strands]:
    """Locks that stand up on top, short sides."""

    def flow(p: Floats, r: Floats, n: Floats) -> Floats:
        up = unit(n * 0.5 + rows(0.0, 0.95, 0.22 * front_share(r) - 0.1))
        return blended(smoothstep(7.55, 7.85, r[:, 1]), along_skin(down_sides(r), n), up)

    crown = groom.roots(1250, lambda p: p[:, 1] > 7.70)
    n = len(crown)
    length = groom.between(0.27, 0.46, n) * (0.4 + 0.6 * smoothstep(7.68, 8.1, crown[:, 1]))
    growth = Growth(5, 20, gravity=0.0, stiffness=0.85, hug=0.0, lean=1.0)
    tops = groom.layer(crown, flow, length, groom.between(0.1, 0.3, n), 0.05, growth)
    return [
        *_tightdown_sides(groom, flow, 7.86),
        groom.locked(tops, 80, 0.93),
        groom.baby_hair(cropped_flow, 160, (0.05, 0.12)),
    ]


def curly(groom: Groom) -> list[Strands]:
    """A round mass of ringlets."""
    centres = groom.roots(90)
    wobble, tree = groom.rng.normal(size=centres.shape), cKDTree(centres)

    def flow(p: Floats, r: Floats, n: Floats) -> Floats:
        return outward(p) + 0.25 * n + 0.6 * wobble[tree.query(r)[1]] + rows(0.0, -0.12, 0.0 * p[:, 2])

    under = groom.roots(520)
    low = groom.layer(under, cropped_flow, np.full(len(under), 0.2), np.full(len(under), 0.03), 0.1, Growth(4, 12))
    roots = np.concatenate([groom.roots(960), groom.edge_row(110)])
    n = len(roots)
    near_edge = smoothstep(0.0, 0.25, roots[:, 1] - hairline(angle(roots)))
    length = groom.between(0.26, 0.50, n) * (0.45 + 0.55 * smoothstep(6.5, 7.4, roots[:, 1])) * (0.55 + 0.45 * near_edge)
    growth = Growth(11, 40, gravity=0.0, hug=0.0, stiffness=0.5, lean=1.2)
    curls = groom.layer(roots, flow, length, groom.between(0.04, 0.2, n), 0.05, growth)
    paths = coiled(curls.paths, groom.between(0.038, 0.062, n), groom.between(1.4, 2.2, n), groom.rng)
    return [low, replace(curls, paths=paths), groom.baby_hair(cropped_flow, 160, (0.05, 0.10))]
