"""However a photo gets to the models, the answer is the same: served, embedded, batched, at the same time as others, as a
file or as pixels."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from PIL import Image

from export.serve import Running
from sdk import AsyncFaceParamClient, FaceParamClient, contract
from sdk.letterbox import letterbox
from sdk.schema import REFERENCE
from tests.serving.conftest import Solved
from tests.serving.hostile_images import encoded
from tests.serving.local_server import HANG_SECONDS
from tests.serving.same_answer import TOLERANCE, assert_same, difference

Pixels = NDArray[np.uint8]

SAME_SIZE = 0.02
"""Of parameters between decoders. JPEG's standard lets decoders differ by a grey level; one of noise in every pixel of the
portrait moves its parameters by up to 0.015."""
REDUCED = 0.03
"""The same where the server decodes at half the size, which averages pixels in another way than shrinking them does."""
POSE_SCALE, LANDMARK_SCALE = 10, 20
"""Degrees and pixels of the crop that count as much as 1 in a parameter."""


def small_in_a_large_photo(portrait: Pixels) -> Pixels:
    """A face of which the canvas shows too little: it takes a second look."""
    photo = np.full((3000, 4000, 3), 90, np.uint8)
    photo[1200:1712, 600:1112] = portrait
    return photo


@pytest.mark.parametrize("change", [lambda p: p, lambda p: p[:, ::-1].copy(), lambda p: p[40:470, 30:], small_in_a_large_photo])
def test_served_is_embedded(
    remote: FaceParamClient, embedded: FaceParamClient, portrait: Pixels, change: Callable[[Pixels], Pixels]
) -> None:
    photo = change(portrait)
    assert_same(remote.infer(photo), embedded.infer(photo))


def test_answers_of_different_photos_differ(faces: list[Solved]) -> None:
    """So that a mix-up cannot go unnoticed in the tests that use them."""
    for one, other in itertools.combinations(faces, 2):
        assert difference(one.answer, other.answer, "identity") > 20 * TOLERANCE


def test_one_by_one(remote: FaceParamClient, faces: list[Solved]) -> None:
    for face in faces:
        assert_same(remote.infer(face.photo), face.answer)


def test_at_the_same_time(remote: FaceParamClient, faces: list[Solved]) -> None:
    """Triton puts them together into batches as it likes."""
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(remote.infer, [face.photo for face in faces] * 3))
    for answer, face in zip(together, faces * 3, strict=True):
        assert_same(answer, face.answer)


def test_a_batch_of_mixed_sizes(
    remote: FaceParamClient, embedded: FaceParamClient, faces: list[Solved], portrait: Pixels
) -> None:
    """More photos than fit into one request, small and large, with and without a second look."""
    large = encoded(small_in_a_large_photo(portrait), "JPEG", quality=95)
    photos = [*(face.photo for face in faces), large, *(face.photo for face in faces), portrait]
    assert len(photos) > contract.MAX_BATCH
    alone = [face.answer for face in faces]
    expected = [*alone, embedded.infer(large), *alone, embedded.infer(portrait)]
    for answer, wanted in zip(remote.infer_batch(photos), expected, strict=True):
        assert_same(answer, wanted)
    assert_same(remote.infer(large), expected[16])


def test_many(remote: FaceParamClient, faces: list[Solved]) -> None:
    outcomes = list(remote.infer_many([face.photo for face in faces] * 2))
    assert sorted(outcome.index for outcome in outcomes) == list(range(2 * len(faces)))
    for outcome in outcomes:
        assert_same(outcome.unwrap(), faces[outcome.index % len(faces)].answer)


def test_in_asyncio(server: Running, faces: list[Solved]) -> None:
    async def solve() -> None:
        photos = [face.photo for face in faces]
        async with AsyncFaceParamClient(server.grpc, timeout=HANG_SECONDS) as client:
            alone = await client.infer(photos[0])
            batch = await client.infer_batch(photos)
            together = await asyncio.gather(*(client.infer(photo) for photo in photos))
            many = {outcome.index: outcome.unwrap() async for outcome in client.infer_many(photos)}
        assert_same(alone, faces[0].answer)
        for number, face in enumerate(faces):
            for answer in (batch[number], together[number], many[number]):
                assert_same(answer, face.answer)

    asyncio.run(solve())


def by_opencv(file: bytes) -> Pixels:
    return np.asarray(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def by_pillow(file: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


@pytest.mark.parametrize("decoder", [by_opencv, by_pillow])
@pytest.mark.parametrize(("enlarged", "tolerance"), [(1, SAME_SIZE), (3, REDUCED)])
def test_a_jpeg_is_its_pixels(
    server: Running, portrait: Pixels, decoder: Callable[[bytes], Pixels], enlarged: int, tolerance: float
) -> None:
    photo = cv2.resize(portrait, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
    file = encoded(photo, "JPEG", quality=95)
    from_file = answer(server, "face_params", np.array([[file]], object))
    from_pixels = answer(server, "face_params_canvas", letterbox(decoder(file))[0][None])
    for name in ("identity", "expression", "identity_sigma", "expression_sigma"):
        np.testing.assert_allclose(from_file[name], from_pixels[name], rtol=0, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(from_file["pose"], from_pixels["pose"], rtol=0, atol=POSE_SCALE * tolerance)
    np.testing.assert_allclose(from_file["landmarks"], from_pixels["landmarks"], rtol=0, atol=LANDMARK_SCALE * tolerance)
    for name in (contract.style_name(slot.name) for slot in REFERENCE.style):
        assert from_file[name].argmax() == from_pixels[name].argmax(), name
    visible = (values[contract.STYLE_VISIBLE] for values in (from_file, from_pixels))
    np.testing.assert_allclose(*visible, rtol=0, atol=0.05)


def answer(server: Running, ensemble: str, photo: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    """The raw outputs of an ensemble."""
    model = next(model for model in contract.face_params() if model.name == ensemble)
    (tensor,) = model.inputs
    sent = triton.InferInput(tensor.name, list(photo.shape), "BYTES" if tensor.dtype == "bytes" else "UINT8")
    client = triton.InferenceServerClient(server.grpc)
    result = client.infer(ensemble, [sent.set_data_from_numpy(photo)], client_timeout=HANG_SECONDS)
    return {output.name: result.as_numpy(output.name) for output in model.outputs}
