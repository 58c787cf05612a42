"""The README's and the training guide's commands exist with the options they are given, and the README's Python runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from benchmarks.serving_tables import sizing
from export.serve import serving
from tests.serving.local_server import local_options

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXT = README + (ROOT / "docs/training.md").read_text(encoding="utf-8")


def blocks(language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """What follows a `$` in console blocks, and `python -m ...` within sentences; without comments."""
    typed = [line[2:].split(" #")[0].strip() for block in blocks("console") for line in block.splitlines() if line[:2] == "$ "]
    text = re.sub(r"^```.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    return typed + re.findall(r"`(python -m [^`]+)`", text)


MODULES: dict[str, set[str]] = {}
for command in commands():
    if match := re.match(r"python -m ([\w.]+)", command):
        MODULES.setdefault(match[1], set()).update(re.findall(r"--[\w-]+", command))


def test_the_readme_has_commands() -> None:
    assert {"make demo", "make test"} <= set(commands())
    assert {"sdk", "game.render_dataset", "train.regressor", "train.encoder"} <= MODULES.keys()
    assert {"export.build_engines", "export.serve"} <= MODULES.keys()


@pytest.mark.parametrize("target", sorted({c.split()[1] for c in commands() if c.startswith("make ")}))
def test_make_target(target: str) -> None:
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module_takes_these_options(module: str) -> None:
    run = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, check=True, capture_output=True, text=True)
    missing = {option for option in MODULES[module] if not re.search(rf"{option}\b", run.stdout)}
    assert not missing, f"python -m {module} --help does not name {missing}"


def test_sizing_is_what_was_measured() -> None:
    results = json.loads((ROOT / "benchmarks/results/serving.json").read_text())["results"]
    for what, measured in sizing(results):
        assert f"| {what} | {measured} |" in README


def test_python_prints_what_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.data.astronaut()).save("me.jpg", quality=95)
    snippet, said = re.findall(r"^```python\n(.*?)^```\n\n```\n(.*?) [0-9a-f]+\.\.\.\n```", README, re.MULTILINE | re.DOTALL)[0]
    with serving(local_options()) as server:
        exec(compile(snippet.replace("127.0.0.1:8001", server.grpc), "README.md", "exec"), {})
    printed, _, request_id = capsys.readouterr().out.strip().rpartition(" ")
    assert printed == said
    assert re.fullmatch("[0-9a-f]{32}", request_id)
