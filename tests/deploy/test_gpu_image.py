"""sdk/gpu_image.py: what is nvImageCodec's to decode, with a decoder that stands in, and with nvImageCodec on the CPU."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from sdk import gpu_image
from sdk.errors import ImageDecodeError, UnsupportedImageError
from sdk.gpu_image import GpuDecoder, decode_all
from sdk.image import Photo, decode
from sdk.image_header import read_header

PORTRAIT = skimage.data.astronaut()


def picture(
    kind: str = "JPEG", size: tuple[int, int] = (512, 512), orientation: int = 1, mode: str = "RGB", **how: object
) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(cv2.resize(PORTRAIT, size)).convert(mode).save(file, kind, exif=exif, **how)
    return file.getvalue()


class Codec:
    """Stands in for the module ``nvidia.nvimgcodec`` and for its decoder: OpenCV decodes."""

    SampleFormat = SimpleNamespace(I_RGB="RGB")

    def __init__(self) -> None:
        self.calls: list[int] = []

    def DecodeParams(self, **how: object) -> dict[str, object]:
        return how

    def CodeStream(self, data: bytes) -> SimpleNamespace:
        header = read_header(data, "it")
        return SimpleNamespace(data=data, width=header.width, height=header.height, num_channels=3, precision=8)

    def decode(self, streams: list[SimpleNamespace], params: dict[str, object]) -> list[Any]:
        assert params == {"apply_exif_orientation": False, "sample_format": "RGB"}
        self.calls.append(len(streams))
        return [self.image(stream.data) for stream in streams]

    def image(self, data: bytes) -> SimpleNamespace | None:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        return None if pixels is None else SimpleNamespace(cpu=lambda: pixels[..., ::-1])


@pytest.fixture
def codec() -> Codec:
    return Codec()


@pytest.fixture
def gpu(codec: Codec) -> GpuDecoder:
    return GpuDecoder(codec, codec)


@pytest.fixture(scope="module")
def real() -> GpuDecoder:
    codec = pytest.importorskip("nvidia.nvimgcodec", reason="nvImageCodec is not installed")
    backends = [codec.Backend(codec.BackendKind.CPU_ONLY)]
    return GpuDecoder(codec, codec.Decoder(codec.NVIMGCODEC_DEVICE_CPU_ONLY, backends=backends, options=gpu_image.OPTIONS))


def assert_close(ours: Photo, opencv: Photo) -> None:
    """The same place and size to the bit; pixels as near as two ways of making a picture smaller."""
    assert (ours.width, ours.height) == (opencv.width, opencv.height)
    assert np.array_equal(ours.to_photo, opencv.to_photo)
    assert difference(ours.pixels, opencv.pixels) < 1


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b).mean())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(512, 512), (701, 533), (1283, 967), (2563, 1931), (5203, 1301), (1281, 2)])
def test_photos_are_those_of_opencv(gpu: GpuDecoder, codec: Codec, size: tuple[int, int], orientation: int) -> None:
    file = picture(size=size, orientation=orientation)
    (photo,) = decode_all([file], gpu)
    assert isinstance(photo, Photo) and codec.calls == [1]
    assert_close(photo, decode(file))


def test_the_same_with_nvimagecodec(real: GpuDecoder) -> None:
    files = [picture(size=size, orientation=turn) for size in ((512, 512), (701, 533), (2563, 1931)) for turn in (1, 6)]
    files += [picture(progressive=True), picture(mode="L"), picture(subsampling=1)]
    opened = [gpu_image._open(file) for file in files]
    assert all(image is not None for image in real.decode(opened))
    for photo, file in zip(decode_all(files, real), files, strict=True):
        assert isinstance(photo, Photo)
        assert_close(photo, decode(file))


def test_nvimagecodec_leaves_the_rare_to_opencv(real: GpuDecoder) -> None:
    files = [picture("PNG"), picture("WEBP"), picture(mode="CMYK"), picture(keep_rgb=True)]
    assert real.decode([gpu_image._open(file) for file in files]) == [None] * 4


def test_a_bad_file_fails_alone(gpu: GpuDecoder, codec: Codec) -> None:
    good = picture()
    answers = list(decode_all([good, b"no picture", good, good[:5000], picture("PNG"), good], gpu))
    assert codec.calls == [3]
    kinds = [Photo, UnsupportedImageError, Photo, ImageDecodeError, Photo, Photo]
    assert [type(answer) for answer in answers] == kinds


def test_what_the_gpu_cannot_decode_opencv_does(gpu: GpuDecoder, codec: Codec) -> None:
    file = picture()
    codec.image = lambda data: None  # type: ignore[method-assign]
    (photo,) = decode_all([file], gpu)
    assert isinstance(photo, Photo) and difference(photo.pixels, decode(file).pixels) == 0


def test_a_gpu_without_memory_is_no_error(gpu: GpuDecoder, codec: Codec) -> None:
    def fail(data: bytes) -> None:
        raise RuntimeError("out of memory")

    codec.image = fail  # type: ignore[method-assign]
    assert all(isinstance(photo, Photo) for photo in decode_all([picture()] * 2, gpu))


def test_a_stream_of_another_size_than_was_checked_is_not_decoded(gpu: GpuDecoder, codec: Codec) -> None:
    huge = SimpleNamespace(width=65535, height=65535, num_channels=3, precision=8)
    codec.CodeStream = lambda data: huge  # type: ignore[method-assign]
    assert all(isinstance(photo, Photo) for photo in decode_all([picture()], gpu))
    assert codec.calls == []


def test_no_more_on_the_gpu_than_its_limit(gpu: GpuDecoder, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_image, "MAX_PIXELS", 2 * 512 * 512)
    assert len(list(decode_all([picture()] * 5, gpu))) == 5
    assert codec.calls == [2, 2, 1]


def test_without_a_gpu_opencv_decodes() -> None:
    (photo,) = decode_all([picture()], None)
    assert isinstance(photo, Photo) and difference(photo.pixels, decode(picture()).pixels) == 0


def test_where_there_is_no_package_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    with pytest.raises(gpu_image.NoGpuDecoderError, match="cannot be imported"):
        GpuDecoder.find()
