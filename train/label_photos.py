"""Label very large collections of photos with the parameters of their faces, on many machines, by Ray Data.

    pip install 'faceparam[label]'
    python -m train.label_photos --shards 's3://bucket/photos-*.tar' --out s3://bucket/labels           # all cores of a cluster
    python -m train.label_photos --shards photos-*.tar my_photos/ --out labels --workers 2              # of this machine

Every worker holds an embedded client and takes one shard after the other. A shard ``NAME.tar`` becomes ``NAME.jsonl.gz``, a line
of JSON for every photo: ``{"key", "params"}`` with :meth:`sdk.FaceParams.to_dict`, or ``{"key", "rejected"}`` with the code of
the first reason, or ``{"key", "unreadable"}`` with the error. It is there only when it is whole: a run that was stopped goes on
with what is missing. A shard that is itself broken is reported at the end and stops nothing. `RAY_ADDRESS` says which cluster;
without it, Ray starts on this machine alone."""

from __future__ import annotations

import collections
import gzip
import json
import logging
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import tyro
from tqdm import tqdm

from sdk import FaceParamClient, FaceRejected
from sdk.errors import InputError
from train.shard_files import Files, Source, is_remote, photo_of, sources

log = logging.getLogger(__name__)

PHOTOS_AT_ONCE = 32


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    shards: list[str]  # tars of photos, folders of photos; URLs may have patterns
    out: str  # folder or URL
    workers: int = 0  # at most so many at once (0: as many as the cluster has cores)
    model_repository: Path | None = None


class Labeller:
    """One worker of Ray's: an embedded client on one thread."""

    def __init__(self, out: str, model_repository: Path | None) -> None:
        self.out = out
        self.client = FaceParamClient.embedded(model_repository, threads=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Label shards: a batch of Ray's with ``source``; ``source`` and ``report``, JSON, come back."""
        return {"source": batch["source"], "report": [json.dumps(self.label(source)) for source in batch["source"]]}

    def label(self, source: Source) -> dict[str, Any]:
        """Label one shard; how many photos became what, or ``{"broken": why}``."""
        counts: collections.Counter[str] = collections.Counter()
        lines = []
        try:
            for line in self.lines(source.samples()):
                counts[next((f"{kind}: {line[kind]}" for kind in ("rejected", "unreadable") if kind in line), "labelled")] += 1
                lines.append(json.dumps(line, separators=(",", ":")) + "\n")
        except (tarfile.TarError, OSError, EOFError) as error:
            return {"broken": f"{type(error).__name__}: {error}"}
        write_whole(labels_place(self.out, source), gzip.compress("".join(lines).encode(), mtime=0))
        return {"counts": counts}

    def lines(self, samples: Iterator[tuple[str, Files]]) -> Iterator[dict[str, Any]]:
        """The label of every photo, in order."""
        for part in batched(samples, PHOTOS_AT_ONCE):
            outcomes = self.client.infer_many([photo_of(files) for _, files in part], concurrency=1)
            for (key, _), outcome in zip(part, outcomes, strict=True):
                if outcome.params is not None:
                    yield {"key": key, "params": outcome.params.to_dict()}
                elif isinstance(outcome.error, FaceRejected):
                    yield {"key": key, "rejected": outcome.error.reasons[0].code}
                elif isinstance(outcome.error, InputError):
                    yield {"key": key, "unreadable": type(outcome.error).__name__}
                else:
                    raise outcome.error or RuntimeError("no answer")


def batched(samples: Iterator[tuple[str, Files]], count: int) -> Iterator[list[tuple[str, Files]]]:
    """Lists of so many, the last one shorter."""
    part: list[tuple[str, Files]] = []
    for sample in samples:
        part.append(sample)
        if len(part) == count:
            yield part
            part = []
    if part:
        yield part


def labels_place(out: str, source: Source) -> str:
    """Where the labels of a shard go."""
    return f"{out.rstrip('/')}/{source.name.removesuffix('.tar')}.jsonl.gz"


def write_whole(place: str, data: bytes) -> None:
    """Write a file so that it is there only when it is whole."""
    filesystem, path = fsspec.core.url_to_fs(place)
    if is_remote(place):
        filesystem.pipe_file(path, data)  # object stores show nothing before it is whole
        return
    filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
    filesystem.pipe_file(path + ".part", data)
    filesystem.mv(path + ".part", path)


def main(options: Options) -> collections.Counter[str]:
    """Label what is not labelled yet; how many photos became what, with "broken shards" among them."""
    import ray

    missing = [source for source in sources(options.shards) if not _exists(labels_place(options.out, source))]
    counts: collections.Counter[str] = collections.Counter()
    if not missing:
        return counts
    ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level=logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    cores = int(ray.cluster_resources()["CPU"])
    workers = min(options.workers or cores, cores, len(missing))
    data = ray.data.from_items([{"source": source} for source in missing], override_num_blocks=len(missing))
    labelled = data.map_batches(
        Labeller, fn_constructor_args=(options.out, options.model_repository), batch_size=1, concurrency=workers, num_cpus=1
    )
    for row in tqdm(labelled.iter_rows(), total=len(missing), unit="shard"):
        report = json.loads(row["report"])
        counts.update(report.get("counts", {}))
        if "broken" in report:
            counts["broken shards"] += 1
            log.error("%s: %s", row["source"].place, report["broken"])
    return counts


def _exists(place: str) -> bool:
    filesystem, path = fsspec.core.url_to_fs(place)
    return bool(filesystem.exists(path))


def summary(counts: collections.Counter[str]) -> str:
    """One line for people."""
    rest: Sequence[str] = [f"{number} {name}" for name, number in counts.most_common() if name != "labelled"]
    return ", ".join([f"{counts['labelled']} photos labelled", *rest])


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    found = main(tyro.cli(Options, description=__doc__))
    print(summary(found))
    raise SystemExit(1 if found["broken shards"] else 0)
