"""What callers pass as a photo -> the bytes of a picture file, or an array of pixels. Needs NumPy only.

The embedded client decodes either; a client of a server sends the file as it is, and an array as a PNG, which keeps
every pixel.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sdk.errors import ImageDecodeError, ImageReadError, ImageTooLargeError, InputError, UnsupportedImageError
from sdk.image_header import Header, read_header

MAX_FILE_BYTES = 64 * 2**20
"""Largest file that is read."""
MAX_PIXELS = 64_000_000
"""Largest picture that is decoded: a 50-megapixel phone photo passes."""


@runtime_checkable
class BinaryFile(Protocol):
    """Anything with a `read` that returns bytes."""

    def read(self, size: int = ..., /) -> bytes: ...


PhotoInput: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile | NDArray[Any]"
"""What `FaceParamClient.infer` takes; Pillow images too (they are not named here because Pillow is optional)."""


def read_photo(photo: PhotoInput) -> tuple[bytes | NDArray[Any], str]:
    """The bytes of a file, or an array (H, W), (H, W, 3) or (H, W, 4) of uint8 or uint16; and what to call it in errors.

    Raises:
        ImageReadError: there is no such file, or it cannot be read.
        ImageDecodeError: an empty array, or a Pillow image of a damaged file.
        UnsupportedImageError: another kind of array or object.
        ImageTooLargeError: more than `MAX_FILE_BYTES` or `MAX_PIXELS`.
    """
    if isinstance(photo, np.ndarray):
        return _checked_array(photo, "the array"), "the array"
    if isinstance(photo, bytes | bytearray | memoryview):
        check("bytes", memoryview(photo).nbytes, MAX_FILE_BYTES, "the photo")
        return bytes(photo), "the photo"
    if _is_pillow(photo):
        return _checked_array(_pillow_pixels(photo), "the Pillow image"), "the Pillow image"
    if isinstance(photo, str | os.PathLike):
        path = os.fsdecode(photo)
        return _read_path(path), repr(path)
    if isinstance(photo, BinaryFile):
        file_name = getattr(photo, "name", None)
        name = repr(file_name) if isinstance(file_name, str) else "the file"
        return _read_file(photo, name), name
    raise UnsupportedImageError(
        f"a photo must be a path, bytes, a binary file, an RGB array or a Pillow image, not {type(photo).__name__}"
    )


def checked_header(data: bytes, name: str) -> Header:
    """The header of a picture file.

    Raises:
        ImageDecodeError: empty, cut off or damaged.
        UnsupportedImageError: another format, or an animation.
        ImageTooLargeError: more than `MAX_PIXELS`.
    """
    header = read_header(data, name)
    if header.width < 1 or header.height < 1:
        raise ImageDecodeError(f"{name} is a damaged {header.format}: its size is {header.width} x {header.height}")
    check("pixels", header.width * header.height, MAX_PIXELS, name)
    return header


def picture_file(photo: PhotoInput) -> bytes:
    """A photo as the bytes of a picture file whose header has been checked. Errors: those of the functions above."""
    content, name = read_photo(photo)
    if isinstance(content, bytes):
        checked_header(content, name)
        return content
    data = png(content)
    check("bytes", len(data), MAX_FILE_BYTES, name)
    return data


def png(pixels: NDArray[Any]) -> bytes:
    """An array (H, W), (H, W, 3) or (H, W, 4) of uint8 or uint16 as a PNG. Not compressed: that would take longer than the
    rest of the request."""
    height, width = pixels.shape[:2]
    colour = {2: 0, 3: 2, 4: 6}[pixels.ndim if pixels.ndim == 2 else pixels.shape[2]]
    big_endian = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    rows = np.zeros((height, 1 + big_endian.nbytes // height), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = big_endian.view(np.uint8).reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, colour, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def check(unit: str, value: float, limit: float, name: str) -> None:
    """Raise :class:`ImageTooLargeError` if there is too much of something."""
    if value > limit:
        message = f"{name} has {value / 1e6:.1f} M {unit}; the limit is {limit / 1e6:.1f} M: send a smaller picture"
        raise ImageTooLargeError(message, value=value, limit=limit, unit=unit)


def _read_path(path: str) -> bytes:
    if path.startswith(("http://", "https://")):
        raise ImageReadError(f"{path!r} is a URL: download it and pass its bytes")
    try:
        with Path(path).open("rb") as file:
            return _read_file(file, repr(path))
    except IsADirectoryError:
        raise ImageReadError(f"{path!r} is a directory; name the photos in it") from None
    except FileNotFoundError:
        raise ImageReadError(f"there is no file {path!r} (working directory: {os.getcwd()!r})") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageReadError(f"cannot read {path!r}: {error}") from error


def _read_file(file: BinaryFile, name: str) -> bytes:
    try:
        data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: closed, or a text file with undecodable bytes
        raise ImageReadError(f"cannot read {name}: {error}") from error
    if not isinstance(data, bytes):
        raise ImageReadError(f"{name} returns {type(data).__name__} instead of bytes: open it in mode 'rb'")
    check("bytes", len(data), MAX_FILE_BYTES, name)
    return data


def _checked_array(array: NDArray[Any], name: str) -> NDArray[Any]:
    shape = " x ".join(map(str, array.shape))
    if array.dtype not in (np.uint8, np.uint16):
        hint = "; multiply by 255 and convert" if array.dtype.kind == "f" else ""
        raise UnsupportedImageError(f"{name} holds {array.dtype}; it must hold uint8 or uint16{hint}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise UnsupportedImageError(f"{name} has shape {shape}; it must be height x width [x 1, 3 (RGB) or 4 (RGBA)]")
    if array.size == 0:
        raise ImageDecodeError(f"{name} is empty ({shape})")
    check("pixels", array.shape[0] * array.shape[1], MAX_PIXELS, name)
    return array


def _is_pillow(photo: object) -> bool:
    pillow = sys.modules.get("PIL.Image")  # who passes a Pillow image has imported Pillow
    return pillow is not None and isinstance(photo, pillow.Image)


def _pillow_pixels(image: Any) -> NDArray[Any]:
    from PIL import ImageOps

    check("pixels", image.width * image.height, MAX_PIXELS, "the Pillow image")
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16-bit grey
            return np.asarray(image).clip(0, 65535).astype(np.uint16)
        transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
        return np.asarray(image.convert("RGBA" if transparent else "RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow decodes lazily: a damaged file fails here
        raise ImageDecodeError(f"the Pillow image cannot be decoded: {error}") from error
