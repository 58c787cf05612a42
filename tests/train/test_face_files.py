"""Faces made by players or fits: what is read is what was written, and errors name line and field."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdk.errors import SchemaError
from sdk.schema import REFERENCE
from train.face_files import UNKNOWN, MadeFace, read_face, read_faces


def test_written_faces_are_read_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    face = MadeFace(
        "Ada_0001",
        rng.uniform(-1, 1, 244).astype(np.float32),
        rng.uniform(0, 1, 23).astype(np.float32),
        np.float32([10, -20]),
        np.array([1, UNKNOWN, 0, 3, 2, 1, 0]),
        12.5,
    )
    (tmp_path / "faces.jsonl").write_text(face.line() + "\n\n" + face.line() + "\n")
    first, second = read_faces(tmp_path / "faces.jsonl")
    for again in (first, second):
        assert again.photo == "Ada_0001" and again.seconds == 12.5
        for name in ("identity", "expression", "pose"):
            np.testing.assert_allclose(getattr(again, name), getattr(face, name), atol=1e-5)
        assert again.style.tolist() == face.style.tolist()


def test_what_a_player_has_not_moved_is_the_base_face() -> None:
    face = read_face('{"photo": "me.jpg", "identity": {"nose_tip.ty": 0.25}, "style": {"hair": {"option": "short"}}}')
    assert face.identity[REFERENCE.identity.index("nose_tip.ty")] == 0.25 and np.count_nonzero(face.identity) == 1
    assert not face.expression.any() and not face.pose.any() and np.isnan(face.seconds)
    assert face.style.tolist() == [REFERENCE.slot("hair").index("short"), *[UNKNOWN] * 6]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[]", "JSON object"),
        ('{"identity": {}}', "'photo'"),
        ('{"photo": "a"}', "'identity' is missing"),
        ('{"photo": "a", "identity": [1]}', "object of numbers"),
        ('{"photo": "a", "identity": {"nose": 1}}', "no 'nose'"),
        ('{"photo": "a", "identity": {"nose_tip.ty": 2}}', "'identity.nose_tip.ty' must be a number from -1 to 1, not 2"),
        ('{"photo": "a", "identity": {"nose_tip.ty": true}}', "not True"),
        ('{"photo": "a", "identity": {"nose_tip.ty": NaN}}', "not nan"),
        ('{"photo": "a", "identity": {}, "expression": {"smile": -0.1}}', "'expression.smile'"),
        ('{"photo": "a", "identity": {}, "style": {"hair": "mohawk"}}', "no option 'mohawk'"),
        ('{"photo": "a", "identity": {}, "style": {"hat": "top"}}', "no slot 'hat'"),
        ('{"photo": "a", "identity": {}, "age": 3}', "no field 'age'"),
        ('{"photo": "a", "identity": {}, "seconds": -1}', "'seconds' must be a number from 0"),
    ],
)
def test_errors_name_line_and_field(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "export.jsonl"
    path.write_text('{"photo": "fine", "identity": {}}\n' + line + "\n")
    with pytest.raises(SchemaError, match="line 2: .*" + message):
        list(read_faces(path))
