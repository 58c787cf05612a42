"""`python -m sdk PHOTO...`: solve photos from the command line, in this process or on a server (`--url`).

A folder stands for the pictures in it. Without options a short table per photo is printed. `--json` prints one JSON
object per photo and line instead; `--out` writes files. Photos that cannot be solved are reported on stderr, with the
reason, and do not stop the others.

Exit status: 0 all photos solved, 1 some were not, 2 nothing could be done (wrong usage, missing models or packages).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sdk.client import FaceParamClient
from sdk.errors import FaceParamError, FaceRejected, MissingDependencyError, ModelError, ServiceError
from sdk.face_params import FaceParams, StyleChoice
from sdk.outcome import Outcome, Progress
from sdk.output import require_game, write_json, write_preview

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Suffixes of the files in a folder that are taken for photos."""
READY_SECONDS = 5.0
"""How long a server that is starting is waited for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parse(arguments)
    try:
        if options.glb or options.preview:
            require_game()
        with _client(options) as client:
            return _solve_all(client, options)
    except (ModelError, MissingDependencyError, ServiceError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, `head` for example, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"error: cannot write: {error}", file=sys.stderr)
        return 2


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sdk", description="Photos in, the parameters of game characters' faces out.")
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="JPEG, PNG, WebP or BMP file, or a folder of them")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write face.json (and what is chosen below) into DIR, or DIR/NAME"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per photo instead of a table")
    parser.add_argument("--preview", action="store_true", help="write preview.png: the photo beside the character")
    parser.add_argument("--glb", action="store_true", help="write face.glb: the character as glTF")
    parser.add_argument("--jobs", type=int, metavar="N", help="photos at a time (default: 8 on a server, else one per core)")
    server = parser.add_argument_group("on a server")
    url = os.environ.get("FACEPARAM_URL")
    server.add_argument("--url", default=url, metavar="HOST:PORT", help="its gRPC endpoint (default: $FACEPARAM_URL)")
    server.add_argument("--timeout", type=float, metavar="S", help="seconds for one photo (default: $FACEPARAM_TIMEOUT, then 2)")
    here = parser.add_argument_group("in this process, without --url")
    here.add_argument("--models", metavar="DIR", help="model repository (default: $FACEPARAM_MODELS, then the installed)")
    here.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads for one photo (default: 1)")
    options = parser.parse_args(arguments)
    options.photos = _expanded(options.photos)
    if not options.photos:
        parser.error("there are no pictures in the folder")
    if options.jobs is None:
        options.jobs = 8 if options.url else os.cpu_count() or 1
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    if options.timeout is not None and not options.timeout > 0:
        parser.error("--timeout must be more than 0 seconds")
    if options.out is None and (options.preview or options.glb):
        parser.error("--preview and --glb write files: name a folder with --out DIR")
    if options.threads < 1:
        parser.error("--threads must be at least 1")
    if options.out is not None:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"--out: {error}")
    return options


def _expanded(photos: Sequence[str]) -> list[str]:
    """Folders replaced by the pictures in them, by name."""
    files: list[str] = []
    for photo in photos:
        if os.path.isdir(photo):
            inside = sorted(path for path in Path(photo).iterdir() if path.suffix.lower() in PICTURES and path.is_file())
            files += map(str, inside)
        else:
            files.append(photo)
    return files


def _client(options: argparse.Namespace) -> FaceParamClient:
    """The client of the options; a server has been asked whether it is there."""
    if not options.url:
        return FaceParamClient.embedded(options.models, threads=options.threads)
    client = FaceParamClient(options.url, timeout=options.timeout)
    try:
        client.wait_until_ready(READY_SECONDS)
    except BaseException:
        client.close()
        raise
    return client


def _solve_all(client: FaceParamClient, options: argparse.Namespace) -> int:
    failures = 0
    total = len(options.photos)
    folders = list(_folders(options.photos))
    # Where results go into a file or a pipe and a person watches, one line counts; else each photo has its lines.
    bar = Progress(total) if options.json and total > 1 and sys.stderr.isatty() and not sys.stdout.isatty() else None
    for outcome in _in_order(client.infer_many(options.photos, concurrency=options.jobs)):
        photo = options.photos[outcome.index]
        prefix = f"[{outcome.index + 1}/{total}] " if total > 1 else ""
        if bar:
            bar.add(outcome)
        if outcome.error is not None:
            failures += 1
            if not bar:
                print(f"{prefix}{_failure(photo, outcome.error)}", file=sys.stderr)
            if options.json:
                print(json.dumps({"photo": photo, "error": _error_fields(outcome.error)}), flush=True)
            continue
        params = outcome.unwrap()
        if options.json:
            print(json.dumps({"photo": photo, **params.to_dict()}), flush=True)
        else:
            print(f"{prefix}{table(photo, params)}", flush=True)
        for path in _write(params, photo, folders[outcome.index], options):
            if not bar:
                print(f"  wrote       {path}", file=sys.stderr if options.json else sys.stdout)
    if bar:
        bar.close()
    return 1 if failures else 0


def _in_order(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """Outcomes by their index; those that come early wait."""
    early: dict[int, Outcome] = {}
    following = 0
    for outcome in outcomes:
        early[outcome.index] = outcome
        while following in early:
            yield early.pop(following)
            following += 1


def _folders(photos: Sequence[str]) -> Iterator[str]:
    """The folder inside --out for each photo: none for a single one, else the photo's name, numbered where two are equal."""
    taken = {""}
    for photo in photos:
        folder = own = Path(photo).stem if len(photos) > 1 else "."
        number = 1
        while folder in taken:
            number += 1
            folder = f"{own}-{number}"
        taken.add(folder)
        yield folder


def _write(params: FaceParams, photo: str, name: str, options: argparse.Namespace) -> list[Path]:
    if options.out is None:
        return []
    folder = options.out / name
    folder.mkdir(exist_ok=True)
    written = [folder / "face.json"]
    write_json(written[0], params)
    if options.glb:
        written.append(folder / "face.glb")
        written[-1].write_bytes(params.to_glb())
    if options.preview:
        written.append(folder / "preview.png")
        write_preview(written[-1], params, photo)
    return written


def _failure(photo: str, error: FaceParamError) -> str:
    """One line saying what was wrong, naming the photo once; for rejected faces with the reasons' codes."""
    message = str(error)
    line = message if repr(photo) in message else f"{photo!r}: {message}"
    if isinstance(error, FaceRejected):
        line += f" [{', '.join(reason.code for reason in error.reasons)}]"
    return line


def _error_fields(error: FaceParamError) -> dict[str, Any]:
    rejected = error.to_dict() if isinstance(error, FaceRejected) else {}
    return {"type": type(error).__name__, "message": str(error), **rejected}


def table(photo: str, params: FaceParams) -> str:
    """The short table of one photo: pose, strongest action units and sliders, styles, quality."""
    faces = "1 face" if params.face.count == 1 else f"the main one of {params.face.count} faces"
    rows = {
        "pose": f"pitch {params['pitch']:+.1f}°  yaw {params['yaw']:+.1f}°  roll {params.face.roll:+.1f}°",
        "expression": "  ".join(f"{name} {value:.2f}" for name, value in params.expression.strongest(5)),
        "sliders": "  ".join(f"{name} {value:+.2f}" for name, value in params.identity.strongest(5)),
        "style": "  ".join(_choice(name, choice) for name, choice in params.style.items() if not choice.colour),
        "colours": "  ".join(_choice(name, choice) for name, choice in params.style.items() if choice.colour),
        "quality": _quality(params),
    }
    lines = [f"{photo}  ({faces}, {params.timings.get('total', 0):.0f} ms)"]
    return "\n".join([*lines, *(f"  {name:<11} {row or 'none'}" for name, row in rows.items())])


def _choice(slot: str, choice: StyleChoice) -> str:
    return f"{slot} {choice.option} {choice.probability:.0%}" + (" (hidden)" if choice.visible < 0.5 else "")


def _quality(params: FaceParams) -> str:
    import dataclasses

    measures = dataclasses.asdict(params.face.quality)
    return "  ".join(f"{name} {value:.2f}" for name, value in measures.items())


if __name__ == "__main__":
    sys.exit(main())
