"""Styles told by eye are read, and those in the repository fit the schema and each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdk.errors import SchemaError
from sdk.schema import REFERENCE
from train.face_files import UNKNOWN
from train.style_labels import HIDDEN, read_styles

ROOT = Path(__file__).parents[2]
HAIR, LIPS = ROOT / "train/labels/hair-lfw-train.csv", ROOT / "train/labels/lips-lfw-train.csv"
TRAINING, MEASURING = ROOT / "train/labels/styles-lfw-train.csv", ROOT / "benchmarks/labels/styles-lfw-dev.csv"


def test_cells_are_options_and_empty_ones_unknown(tmp_path: Path) -> None:
    path = tmp_path / "styles.csv"
    path.write_text("beard,photo,half\nfull,a,choosing\n,b,reporting\n")
    styles = read_styles(path)
    beard = [slot.name for slot in REFERENCE.style].index("beard")
    assert styles["a"][beard] == REFERENCE.slot("beard").index("full") and styles["b"][beard] == HIDDEN
    assert (np.delete(styles["a"], beard) == UNKNOWN).all()
    assert list(read_styles(path, half="reporting")) == ["b"]


def test_errors_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "styles.csv"
    path.write_text("photo,hair\na,bob\nb,mohawk\n")
    with pytest.raises(SchemaError, match=r"line 3: .*mohawk"):
        read_styles(path)
    path.write_text("name,hair\na,bob\n")
    with pytest.raises(SchemaError, match="'photo'"):
        read_styles(path)


def test_who_is_trained_on_is_not_measured() -> None:
    training, measuring = read_styles(TRAINING), read_styles(MEASURING)
    assert len(training) == 3840 and len(measuring) == 300
    hair, lips = read_styles(HAIR), read_styles(LIPS)
    assert len(hair) == 1719 and not set(hair) & set(training)
    assert len(lips) == 720 and set(lips) < set(training)
    people = [{photo.rpartition("_")[0].lower() for photo in styles} for styles in (training, hair, measuring)]
    assert not (people[0] | people[1]) & people[2]
    halves = [set(read_styles(MEASURING, half=half)) for half in ("choosing", "reporting")]
    assert [len(half) for half in halves] == [150, 150] and not halves[0] & halves[1]
