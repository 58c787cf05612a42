"""A photo in any form that users have -> upright 8-bit RGB pixels.

Takes a path, the bytes of a file, a file object, a NumPy array or a Pillow image. OpenCV decodes; orientation, size
limits and completeness are ours (:mod:`sdk.image_header`), because OpenCV applies EXIF orientation in some modes and
not in others. Large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, which costs no detail that the 640-pixel
canvas could hold and saves most of the time. Colour profiles are ignored: values are taken as sRGB.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.contract import CANVAS_SIZE
from sdk.errors import ImageDecodeError, ImageReadError, ImageTooLargeError, InputError, UnsupportedImageError
from sdk.image_header import Header, read_header

MAX_FILE_BYTES = 64 * 2**20
"""Largest file that is read."""
MAX_PIXELS = 64_000_000
"""Largest picture that is decoded: a 50-megapixel phone photo passes."""
MAX_DECODED_BYTES = 256 * 2**20
"""Most memory that decoding may take; with the models this keeps a process below 600 MB."""
BACKDROP = 128
"""Grey level behind transparent pixels: darker than most skin, brighter than most hair, so neither melts into it."""

Pixels: TypeAlias = NDArray[np.uint8]


@runtime_checkable
class BinaryFile(Protocol):
    """Anything with a `read` that returns bytes."""

    def read(self, size: int = ..., /) -> bytes: ...


PhotoInput: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile | NDArray[Any]"
"""What `FaceParamClient.infer` takes; Pillow images too (they are not named here because Pillow is optional)."""


@dataclass(frozen=True)
class Photo:
    """A decoded photo.

    Attributes:
        pixels: (height, width, 3) uint8 RGB, upright, perhaps smaller than the photo by a whole factor.
        width, height: size of the upright photo in its own pixels.
        scale: photo pixels per decoded pixel (1, 2, 4 or 8).
    """

    pixels: Pixels
    width: int
    height: int
    scale: int


def decode(photo: PhotoInput) -> Photo:
    """Decode a photo.

    Arrays are RGB: (H, W, 3), grey (H, W) or (H, W, 1), or RGBA (H, W, 4), of uint8 or uint16. Transparent pixels are
    laid on mid-grey. The same input always gives the same pixels.

    Raises:
        ImageReadError: there is no such file, or it cannot be read.
        ImageDecodeError: empty, cut off or damaged.
        UnsupportedImageError: another format, an animation, or another kind of array or object.
        ImageTooLargeError: more than `MAX_FILE_BYTES`, `MAX_PIXELS` or `MAX_DECODED_BYTES`.
    """
    if isinstance(photo, np.ndarray):
        return _from_array(photo, "the array")
    if isinstance(photo, bytes | bytearray | memoryview):
        return _from_bytes(bytes(photo), "the photo")
    if _is_pillow(photo):
        return _from_pillow(photo)
    if isinstance(photo, str | os.PathLike):
        path = os.fsdecode(photo)
        return _from_bytes(_read_path(path), repr(path))
    if isinstance(photo, BinaryFile):
        file_name = getattr(photo, "name", None)
        name = repr(file_name) if isinstance(file_name, str) else "the file"
        return _from_bytes(_read_file(photo, name), name)
    raise UnsupportedImageError(
        f"a photo must be a path, bytes, a binary file, an RGB array or a Pillow image, not {type(photo).__name__}"
    )


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
    _check("bytes", len(data), MAX_FILE_BYTES, name)
    return data


def _check(unit: str, value: float, limit: float, name: str) -> None:
    if value > limit:
        message = f"{name} has {value / 1e6:.1f} M {unit}; the limit is {limit / 1e6:.1f} M: send a smaller picture"
        raise ImageTooLargeError(message, value=value, limit=limit, unit=unit)


def _from_bytes(data: bytes, name: str) -> Photo:
    _check("bytes", len(data), MAX_FILE_BYTES, name)
    header = read_header(data, name)
    if header.width < 1 or header.height < 1:
        raise ImageDecodeError(f"{name} is a damaged {header.format}: its size is {header.width} x {header.height}")
    _check("pixels", header.width * header.height, MAX_PIXELS, name)
    scale = _reduction(header)
    # A reduced JPEG never exists at full size; coefficients of a progressive one do.
    per_pixel = header.bytes_per_pixel - 3 + 3 / scale**2 if header.format == "JPEG" else header.bytes_per_pixel
    _check("bytes of decoded pixels", header.width * header.height * per_pixel, MAX_DECODED_BYTES, name)
    pixels = _upright(_to_rgb(_decode(data, header, scale, name)), header.orientation)
    turned = header.orientation >= 5
    width, height = (header.height, header.width) if turned else (header.width, header.height)
    return Photo(pixels, width, height, scale)


def _reduction(header: Header) -> int:
    """Largest factor at which the decoded JPEG still fills the canvas."""
    if header.format != "JPEG":
        return 1
    longest = max(header.width, header.height)
    return next((scale for scale in (8, 4, 2) if longest >= scale * CANVAS_SIZE), 1)


def _decode(data: bytes, header: Header, scale: int, name: str) -> NDArray[Any]:
    reduced = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }
    # UNCHANGED keeps alpha and 16 bits, which a JPEG does not have.
    mode = reduced[scale] if header.format == "JPEG" else cv2.IMREAD_UNCHANGED
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageDecodeError(f"{name} is a damaged {header.format}: {error.err}") from error
    if pixels is None:
        raise ImageDecodeError(f"{name} is a {header.format} that cannot be decoded: it is damaged or of a rare kind")
    return np.asarray(pixels)


def _to_rgb(pixels: NDArray[Any]) -> Pixels:
    """OpenCV's pixels, grey, BGR or BGRA of 8 or 16 bits, to 8-bit RGB."""
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        code = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        cv2.cvtColor(pixels, code, dst=pixels)
    return _eight_bit_rgb(pixels)


def _eight_bit_rgb(pixels: NDArray[Any]) -> Pixels:
    """Grey, RGB or RGBA of 8 or 16 bits to 8-bit RGB, transparent pixels on mid-grey."""
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    if pixels.ndim == 2:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)
    return _flatten(pixels) if pixels.shape[2] == 4 else np.ascontiguousarray(pixels)


def _flatten(pixels: Pixels) -> Pixels:
    """RGBA on mid-grey, in strips of rows so that the wider intermediate stays small."""
    flat = np.empty((*pixels.shape[:2], 3), np.uint8)
    for top in range(0, len(pixels), 128):
        strip = pixels[top : top + 128].astype(np.uint16)
        alpha = strip[..., 3:]
        flat[top : top + 128] = (strip[..., :3] * alpha + BACKDROP * (255 - alpha) + 127) // 255
    return flat


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo the camera's orientation (EXIF values 1 to 8)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def _from_array(array: NDArray[Any], name: str) -> Photo:
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
    height, width = array.shape[:2]
    _check("pixels", height * width, MAX_PIXELS, name)
    return Photo(_eight_bit_rgb(np.ascontiguousarray(array)), width, height, scale=1)


def _is_pillow(photo: object) -> bool:
    pillow = sys.modules.get("PIL.Image")  # who passes a Pillow image has imported Pillow
    return pillow is not None and isinstance(photo, pillow.Image)


def _from_pillow(image: Any) -> Photo:
    from PIL import ImageOps

    _check("pixels", image.width * image.height, MAX_PIXELS, "the Pillow image")
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16-bit grey
            return _from_array(np.asarray(image).clip(0, 65535).astype(np.uint16), "the Pillow image")
        transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
        image = image.convert("RGBA" if transparent else "RGB")
    except (OSError, SyntaxError, ValueError) as error:  # Pillow decodes lazily: a damaged file fails here
        raise ImageDecodeError(f"the Pillow image cannot be decoded: {error}") from error
    return _from_array(np.asarray(image), "the Pillow image")
