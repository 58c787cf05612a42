"""Hair styles that hang: bob, long, wavy and fringe.

Frame and unit: x to the person's own left, y up, z forward; decimetres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from game.baking.groom import PARTINGS, Groom, Range, along_skin, blended, front_share, rows, top_share
from game.baking.hair_flow import Flow, Growth, Strands, waved
from game.baking.head_surface import Floats, angle, smoothstep, unit
from game.style_parts import outward


def _falling(parting: float, forward: float = 0.35) -> Flow:
    """Long hair: from the parting (x in dm) over the head, then down."""

    def flow(p: Floats, r: Floats, n: Floats) -> Floats:
        side = np.where(r[:, 0] > parting, 1.0, -1.0)
        behind = smoothstep(0.35, -0.35, r[:, 2])
        over = rows(side * (1.15 - 0.75 * behind), -0.25, -0.30 - 0.6 * behind + forward * front_share(r))
        # Above the shoulders hair parts into what falls over the chest and what falls down the back.
        drape = smoothstep(6.5, 5.9, p[:, 1]) * np.where(np.abs(angle(p)) < 1.75, 0.55, -0.25)
        return blended(smoothstep(7.85, 7.45, p[:, 1]), along_skin(over, n), rows(0.0, -1.0, drape - 0.04))

    return flow


def _above_sideburn(p: Floats) -> NDArray[np.bool_]:
    """Roots from which long hair may fall; what grows before the ear would hang alone beside the cheek."""
    return (p[:, 1] > 7.4) | (np.abs(angle(p)) > 1.4)


@dataclass(frozen=True)
class Hanging:
    """Long hair: y of its end, unevenness of the end, how far it stands off the head, how far its ends turn in, all dm;
    points per strand; widths of ribbons."""

    end: float
    ragged: float
    volume: float
    tuck: float = 0.0
    points: int = 10
    width: float = 0.066

    def length(self, roots: Floats, rng: np.random.Generator) -> Floats:
        """(N,) dm from roots (N, 3) over the head and down to the end."""
        over = 0.55 * (0.75 - np.abs(roots[:, 0]).clip(0, 0.75))
        return (roots[:, 1] - self.end + over + rng.normal(0, self.ragged, len(roots))).clip(0.25, 4)


def _hang(groom: Groom, shape: Hanging, flow: Flow, roots: Floats, under: bool) -> Strands:
    """A layer of long hair; the under-layer is broader, lower and a little shorter."""
    n = len(roots)
    volume = 0.03 if under else shape.volume
    height = (0.015 + volume * groom.rng.random(n) ** 0.7) * (0.75 + 0.25 * top_share(roots))
    length = shape.length(roots, groom.rng) * (0.94 if under else 1.0)
    width = shape.width * (1.4 if under else 1.0)
    growth = Growth(shape.points, 60, gravity=0.15, stiffness=0.65, lean=0.4, hug=0.35, rise=0.8, face=True)
    strands = groom.layer(roots, flow, length, height, width, growth)
    low = smoothstep(shape.end + 0.45, shape.end - 0.05, strands.paths[..., 1])[..., None]
    inward = -outward(strands.paths) * np.array([1.0, 0.0, 1.0])
    return groom.locked(replace(strands, paths=strands.paths + inward * low * shape.tuck), 120, 0.4)


def _parted_long(groom: Groom, name: str, shape: Hanging, counts: tuple[int, int]) -> list[Strands]:
    """Under-layer, top layer, rows along parting and hairline, baby hair."""
    x = PARTINGS[name]
    flow = _falling(x)
    row = np.concatenate([groom.parting_row(x, 140), groom.edge_row(90)])
    return [
        _hang(groom, shape, flow, groom.roots(counts[0], _above_sideburn), under=True),
        _hang(groom, shape, flow, groom.roots(counts[1], _above_sideburn), under=False),
        _hang(groom, replace(shape, volume=0.06), flow, row, under=False),
        groom.baby_hair(flow, 120, (0.08, 0.18)),
    ]


def bob(groom: Groom) -> list[Strands]:
    """Sleek, to the chin, ends turned in, parted a little off the middle."""
    return _parted_long(groom, "bob", Hanging(6.22, 0.03, 0.15, tuck=0.13, points=9), (360, 940))


def long(groom: Groom) -> list[Strands]:
    """Straight, over the shoulders, parted in the middle."""
    return _parted_long(groom, "long", Hanging(5.1, 0.14, 0.15, points=10), (320, 840))


def wavy(groom: Groom) -> list[Strands]:
    """Loose waves to the shoulders, parted at the side, with volume."""
    layers = _parted_long(groom, "wavy", Hanging(5.8, 0.13, 0.22, points=14, width=0.085), (230, 500))
    waves = [replace(s, paths=waved(s.paths, 0.085, 0.85, 24, groom.rng)) for s in layers[:3]]
    return [*(groom.locked(s, 45, 0.35, 1.2) for s in waves), layers[3]]


def fringe(groom: Groom) -> list[Strands]:
    """A straight fringe down to the brows, the rest to the jaw; all of it falls from the crown."""
    crown = np.array([0.0, 0.0, 0.05])

    def flow(p: Floats, r: Floats, n: Floats) -> Floats:
        away = unit((r - crown) * np.array([1.0, 0.0, 1.0]))
        over = along_skin(away + rows(0.0, -0.35, 0.0 * away[:, 0]), n)
        return blended(smoothstep(8.0, 7.72, p[:, 1]), over, rows(0.05 * away[:, 0], -1.0, 0.05 * away[:, 2]))

    def fall(roots: Floats, height: Range, width: float) -> list[Strands]:
        theta = np.abs(np.arctan2(roots[:, 0], roots[:, 2] - 0.05))
        front = theta < 0.68
        layers = []
        for group, face in ((roots[front], False), (roots[~front], True)):
            n = len(group)
            growth = Growth(9, 60, gravity=0.12, stiffness=0.65, lean=0.4, hug=0.35, rise=0.8, face=face)
            strands = groom.layer(group, flow, np.full(n, 2.6), groom.between(*height, n), width, growth)
            turned = np.abs(angle(strands.paths[:, -1]))
            end = (
                np.interp(turned, [0.0, 0.45, 0.66, 0.85, 1.0], [7.55, 7.53, 7.46, 7.1, 6.4])
                if not face
                else np.full(len(turned), 6.38)
            )
            layers.append(groom.locked(cut(strands, end + groom.rng.normal(0, 0.022, len(end))), 130, 0.3, 2.0))
        return layers

    low, top = (
        fall(groom.roots(360, _above_sideburn), (0.015, 0.05), 0.09),
        fall(groom.roots(900, _above_sideburn), (0.04, 0.17), 0.06),
    )
    extra = groom.roots(260, lambda p: (np.abs(np.arctan2(p[:, 0], p[:, 2])) < 0.7) & (p[:, 2] > 0.5))
    return [*low, *top, *fall(extra, (0.03, 0.1), 0.045)[:1]]


def cut(strands: Strands, end: Floats) -> Strands:
    """Strands that end where they fall below y = ``end`` (N,) dm, but not before 0.2 dm below their roots."""
    paths = strands.paths.copy()
    end = np.minimum(end, paths[:, 0, 1] - 0.2)
    for i, path in enumerate(paths):
        below = np.flatnonzero(path[:, 1] < end[i])
        if len(below) and below[0] > 0:
            k = below[0]
            share = (path[k - 1, 1] - end[i]) / (path[k - 1, 1] - path[k, 1])
            at = np.linspace(0, k - 1 + share, len(path))
            for c in range(3):
                paths[i, :, c] = np.interp(at, np.arange(len(path)), path[:, c])
    return replace(strands, paths=paths)
