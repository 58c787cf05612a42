"""`python -m sdk`: tables, JSON lines, files, and what happens when photos or models are bad."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sdk
from sdk.__main__ import main
from sdk.models import ENVIRONMENT_VARIABLE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_models, pattern, encode) -> Path:
    """Working directory with two good photos, a dark one, and a text file named .jpg."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tiny_models))
    Path("me.jpg").write_bytes(encode(pattern(640, 640), "JPEG"))
    Path("you.png").write_bytes(encode(pattern(640, 640)[:, ::-1], "PNG"))
    Path("dark.png").write_bytes(encode(np.zeros((64, 64, 3), np.uint8), "PNG"))
    Path("text.jpg").write_text("this is no photo")
    Path("empty").mkdir()
    return tmp_path


def test_table(folder, capsys):
    assert main(["me.jpg"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].startswith("me.jpg  (the main one of 4 faces, ") and lines[0].endswith(" ms)")
    assert [line.split()[0] for line in lines[1:]] == ["pose", "expression", "sliders", "style", "colours", "quality"]
    assert "pitch" in lines[1] and "yaw" in lines[1] and "roll" in lines[1]
    assert "hair" in lines[4] and "%" in lines[4]
    assert max(map(len, lines)) < 160
    assert {path.name for path in folder.iterdir()} == {"me.jpg", "you.png", "dark.png", "text.jpg", "empty"}, "writes nothing"


def test_bad_photos_do_not_stop_the_others(folder, capsys):
    photos = ["text.jpg", "me.jpg", "missing.jpg", "dark.png", "you.png"]
    assert main(photos) == 1
    out, err = capsys.readouterr()
    assert "[2/5] me.jpg" in out and "[5/5] you.png" in out
    errors = err.splitlines()
    assert len(errors) == 3
    assert errors[0].startswith("[1/5] 'text.jpg' is text, not a picture in a supported format")
    assert errors[1].startswith("[3/5] there is no file 'missing.jpg'")
    assert errors[2].startswith("[4/5] 'dark.png': there is no face in the photo") and "[no_face]" in errors[2]


def test_a_folder_is_its_pictures(folder, capsys):
    Path("notes.md").write_text("no picture")
    Path("sub.jpg").mkdir()
    assert main([".", "--json", "--jobs", "3"]) == 1
    assert [json.loads(line)["photo"] for line in capsys.readouterr().out.splitlines()] == [
        "dark.png", "me.jpg", "text.jpg", "you.png"
    ]  # fmt: skip


def test_progress_where_results_are_piped_and_a_person_watches(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["me.jpg", "dark.png", "you.png", "--json"]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert err.count("\n") == 1 and err.splitlines()[-1].split("\r")[-1].startswith("3/3 photos, ") and "1 failed" in err


def test_nobody_at_the_url(folder, capsys, monkeypatch):
    monkeypatch.setattr("sdk.__main__.READY_SECONDS", 1.5)
    assert main(["me.jpg", "--url", "127.0.0.1:9"]) == 2
    assert "error: the server was not ready within 1.5 s: the server cannot be reached" in capsys.readouterr().err


def test_json_lines(folder, capsys):
    assert main(["me.jpg", "dark.png", "text.jpg", "you.png", "--json"]) == 1
    out, err = capsys.readouterr()
    good, dark, text, other = map(json.loads, out.splitlines())
    assert len(err.splitlines()) == 2
    assert good.pop("photo") == "me.jpg"
    with sdk.FaceParamClient.embedded() as client:
        assert sdk.FaceParams.from_dict(good) == client.infer("me.jpg")
    assert other["photo"] == "you.png" and "error" not in other
    assert dark["error"]["type"] == "NoFaceError"
    assert dark["error"]["reasons"][0].keys() == {"code", "value", "limit", "message"}
    assert text == {"photo": "text.jpg", "error": {"type": "UnsupportedImageError", "message": text["error"]["message"]}}


def test_out_writes_the_same_bytes_again(folder, capsys):
    assert main(["me.jpg", "you.png", "--out", "results/today"]) == 0
    first = {path.parent.name: path.read_bytes() for path in Path("results/today").glob("*/face.json")}
    assert set(first) == {"me", "you"}
    assert f"wrote       {Path('results/today/me/face.json')}" in capsys.readouterr().out
    assert main(["me.jpg", "you.png", "--out", "results/today", "--threads", "2"]) == 0
    assert first == {path.parent.name: path.read_bytes() for path in Path("results/today").glob("*/face.json")}
    params = sdk.FaceParams.from_json(first["me"])
    assert params.schema_version == sdk.REFERENCE.version


def test_photos_of_the_same_name_do_not_overwrite_each_other(folder):
    Path("other").mkdir()
    Path("other/me.png").write_bytes(Path("you.png").read_bytes())
    assert main(["me.jpg", "other/me.png", "me.jpg", "--out", "out"]) == 0
    first, second, third = (Path("out", name, "face.json").read_bytes() for name in ("me", "me-2", "me-3"))
    assert first == third != second


def test_glb_and_preview(folder):
    pytest.importorskip("numba")
    assert main(["me.jpg", "--out", "out", "--glb", "--preview"]) == 0
    assert {path.name for path in Path("out").iterdir()} == {"face.json", "face.glb", "preview.png"}
    assert Path("out/face.glb").read_bytes().startswith(b"glTF")
    assert Path("out/preview.png").read_bytes().startswith(b"\x89PNG")


def test_game_is_missing(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "game.gltf", None)
    assert main(["me.jpg", "--out", "out", "--glb"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "pip install 'faceparam[game]'" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: PHOTO"),
        (["me.jpg", "--preview"], "name a folder with --out DIR"),
        (["me.jpg", "--glb"], "name a folder with --out DIR"),
        (["me.jpg", "--threads", "0"], "--threads must be at least 1"),
        (["me.jpg", "--jobs", "0"], "--jobs must be at least 1"),
        (["me.jpg", "--timeout", "0"], "--timeout must be more than 0"),
        (["empty"], "there are no pictures in the folder"),
        (["me.jpg", "--out", "me.jpg"], "--out: "),
    ],
)
def test_wrong_usage(folder, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_models(folder, capsys):
    assert main(["me.jpg", "--models", "nowhere"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: model_repository names") and "--models DIR" in err


def test_as_a_process(folder, tiny_models):
    """From any working directory; JSON alone on stdout; the exit status."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sdk", "me.jpg", "text.jpg", "--json", "--models", str(tiny_models)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 2
    assert done.stderr.startswith("[2/2] 'text.jpg' is text")


def test_reader_that_stops_early(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = f"{sys.executable} -m sdk me.jpg you.png me.jpg you.png --json | head -c 10"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment)
    assert done.stdout == '{"photo": '
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
