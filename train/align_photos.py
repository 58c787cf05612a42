"""Align photos or renders: WebDataset shards or folders of photos in, shards of 256-pixel crops out.

    python -m train.align_photos --shards lfw-train-*.tar --out aligned/photos
    python -m train.align_photos --shards my_photos/ s3://bucket/photos-*.tar --out aligned/photos
    python -m train.align_photos --shards renders/renders-*.tar --out aligned/renders

Photos and renders pass through the same letterbox and the same `align` graph as a player's photo does, so that the networks
are trained on what they will see. A sample KEY becomes

- ``KEY.jpg``: the crop, quality 95, 4:4:4;
- ``KEY.json``: the sample's own fields, if it had any, and ``transform`` (2, 3) from the sample's pixels to crop pixels,
  ``detector_score``, ``mesh_score``, ``roll``, and ``quality``, the measures of :class:`sdk.quality.Quality`;
- ``KEY.landmarks.npy``: FaceMesh's points, float32 (468, 3), crop pixels;
- ``KEY.mask.png``, only where a part of the crop lies outside the photo or in the black corners of a photo that somebody turned
  before (LFW): 255 inside;
- for renders ``KEY.rig_landmarks.npy``, the exact points of the rig, float32 (468, 2), crop pixels, and ``KEY.png``, labels.

Samples that cannot be read, and those in which no face is found, are left out and counted by reason. A run that was stopped goes
on with the shards that are missing.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import io
import json
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tqdm import tqdm

from game.shard_writer import new_shard
from sdk.contract import CROP_SIZE
from sdk.errors import InputError
from sdk.geometry import compose, invert
from sdk.image import decode
from sdk.letterbox import letterbox
from sdk.quality import count_faces, measure
from train.shard_files import Files, Source, photo_of, sources

ALIGN = Path(__file__).parent.parent / "model_repository/align/1/model.onnx"
BLACK = 8
"""Brightest value that counts as black: JPEG leaves traces in black corners."""
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


class ShardAligner:
    """Aligns the samples of shards with the `align` model on one thread."""

    def __init__(self, model: Path = ALIGN) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]

    def align(self, files: Files) -> Files | None:
        """The files of the aligned sample, or None where no face is found. :class:`sdk.errors.InputError` where the picture
        cannot be read."""
        picture = photo_of(files)
        photo = decode(picture)
        image = photo.pixels
        canvas, to_canvas = letterbox(image)
        outputs = dict(zip(self.names, (o[0] for o in self.session.run(None, {"canvas": canvas[None]})), strict=True))
        if count_faces(outputs) == 0:
            return None
        transform = compose(outputs["transform"], to_canvas)
        fields: dict[str, Any] = json.loads(files["json"]) if "json" in files else {}
        fields["transform"] = np.round(compose(transform, invert(photo.to_photo)), 6).tolist()
        for name in ("detector_score", "mesh_score", "roll"):
            fields[name] = round(float(outputs[name]), 4)
        quality = measure(outputs, canvas, 1 / to_canvas[0, 0])
        fields["quality"] = {name: round(value, 4) for name, value in dataclasses.asdict(quality).items()}
        crop = np.clip(outputs["crop"].transpose(1, 2, 0) * 255 + 0.5, 0, 255).astype(np.uint8)
        aligned = {
            "jpg": cv2.imencode(".jpg", crop[..., ::-1], _JPEG)[1].tobytes(),
            "landmarks.npy": _npy(outputs["landmarks"]),
        }
        is_render = "png" in files and picture is not files["png"]
        mask = _warp(np.full(image.shape[:2], 255, np.uint8) if is_render else _without_corners(image), transform)
        if mask.min() == 0:
            aligned["mask.png"] = cv2.imencode(".png", mask)[1].tobytes()
        if "landmarks.npy" in files:
            points = np.load(io.BytesIO(files["landmarks.npy"]))[:, :2]
            aligned["rig_landmarks.npy"] = _npy(points @ transform[:, :2].T + transform[:, 2])
        if is_render:
            labels = cv2.imdecode(np.frombuffer(files["png"], np.uint8), cv2.IMREAD_GRAYSCALE)
            aligned["png"] = cv2.imencode(".png", _warp(labels, transform), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
        return aligned | {"json": json.dumps(fields, separators=(",", ":")).encode()}


def _warp(picture: NDArray[np.uint8], transform: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Labels under the transform, nearest neighbour; 0 outside."""
    # OpenCV counts pixels from their centres: (0, 0) is what is (0.5, 0.5) here.
    shifted = transform.copy()
    shifted[:, 2] += transform[:, :2] @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(picture, shifted, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_NEAREST)


def _without_corners(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8: 0 in the black areas (H, W, 3) that begin in a corner of the photo, 255 elsewhere."""
    _, areas = cv2.connectedComponents((image.max(2) <= BLACK).astype(np.uint8))
    corners = [area for area in areas[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() if area]
    return np.where(np.isin(areas, corners), 0, 255).astype(np.uint8)


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array, np.float32))
    return buffer.getvalue()


_aligner: ShardAligner | None = None


Count = collections.Counter[str]
"""Samples by what became of them: "aligned", "no face", or the error of a picture."""


def _align_shard(job: tuple[Source, Path]) -> Count:
    """Align one shard in this process."""
    global _aligner
    _aligner = _aligner or ShardAligner()
    source, target = job
    count = Count()
    with new_shard(target) as add:
        for key, files in source.samples():
            try:
                aligned = _aligner.align(files)
            except InputError as error:
                count[type(error).__name__] += 1
                continue
            count["no face" if aligned is None else "aligned"] += 1
            add(key, aligned or {})
    return count


def align_photos(shards: Sequence[str | Path], out: Path, workers: int | None = None) -> Count:
    """Align what is missing in ``out`` of shards and folders; how many samples became what.

    ``workers``: processes; the number of cores where None. FileNotFoundError, ValueError: as
    :func:`train.shard_files.sources`.
    """
    out.mkdir(parents=True, exist_ok=True)
    missing = [(source, out / source.name) for source in sources(shards) if not (out / source.name).exists()]
    if not missing:
        return Count()
    cores = workers or len(os.sched_getaffinity(0))
    count = Count()
    with multiprocessing.get_context("spawn").Pool(min(cores, len(missing)), cv2.setNumThreads, (1,)) as pool:
        for found in tqdm(pool.imap_unordered(_align_shard, missing), total=len(missing), unit="shard"):
            count += found
    return count


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--shards", nargs="+", required=True, metavar="TAR", help="shards or folders of photos, shards of renders"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the aligned shards, named as theirs")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: all cores)")
    options = parser.parse_args(arguments)
    try:
        count = align_photos(options.shards, options.out, options.workers)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    left_out = ", ".join(f"{number} left out ({reason})" for reason, number in count.most_common() if reason != "aligned")
    print(f"{count['aligned']} samples aligned{', ' if left_out else ''}{left_out}; shards in {options.out}")


if __name__ == "__main__":
    main()
