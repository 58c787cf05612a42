"""The hair styles of the reference game by name.

A style is a few layers of ribbons over a scalp painted in the colour of the hair: an *under-layer* of broad, low
ribbons that closes the head, *top layers* that give the style its shape, rows of roots along parting and hairline so
that neither shows a gap, and *baby hair*, thin and short, that softens the hairline.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from game.baking.groom import Groom
from game.baking.hair_flow import Strands, lifted_out
from game.baking.hair_long import bob, fringe, long, wavy
from game.baking.hair_short import buzz, curly, parted, short, slicked_back, spiky
from game.baking.head_surface import HeadSurface

RECIPES: dict[str, Callable[[Groom], list[Strands]]] = {
    recipe.__name__: recipe for recipe in (buzz, short, parted, slicked_back, spiky, curly, fringe, bob, long, wavy)
}
"""Every hair option but "bald"."""


def grow_style(surface: HeadSurface, name: str) -> list[Strands]:
    """The layers of a style, thinned and out of the skin; the same every time."""
    layers = RECIPES[name](Groom(surface, np.random.default_rng(zlib.crc32(name.encode()))))
    layers = [strands.thinned() for strands in layers if len(strands.paths)]
    return [replace(strands, paths=lifted_out(surface, strands.paths)) for strands in layers]
