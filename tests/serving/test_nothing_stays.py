"""Nothing of a photo, nor of the answer, stays where the server or the embedded client ran: not in files, not in logs, not in
error messages. Every photo carries marks that cannot be anything else, and everything that was written is searched for them."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import pickle
import stat
import subprocess
import sys
import tempfile
import traceback
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from export.serve import Running, serving, shared_memory
from sdk import FaceParamClient, FaceParamError, FaceParams, contract, remote
from sdk.models import find_models
from sdk.photo_input import png as uncompressed_png
from tests.serving.hostile_images import encoded
from tests.serving.local_server import HANG_SECONDS, local_options, processes

ROOT = Path(__file__).parents[2]
MARK = os.urandom(24)
"""New in every run: what an earlier one left is not found. As bytes of a file, and as eight pixels in a row."""
SWAPPED = np.frombuffer(MARK, np.uint8).reshape(-1, 3)[:, ::-1].tobytes()
"""The same pixels with red and blue swapped."""


IN_MEMORY = ("/dev/", "/memfd:", "/proc/")


def spellings(secret: bytes) -> Iterator[bytes]:
    """How bytes may look in a file or a log."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield secret.hex(" ").encode()
    yield repr(secret)[2:-1].encode()
    yield secret.decode("latin-1").encode()
    yield ", ".join(map(str, secret)).encode()
    for offset in range(3):
        yield base64.b64encode(bytes(offset) + secret)[4:-4]


def marks() -> list[bytes]:
    """All that must not be found of a photo. Half a mark is enough."""
    halves = [mark[part] for mark in (MARK, SWAPPED) for part in (slice(12), slice(12, 24))]
    return [spelling for half in halves for spelling in spellings(half)]


def numbers(params: FaceParams) -> list[bytes]:
    """All that must not be found of an answer: parameters and landmarks, as text and as floats."""
    found = []
    for values in (params.identity.array, params.expression.array, params.face.landmarks[:, :2].ravel()):
        for pair in values.reshape(-1)[: len(values) // 2 * 2].reshape(-1, 2):
            if len(set(pair)) == 2 and np.abs(pair % 1).min() > 0.001:  # zeros and ones are in every file
                one, other = (f"{value:.6g}" for value in pair)
                found += [pair.astype(kind).tobytes() for kind in ("<f4", "<f8")]
                found += [f"{one}{between}{other}".encode() for between in (" ", ", ", ",", "\n")]
    assert len(found) > 1000
    return found


@dataclass(frozen=True)
class Photos:
    """Files that carry the mark."""

    good: list[bytes]
    bad: list[bytes]


@pytest.fixture(scope="module")
def photos(portrait: NDArray[np.uint8]) -> Photos:
    picture = cv2.resize(portrait, (contract.CANVAS_SIZE, contract.CANVAS_SIZE))  # gets onto the canvas as it is
    row = np.frombuffer(MARK * 4, np.uint8).reshape(-1, 3)
    picture[5, 10 : 10 + len(row)] = row
    black = np.zeros((64, 64, 3), np.uint8)
    black[3, : len(row)] = row
    jpeg = encoded(picture, "JPEG", quality=90, comment=MARK)
    bmp, png = encoded(picture, "BMP"), uncompressed_png(picture)
    good = [jpeg, bmp, png, encoded(picture, "WEBP", lossless=True)]
    assert all(any(mark in file for mark in (MARK, SWAPPED)) for file in good[:3])
    small = uncompressed_png(black)
    bad = [
        jpeg[: len(jpeg) // 2], bmp[:-9], png[:-20], png.replace(MARK, MARK[:-1] + b"\0", 1), small, encoded(black, "BMP"),
        MARK, MARK * 100, MARK.hex().encode(), b"GIF89a" + MARK, b"\xff\xd8\xff" + MARK * 9, b"\x89PNG\r\n\x1a\n" + MARK * 9,
        b"RIFF" + bytes(4) + b"WEBP" + MARK * 9, b"BM" + MARK * 9, small[:33] + b"\0\0\0\x18" + MARK * 2 + small[33:],
        small[:33] + b"\0\0\0\x18tEXt" + MARK + zlib.crc32(b"tEXt" + MARK).to_bytes(4, "big") + small[33:-30],
        zlib.compress(MARK),
    ]  # fmt: skip
    return Photos(good, bad)


def files(folders: list[Path], since: int) -> list[Path]:
    """Regular files in folders that were made or changed since then (nanoseconds)."""
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and max(status.st_mtime_ns, status.st_ctime_ns) >= since:
                found.append(path)
    return found


def assert_free_of(secrets: list[bytes], contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        assert not [secret for secret in secrets if secret in content], f"found in {name}"


def read(paths: list[Path]) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in paths}


def written_by(server: Running) -> set[str]:
    """Files that a server's processes have open for writing, deleted ones too; not those in memory."""
    names = set()
    for process in processes(server):
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                name = os.readlink(descriptor)
                flags = int(Path(f"/proc/{process}/fdinfo/{descriptor.name}").read_text().split("flags:")[1].split()[0], 8)
                if flags & os.O_ACCMODE != os.O_RDONLY and name.startswith("/") and not name.startswith(IN_MEMORY):
                    names.add(name)
    return names


def test_the_search_finds_what_is_there(photos: Photos, tmp_path: Path) -> None:
    for spelling in spellings(MARK[:12]):
        (tmp_path / "log").write_bytes(b"something " + spelling + b" something")
        with pytest.raises(AssertionError, match="found in"):
            assert_free_of(marks(), read(files([tmp_path], 0)))
    with FaceParamClient.embedded() as client:
        params = client.infer(photos.good[0])
    with pytest.raises(AssertionError, match="found in"):
        assert_free_of(numbers(params), {"log": json.dumps(params.face.landmarks.tolist()).encode()})


def test_nothing_stays_where_the_server_ran(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Path(os.environ.get("FACEPARAM_CACHE") or Path.home() / ".cache/faceparam")
    monkeypatch.setenv("FACEPARAM_CACHE", str(cache))
    for variable in ("TMPDIR", "HOME"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "TMPDIR"))
    caplog.set_level(logging.DEBUG)
    (tmp_path / "begun").touch()
    begun = (tmp_path / "begun").stat().st_mtime_ns
    log, places = tmp_path / "triton.log", [tmp_path, cache, find_models(None).root]
    with serving(local_options(log_file=log)) as running:
        with FaceParamClient(running.grpc, timeout=HANG_SECONDS) as client:
            answers = [client.infer(photo) for photo in photos.good]
            messages = errors_of(client, photos.bad)
            monkeypatch.setattr(remote, "picture_files", list)  # the server sees what the client would refuse
            answers += client.infer_batch(photos.good)
            messages += errors_of(client, photos.bad)
        secrets = [*marks(), *numbers(answers[0])]
        assert_free_of(secrets, read(files(places, begun)))
        written = {Path(name) for name in written_by(running)}
        assert log in written
        memory = shared_memory(running.process.pid)
        assert memory
    assert_free_of(secrets, read([*files(places, begun), *written]))
    assert log in files(places, begun)
    assert not [region for region in memory if region.exists()]
    assert_free_of(secrets, {"errors": "\n".join(messages).encode(), "the client's log": caplog.text.encode()})


def errors_of(client: FaceParamClient, photos: list[bytes]) -> list[str]:
    """All that the errors of bad photos say, down to their causes."""
    messages = []
    for photo in photos:
        with pytest.raises(FaceParamError) as caught:
            client.infer(photo)
        messages += [*traceback.format_exception(caught.value), repr(caught.value), repr(vars(caught.value))]
    return messages


EMBEDDED = """
import logging, pickle, sys, traceback
from sdk import FaceParamClient, FaceParamError
logging.basicConfig(level=logging.DEBUG)
good, bad = pickle.load(sys.stdin.buffer)
with FaceParamClient.embedded() as client:
    for photo in good + bad:
        try:
            client.infer(photo)
        except FaceParamError as error:
            traceback.print_exception(error)
            print(repr(error), vars(error))
"""


def test_nothing_stays_where_the_embedded_client_ran(photos: Photos, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    for variable in ("TMPDIR", "HOME", "XDG_CACHE_HOME"):
        (tmp_path / variable).mkdir()
        environment[variable] = str(tmp_path / variable)
    environment.pop("ORT_DISABLE_TELEMETRY", None)  # the package itself sees to that
    done = subprocess.run(
        [sys.executable, "-c", EMBEDDED], input=pickle.dumps((photos.good, photos.bad)),
        capture_output=True, env=environment, cwd=tmp_path, check=False, timeout=HANG_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-500:]
    assert done.stdout.count(b"Error(") >= len(photos.bad)
    assert files([tmp_path], 0) == []
    assert_free_of(marks(), {"stdout": done.stdout, "stderr": done.stderr})
