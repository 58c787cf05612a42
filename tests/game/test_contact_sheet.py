"""The contact sheets: every option, unit and pose is on them, and they are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from game import contact_sheet
from game.contact_sheet import CAPTION, draw, expression_rows, pose_rows, sheets, style_rows, styled
from game.renderer import Renderer
from game.styles import EYEWEAR
from sdk.schema import REFERENCE, SchemaError

SIZE = 64


def test_there_is_a_sheet_for_everything() -> None:
    names = [name for name, _ in sheets(SIZE)]
    assert names == [
        "random_heads",
        *(f"style_{slot.name}" for slot in REFERENCE.style),
        "eyewear",
        "expressions",
        "poses",
    ]


@pytest.mark.parametrize("slot", REFERENCE.style, ids=lambda slot: slot.name)
def test_style_sheet_shows_every_option(slot: object) -> None:
    cells = [cell for row in style_rows(slot.name, SIZE) for cell in row]
    assert {cell.caption for cell in cells} == set(slot.options)
    for cell in cells:
        assert slot.options[cell.character.style[slot.name]] == cell.caption


def test_expression_sheet_shows_every_unit() -> None:
    cells = [cell for row in expression_rows(SIZE) for cell in row]
    for unit in range(len(REFERENCE.expression)):
        shown = [cell.character.expression[unit] for cell in cells if REFERENCE.expression[unit] in cell.caption]
        assert shown == [0, 0.5, 1, 1]


def test_styled_names_a_wrong_option() -> None:
    with pytest.raises(SchemaError, match="beehive"):
        styled({"hair": "beehive"})


def test_sheet_is_drawn() -> None:
    rows = [pose_rows(SIZE)[1][:3], contact_sheet.eyewear_rows(SIZE)[0][:2]]
    sheet = np.asarray(draw(rows, Renderer(SIZE)))
    assert sheet.shape == (2 * (SIZE + CAPTION), 3 * SIZE, 3)
    assert sheet[:SIZE, :SIZE].std() > 10
    assert (sheet[SIZE : SIZE + CAPTION, :SIZE] > 150).any(), "caption"
    assert len(contact_sheet.eyewear_rows(SIZE)[0]) == len(EYEWEAR)
