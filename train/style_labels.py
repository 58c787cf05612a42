"""Styles of photos that people have told by eye: tables of comma-separated values, a photo in each line.

    photo,hair,brow,beard,skin,hair_colour
    Ada_0001,bob,thin,none,ivory,chestnut

Columns are style slots, in any order, as many as were looked at; other columns (``half`` in those of ``benchmarks/labels``) are
left alone. An empty cell: it cannot be seen (hair under a hat, its colour on a bald head).
``train/labels/styles-lfw-train.csv`` holds 3,840 people of the training photos."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdk.errors import SchemaError
from sdk.schema import REFERENCE, Schema
from train.face_files import UNKNOWN

HIDDEN = -2
"""Number of the option of a slot that was looked for and cannot be seen."""


def read_styles(path: Path, schema: Schema = REFERENCE, **only: str) -> dict[str, npt.NDArray[np.int64]]:
    """By photo the option number of each slot (slots,), HIDDEN where it cannot be seen, UNKNOWN where nobody looked. `only`: of
    the lines those whose other columns say this. :class:`SchemaError` names the line that does not fit."""
    styles = {}
    with path.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines)
        if "photo" not in (table.fieldnames or ()):
            raise SchemaError(f"{path}: the first line names the columns, and one of them is 'photo'")
        for row in table:
            if any(row.get(name) != value for name, value in only.items()):
                continue
            style = np.full(len(schema.style), UNKNOWN, np.int64)
            for k, slot in enumerate(schema.style):
                if slot.name in row:
                    try:
                        style[k] = slot.index(row[slot.name]) if row[slot.name] else HIDDEN
                    except SchemaError as error:
                        raise SchemaError(f"{path}, line {table.line_num}: {error}") from error
            styles[row["photo"]] = style
    return styles
