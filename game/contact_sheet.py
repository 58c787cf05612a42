"""Pictures of everything the game can draw, to be looked at.

    python -m game.contact_sheet --out contact_sheets

writes random_heads.png, one style_SLOT.png per style slot (every option on the same heads), expressions.png (a row per
action unit at 0, 0.5 and 1), poses.png and eyewear.png; each picture labelled.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from game.camera import Camera
from game.character import Character
from game.renderer import Renderer
from game.sampling import sample_character
from game.scene import Scene
from game.scene_sampling import sample_scene
from game.styles import EYEWEAR
from sdk.schema import REFERENCE

CAPTION = 22
"""Height in pixels of the caption under each picture."""
MODELS = (
    {"hair": "short", "brow": "natural", "skin": "ivory", "hair_colour": "brown", "iris": "blue"},
    {"hair": "short", "brow": "natural", "skin": "caramel", "hair_colour": "dark_brown", "iris": "brown"},
)
"""The two heads on which options are shown: light and dark."""


@dataclass(frozen=True)
class Cell:
    """One labelled picture of a sheet."""

    caption: str
    character: Character
    scene: Scene


Row = list[Cell]


def styled(options: dict[str, str], character: Character | None = None) -> Character:
    """A character (the base face, if none is given) with style options by name."""
    character = character or Character.base()
    return replace(character, style={**character.style, **{slot: REFERENCE.slot(slot).index(o) for slot, o in options.items()}})


def random_heads(size: int, rows: int = 6, columns: int = 8, seed: int = 0) -> list[Row]:
    """Heads as the training data has them."""
    rng = np.random.default_rng(seed)
    cells = []
    for i in range(rows * columns):
        character = sample_character(rng)
        cells.append(Cell(f"{i}", character, sample_scene(rng, character=character, size=size)))
    return [cells[i : i + columns] for i in range(0, len(cells), columns)]


def style_rows(slot: str, size: int) -> list[Row]:
    """Every option of a slot: on a light head from the front and half turned, and on a dark head."""
    scene = Scene.studio(size)
    rows = []
    for model, yaw in ((MODELS[0], 0.0), (MODELS[0], 35.0), (MODELS[1], -12.0)):
        turned = replace(Character.base(), pose=np.array([0.0, yaw], np.float32))
        cells = [Cell(option, styled({**model, slot: option}, turned), scene) for option in REFERENCE.slot(slot).options]
        rows += [cells[i : i + 6] for i in range(0, len(cells), 6)] if len(cells) > 6 else [cells]
    return rows


def expression_rows(size: int) -> list[Row]:
    """Two action units a row, each at 0, 0.5 and 1 from the front, and at 1 half turned; framed closely."""
    scene = replace(Scene.studio(size), camera=Camera.portrait(size, view=2.3, target=(0.0, 7.0)))
    base = styled(MODELS[0])

    def cell(unit: int, value: float, yaw: float = 0.0) -> Cell:
        expression = np.zeros(len(REFERENCE.expression), np.float32)
        expression[unit] = value
        pose = np.array([0.0, yaw], np.float32)
        return Cell(f"{REFERENCE.expression[unit]} {value:g}", replace(base, expression=expression, pose=pose), scene)

    units = [[cell(u, 0.0), cell(u, 0.5), cell(u, 1.0), cell(u, 1.0, 35.0)] for u in range(len(REFERENCE.expression))]
    return [[c for unit in units[u : u + 2] for c in unit] for u in range(0, len(units), 2)]


def pose_rows(size: int) -> list[Row]:
    """A row per pitch, a column per yaw."""
    scene = Scene.studio(size)
    base = styled({**MODELS[0], "hair": "long"})
    return [
        [
            Cell(f"pitch {pitch} yaw {yaw}", replace(base, pose=np.array([pitch, yaw], np.float32)), scene)
            for yaw in (-60, -40, -20, 0, 20, 40, 60)
        ]
        for pitch in (25, 0, -25)
    ]


def eyewear_rows(size: int) -> list[Row]:
    """Every eyewear option, from the front and half turned."""
    base, scene = styled(MODELS[0]), Scene.studio(size)
    return [
        [
            Cell(name, replace(base, pose=np.array([0.0, yaw], np.float32)), replace(scene, glasses=i))
            for i, name in enumerate(EYEWEAR)
        ]
        for yaw in (0.0, 35.0, -60.0)
    ]


def draw(rows: Sequence[Row], renderer: Renderer) -> Image.Image:
    """The sheet of some rows of labelled pictures."""
    size = renderer.size
    sheet = Image.new("RGB", (size * max(map(len, rows)), (size + CAPTION) * len(rows)), (24, 24, 26))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            left, top = c * size, r * (size + CAPTION)
            image: NDArray[np.uint8] = renderer.render(cell.character, cell.scene).image
            sheet.paste(Image.fromarray(image), (left, top))
            pen.text((left + 6, top + size + 2), cell.caption.replace("_", " "), fill=(230, 230, 230), font=font)
    return sheet


def sheets(size: int) -> Iterator[tuple[str, list[Row]]]:
    """Name and rows of every sheet."""
    yield "random_heads", random_heads(size)
    for slot in REFERENCE.style:
        yield f"style_{slot.name}", style_rows(slot.name, size)
    yield "eyewear", eyewear_rows(size)
    yield "expressions", expression_rows(size)
    yield "poses", pose_rows(size)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("contact_sheets"), help="folder to write to (default: %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="pixels per picture (default: %(default)s)")
    parser.add_argument("--only", help="write only the sheets whose name contains this")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(options.size)
    for name, rows in sheets(options.size):
        if options.only is None or options.only in name:
            path = options.out / f"{name}.png"
            draw(rows, renderer).save(path)
            print(path)


if __name__ == "__main__":
    main()
