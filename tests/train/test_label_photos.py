"""Labelling by Ray Data, on a Ray of this machine."""

from __future__ import annotations

import gc
import gzip
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sdk import FaceParamClient, FaceParams
from tests.train.test_shard_files import portrait, write_tar
from train.label_photos import Options, main, summary

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local Ray. It waits 30 seconds for its own start, which a busy machine may exceed: then it is started once more."""
    if not started():
        stop()
        assert started()
    yield
    stop()


def started() -> bool:
    try:
        ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        return False
    return True


def stop() -> None:
    """Stop Ray, and collect its processes here: it waits for none of them, and Python warns wherever they are collected."""
    ray.shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    first = write_tar(
        tmp_path / "first.tar", {"a_0001.jpg": portrait(), "b_0001.jpg": portrait()[:900], "c_0001.jpg": b"no picture"}
    )
    second = write_tar(tmp_path / "second.tar", {"d_0001.jpg": portrait(200)})
    return [str(first), str(second)]


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


@pytest.mark.usefixtures("cluster")
def test_labels_are_what_the_client_says(shards: list[str], tmp_path: Path) -> None:
    options = Options(shards=shards, out=str(tmp_path / "labels"), workers=2)
    counts = main(options)
    assert counts["labelled"] == 2 and sum(counts.values()) == 4
    assert summary(counts).startswith("2 photos labelled, ")
    lines = {line["key"]: line for line in read(tmp_path / "labels" / "first.jsonl.gz")}
    assert list(lines) == ["a_0001", "b_0001", "c_0001"]
    assert "unreadable" in lines["b_0001"] and "unreadable" in lines["c_0001"]
    with FaceParamClient.embedded() as client:
        expected = client.infer(portrait())
    said = FaceParams.from_json(json.dumps(lines["a_0001"]["params"]))
    np.testing.assert_allclose(said.identity.array, expected.identity.array, atol=1e-5)


@pytest.mark.usefixtures("cluster")
def test_what_is_labelled_stays_and_what_is_broken_stops_nothing(
    shards: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "second.jsonl.gz").write_bytes(b"done before")
    whole = Path(shards[0]).read_bytes()
    (tmp_path / "broken.tar").write_bytes(whole[: len(whole) // 2])
    options = Options(shards=[*shards, str(tmp_path / "broken.tar")], out=str(labels), workers=1)
    counts = main(options)
    assert counts["labelled"] == 1 and counts["broken shards"] == 1
    assert "broken.tar" in caplog.text
    assert (labels / "second.jsonl.gz").read_bytes() == b"done before"
    assert sorted(path.name for path in labels.iterdir()) == ["first.jsonl.gz", "second.jsonl.gz"]
    assert main(Options(shards=shards, out=str(labels))) == {}
