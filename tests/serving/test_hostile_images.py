"""Thousands of damaged, lying and strange files through the decoder, the embedded client and the server.

None crashes or hangs anything or takes much memory; each ends in the right answer or a typed error, the same everywhere.
The server gets them all, also those that the client would refuse to send."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from export.serve import Running
from sdk import FaceParamClient, InputError, remote
from sdk.image import MAX_DECODED_BYTES
from tests.serving.conftest import Solved
from tests.serving.hostile_images import FACE, Hostile, hostile_images
from tests.serving.local_server import HANG_SECONDS, processes
from tests.serving.same_answer import FLOAT_NOISE, TOLERANCE, Outcome, assert_same, difference, outcome_of

ROOT = Path(__file__).parents[2]
CONCURRENCY = 8
TYPED = {kind.__name__ for kind in InputError.__subclasses__()}
EMBEDDED_BYTES = 600 * 2**20
"""What `sdk.image` promises."""
SERVER_BYTES = 2 * MAX_DECODED_BYTES
"""How much the server may have grown afterwards: each of its two decoders may keep what its largest picture took."""


@dataclass(frozen=True)
class Seen:
    """A file and what became of it."""

    image: Hostile
    decoded: Outcome
    embedded: Outcome
    served: Outcome


@dataclass(frozen=True)
class Run:
    """All files; memory in bytes."""

    seen: list[Seen]
    embedded_peak: int
    server_before: int
    server_after: int


@pytest.fixture(scope="module")
def unchecked(server: Running) -> Iterator[FaceParamClient]:
    """A client that sends whatever it gets."""
    with pytest.MonkeyPatch.context() as patch, FaceParamClient(server.grpc, timeout=HANG_SECONDS) as client:
        patch.setattr(remote, "picture_files", list)
        yield client


@pytest.fixture(scope="module")
def run(server: Running, unchecked: FaceParamClient, faces: list[Solved], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """In process and on the server at the same time."""
    images = hostile_images()
    files = [image.data for image in images]
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "in").write_bytes(pickle.dumps(files))
    command = [sys.executable, "-m", "tests.serving.solve_in_process"]
    with (folder / "in").open("rb") as sent, (folder / "out").open("wb") as got, (folder / "err").open("wb") as said:
        child = subprocess.Popen(command, stdin=sent, stdout=got, stderr=said, cwd=ROOT)
    try:
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            sound = [face.photo for face in faces * 8]
            for size in range(1, CONCURRENCY + 1):  # of each the networks keep what they need for it
                unchecked.infer_batch(sound[:size])
            list(pool.map(unchecked.infer, sound))
            before = memory(server)
            served = list(pool.map(lambda file: outcome_of(unchecked.infer, file), files))
        status = child.wait(10 * HANG_SECONDS)
    finally:
        child.kill()
        child.wait()
    *in_process, peak = _unpickled(folder / "out")
    assert status == 0, f"{images[len(in_process)]} ended the process; it said last: {(folder / 'err').read_text()[-500:]}"
    seen = [Seen(image, *ours, theirs) for image, ours, theirs in zip(images, in_process, served, strict=True)]
    return Run(seen, peak, before, memory(server))


def memory(server: Running) -> int:
    """Bytes of all processes of a server; what they share counts once."""
    rollups = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in processes(server)]
    return 1024 * sum(int(kilobytes) for rollup in rollups for kilobytes in re.findall(r"^Pss: +(\d+) kB", rollup, re.MULTILINE))


def _unpickled(path: Path) -> Iterator[object]:
    with path.open("rb") as file:
        while True:
            try:
                yield pickle.load(file)
            except EOFError:
                return


def test_there_are_thousands_of_all_kinds(run: Run) -> None:
    assert len({seen.image.data for seen in run.seen}) == len(run.seen) >= 2000
    kinds = Counter(seen.image.kind for seen in run.seen)
    assert len(kinds) >= 25, kinds


def test_each_is_decoded_or_a_typed_error(run: Run) -> None:
    assert {seen.decoded.name for seen in run.seen} <= TYPED | {FACE}
    for seen in run.seen:
        if seen.decoded.name != FACE:
            assert seen.embedded.name == seen.decoded.name


def test_each_is_solved_or_a_typed_error(run: Run) -> None:
    assert {seen.embedded.name for seen in run.seen} == TYPED - {"ImageReadError"} | {FACE, "FaceRejected", "NoFaceError"}


def test_each_outcome_is_the_right_one(run: Run) -> None:
    wrong = [seen for seen in run.seen if seen.image.expected and seen.embedded.name not in seen.image.expected]
    assert not wrong, wrong[:10]


def test_the_same_pixels_are_the_same_face(run: Run) -> None:
    """However they are turned, and whatever stands beside them in the file."""
    sound = {seen.image.name: seen.embedded.params for seen in run.seen if seen.image.kind == "sound"}
    for seen in run.seen:
        if (twin := sound.get(seen.image.same_as)) is None:
            continue
        assert seen.embedded.params is not None, seen.image
        if seen.image.kind != "exif orientation":
            assert_same(seen.embedded.params, twin)
            continue
        for name in ("identity", "expression"):
            if seen.image.same_as == "jpeg":  # compressed anew, after it was turned: less than the answer's own uncertainty
                change = np.abs(getattr(seen.embedded.params, name).array - getattr(twin, name).array)
                assert (change <= getattr(twin, f"{name}_sigma").array).all(), seen.image
            else:  # the face lies elsewhere in the file
                assert difference(seen.embedded.params, twin, name) <= TOLERANCE + FLOAT_NOISE, seen.image
        assert seen.embedded.params.style.indices() == twin.style.indices(), seen.image
        if seen.image.same_as != "jpeg":
            for slot, own in seen.embedded.params.style.items():
                assert np.abs(own.probabilities - twin.style[slot].probabilities).max() <= TOLERANCE, (seen.image, slot)


def test_the_server_says_what_the_embedded_client_says(run: Run) -> None:
    different = [seen for seen in run.seen if seen.served.name != seen.embedded.name]
    assert not different, different[:10]
    for seen in run.seen:
        if seen.embedded.params and seen.served.params:
            assert_same(seen.served.params, seen.embedded.params)


def test_memory_is_bounded(run: Run) -> None:
    assert run.embedded_peak < EMBEDDED_BYTES
    assert run.server_after - run.server_before < SERVER_BYTES


def test_the_server_is_well_afterwards(run: Run, server: Running, remote: FaceParamClient, faces: list[Solved]) -> None:
    assert server.process.poll() is None
    for face in faces:
        assert_same(remote.infer(face.photo), face.answer)
