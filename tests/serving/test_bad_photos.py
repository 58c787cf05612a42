"""Every kind of photo that cannot be solved ends in the same typed error from the server as in process, and stops no other."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from export.serve import Running
from sdk import AsyncFaceParamClient, FaceParamClient, FaceParamError, FaceRejected, NoFaceError, errors
from sdk.photo_input import MAX_FILE_BYTES
from tests.serving.conftest import Solved
from tests.serving.hostile_images import encoded
from tests.serving.local_server import HANG_SECONDS
from tests.serving.same_answer import assert_same


@pytest.fixture(scope="module")
def bad(portrait: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, type[FaceParamError]]]:
    """Photos with the errors that they deserve."""
    folder: Path = tmp_path_factory.mktemp("bad")
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("this is no photo")
    with (folder / "huge.jpg").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    jpeg, png = encoded(portrait, "JPEG"), encoded(portrait, "PNG")
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    return [
        (folder / "missing.jpg", errors.ImageReadError),
        (folder, errors.ImageReadError),
        ("https://example.org/me.jpg", errors.ImageReadError),
        ("a\0b", errors.ImageReadError),
        (folder / "empty.jpg", errors.ImageDecodeError),
        (b"", errors.ImageDecodeError),
        (jpeg[: len(jpeg) // 2], errors.ImageDecodeError),
        (png[:500] + b"\0" + png[501:], errors.ImageDecodeError),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, errors.ImageDecodeError),
        (np.zeros((0, 5, 3), np.uint8), errors.ImageDecodeError),
        (folder / "text.jpg", errors.UnsupportedImageError),
        (b"GIF89a" + b"\0" * 50, errors.UnsupportedImageError),
        (encoded(portrait, "GIF"), errors.UnsupportedImageError),
        (np.zeros((9, 9, 3), np.float32), errors.UnsupportedImageError),
        (np.zeros((3, 9, 9), np.uint8), errors.UnsupportedImageError),
        (None, errors.UnsupportedImageError),
        (folder / "huge.jpg", errors.ImageTooLargeError),
        (np.broadcast_to(np.uint8(0), (9000, 9000, 3)), errors.ImageTooLargeError),
        (np.zeros((64, 64, 3), np.uint8), NoFaceError),
        (noise, NoFaceError),
        (encoded(cv2.resize(portrait, (100, 100)), "JPEG"), FaceRejected),
        (portrait // 16, FaceRejected),
        (cv2.GaussianBlur(portrait, (0, 0), 9), FaceRejected),
    ]


def test_the_error_is_that_of_the_embedded_client(
    remote: FaceParamClient, embedded: FaceParamClient, bad: list[tuple[Any, type[FaceParamError]]]
) -> None:
    for photo, error in bad:
        with pytest.raises(error) as served:
            remote.infer(photo)
        with pytest.raises(error) as local:
            embedded.infer(photo)
        assert type(served.value) is type(local.value)
        assert str(served.value) == str(local.value)
        if isinstance(served.value, FaceRejected) and isinstance(local.value, FaceRejected):
            assert [reason.code for reason in served.value.reasons] == [reason.code for reason in local.value.reasons]


def test_a_batch_says_which_photo_was_bad(
    remote: FaceParamClient, faces: list[Solved], bad: list[tuple[Any, type[FaceParamError]]]
) -> None:
    for photo, error in bad:
        with pytest.raises(error) as caught:
            remote.infer_batch([faces[0].photo, faces[1].photo, photo, faces[2].photo])
        assert caught.value.photo == 2


def test_among_many_each_ends_in_its_own_way(
    server: Running, remote: FaceParamClient, faces: list[Solved], bad: list[tuple[Any, type[FaceParamError]]]
) -> None:
    photos = [photo for (bad_one, _), face in zip(bad, itertools.cycle(faces), strict=False) for photo in (bad_one, face.photo)]

    async def in_asyncio() -> list[Any]:
        async with AsyncFaceParamClient(server.grpc, timeout=HANG_SECONDS) as client:
            return [outcome async for outcome in client.infer_many(photos)]

    for outcomes in (list(remote.infer_many(photos)), asyncio.run(in_asyncio())):
        assert sorted(outcome.index for outcome in outcomes) == list(range(len(photos)))
        for outcome in outcomes:
            if outcome.index % 2:
                assert_same(outcome.unwrap(), faces[outcome.index // 2 % len(faces)].answer)
            else:
                assert isinstance(outcome.error, bad[outcome.index // 2][1]), outcome
                assert outcome.photo_is_to_blame
