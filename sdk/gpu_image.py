"""JPEGs decoded on the GPU by nvImageCodec, for a server that has one; anything else, and anywhere else, by OpenCV.

Only decompression moves: checks, size limits, orientation and errors stay those of :mod:`sdk.image`, and a file that
nvImageCodec cannot decode is OpenCV's to decode or to refuse. PNG and WebP stay with OpenCV because nvImageCodec
decodes them on the CPU too, and drops their transparency.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from sdk.errors import InputError
from sdk.image import Photo, PictureFile, Pixels, open_file
from sdk.photo_input import MAX_PIXELS, read_photo

OPTIONS = ":fancy_upsampling=1"
"""Colours interpolated between pixels, as OpenCV's decoder does it; nvJPEG repeats them by default."""
CPU_THREADS = 4
"""nvJPEG unpacks some JPEGs partly on the CPU; by default it would start a thread for every core of the machine."""
ADOBE_MARKER = b"Adobe\0\x64"
"""Such a file may hold RGB, which nvImageCodec's parser takes for YCbCr."""


class NoGpuDecoderError(RuntimeError):
    """There is no GPU, or no nvImageCodec; the message says which."""


class GpuDecoder:
    """Several JPEGs in one call. ``codec`` is the module ``nvidia.nvimgcodec``, ``decoder`` a ``Decoder`` of it."""

    def __init__(self, codec: Any, decoder: Any) -> None:
        self._codec = codec
        self._decoder = decoder
        # sdk.image turns the photo upright itself; without this nvImageCodec would do it too.
        self._parameters = codec.DecodeParams(apply_exif_orientation=False, sample_format=codec.SampleFormat.I_RGB)

    @classmethod
    def find(cls) -> GpuDecoder:
        """The decoder of this machine's GPU; raises :class:`NoGpuDecoderError` where there is none that works."""
        try:
            codec = importlib.import_module("nvidia.nvimgcodec")
        except ImportError as error:
            raise NoGpuDecoderError(f"nvImageCodec cannot be imported: {error}") from error
        kinds = ("GPU_ONLY", "HYBRID_CPU_GPU", "HW_GPU_ONLY")  # not CPU_ONLY: OpenCV decodes at reduced size, so sooner
        backends = [codec.Backend(getattr(codec.BackendKind, kind)) for kind in kinds]
        try:
            gpu = cls(codec, codec.Decoder(max_num_cpu_threads=CPU_THREADS, backends=backends, options=OPTIONS))
        except RuntimeError as error:
            raise NoGpuDecoderError(f"nvImageCodec finds no GPU: {error}") from error
        if gpu.decode([open_file(_test_jpeg(), "the test picture")]) == [None]:
            raise NoGpuDecoderError("nvImageCodec does not decode a test picture: is nvJPEG installed?")
        return gpu

    def decode(self, files: Sequence[PictureFile | InputError]) -> list[Any]:
        """nvImageCodec's image for each file, in order; None for what is left to OpenCV."""
        streams = [self._stream(file) for file in files]
        wanted = [stream for stream in streams if stream is not None]
        try:
            images = iter(self._decoder.decode(wanted, params=self._parameters) if wanted else ())
        except RuntimeError:  # out of GPU memory, for example
            return [None] * len(files)
        return [None if stream is None else next(images) for stream in streams]

    def _stream(self, file: PictureFile | InputError) -> Any:
        if isinstance(file, InputError) or file.header.format != "JPEG" or ADOBE_MARKER in file.data:
            return None
        size = (file.header.width, file.header.height)
        try:
            stream = self._codec.CodeStream(file.data)
            same = (stream.width, stream.height) == size  # else what has been checked is not what would be decoded
            plain = stream.num_channels in (1, 3) and stream.precision == 8  # CMYK and 12 bits: OpenCV's
        except RuntimeError:
            return None
        return stream if same and plain else None


def decode_all(files: Iterable[bytes], gpu: GpuDecoder | None) -> Iterator[Photo | InputError]:
    """Decode picture files, each into its photo or the error that :func:`sdk.image.decode` would raise, in order.

    Photos come one at a time so that the caller need not hold them all. On the GPU lie never more than `MAX_PIXELS`.
    """
    for group in _groups([_open(data) for data in files]):
        images = gpu.decode(group) if gpu else [None] * len(group)
        for file, image in zip(group, images, strict=True):
            yield file if isinstance(file, InputError) else _photo(file, image)


def _open(data: bytes) -> PictureFile | InputError:
    try:
        content, name = read_photo(data)
        return open_file(bytes(content), name)
    except InputError as error:
        return error


def _groups(files: Sequence[PictureFile | InputError]) -> Iterator[list[PictureFile | InputError]]:
    """Neighbours, as many as have `MAX_PIXELS` together."""
    group: list[PictureFile | InputError] = []
    pixels = 0
    for file in files:
        size = 0 if isinstance(file, InputError) else file.header.width * file.header.height
        if group and pixels + size > MAX_PIXELS:
            yield group
            group, pixels = [], 0
        group.append(file)
        pixels += size
    if group:
        yield group


def _photo(file: PictureFile, image: Any) -> Photo | InputError:
    try:
        if image is None:
            return file.decode(file.scale)
        return file.photo(_reduce(np.asarray(image.cpu()), file.scale), file.scale)
    except InputError as error:
        return error


def _reduce(pixels: Pixels, scale: int) -> Pixels:
    """Average squares of `scale` x `scale` pixels (1, 2, 4 or 8). A side that is no multiple is continued by repeating its
    last pixel, so that the size is that of a JPEG which OpenCV decodes reduced.

    By halving, which OpenCV does three times as fast as dividing by 4 or 8.
    """
    below, right = (-side % scale for side in pixels.shape[:2])
    if below or right:
        pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    for _ in range(scale.bit_length() - 1):
        size = (pixels.shape[1] // 2, pixels.shape[0] // 2)
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return pixels


def _test_jpeg() -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((64, 64, 3), 128, np.uint8))[1])
