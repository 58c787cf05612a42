"""A photo in any form that users have -> upright 8-bit RGB pixels.

Takes a path, the bytes of a file, a file object, a NumPy array or a Pillow image. OpenCV decodes; orientation, size
limits and completeness are ours (:mod:`sdk.image_header`), because OpenCV applies EXIF orientation in some modes and
not in others. Large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, which costs no detail that the 640-pixel
canvas could hold and saves most of the time. Colour profiles are ignored: values are taken as sRGB.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.contract import CANVAS_SIZE
from sdk.errors import ImageDecodeError
from sdk.geometry import Affine, apply, compose, invert, magnification, scaling
from sdk.image_header import Header
from sdk.photo_input import PhotoInput, check, checked_header, read_photo

MAX_DECODED_BYTES = 256 * 2**20
"""Most memory that decoding may take; with the models this keeps a process below 600 MB."""
BACKDROP = 128
"""Grey level behind transparent pixels: darker than most skin, brighter than most hair, so neither melts into it."""

TRANSPOSED, ROWS_FLIPPED, COLUMNS_FLIPPED = (5, 6, 7, 8), (3, 4, 7, 8), (2, 3, 6, 7)
"""EXIF orientations of pictures that are transposed first, then flipped, to stand upright."""

Pixels: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo, or a region of one.

    Attributes:
        pixels: (rows, columns, 3) uint8 RGB, upright, perhaps at a fraction of the photo's resolution.
        to_photo: (2, 3), the map from these pixels to pixels of the whole upright photo.
        width, height: size of the whole upright photo.
    """

    pixels: Pixels = field(repr=False)
    to_photo: Affine
    width: int
    height: int
    _file: PictureFile | None = field(default=None, repr=False)

    def region(self, box: tuple[float, float, float, float]) -> Photo:
        """The part inside a box (x0, y0, x1, y1 in pixels of the photo), decoded again if the file holds more detail.

        Of the photo's resolution as much is kept as fills a canvas.
        """
        whole = self
        if self._file is not None:
            finer = self._file.reduction(max(box[2] - box[0], box[3] - box[1]))
            if finer < magnification(self.to_photo) and self._file.fits(finer):
                whole = self._file.decode(finer)
        corners = apply(invert(whole.to_photo), np.array(box).reshape(2, 2))
        rows, columns = whole.pixels.shape[:2]
        left, top = np.floor(corners[0].clip(0, [columns - 1, rows - 1])).astype(int)
        right, bottom = np.ceil(corners[1].clip([left + 1, top + 1], [columns, rows])).astype(int)
        to_photo = compose(whole.to_photo, scaling(1, left, top))
        return Photo(np.ascontiguousarray(whole.pixels[top:bottom, left:right]), to_photo, self.width, self.height)


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
    content, name = read_photo(photo)
    if not isinstance(content, bytes):
        height, width = content.shape[:2]
        return Photo(_eight_bit_rgb(np.ascontiguousarray(content)), scaling(1), width, height)
    file = open_file(content, name)
    return file.decode(file.scale)


def open_file(data: bytes, name: str) -> PictureFile:
    """Check a picture file without decoding it; errors: those of :func:`decode` for a file."""
    file = PictureFile(data, checked_header(data, name), name)
    check("bytes of decoded pixels", file.memory(file.scale), MAX_DECODED_BYTES, name)
    return file


@dataclass(frozen=True)
class PictureFile:
    """An encoded picture whose header has passed the checks."""

    data: bytes = field(repr=False)
    header: Header
    name: str

    @property
    def scale(self) -> int:
        """The factor by which the whole picture is decoded smaller."""
        return self.reduction(max(self.header.width, self.header.height))

    def reduction(self, length: float) -> int:
        """Largest factor by which this picture can be decoded smaller while `length` pixels still fill the canvas."""
        factors = (8, 4, 2) if self.header.format == "JPEG" else ()
        return next((factor for factor in factors if length >= factor * CANVAS_SIZE), 1)

    def memory(self, scale: int) -> float:
        """Bytes that decoding takes. A reduced JPEG never exists at full size; a progressive one's coefficients do."""
        per_pixel = self.header.bytes_per_pixel
        if self.header.format == "JPEG":
            per_pixel += 3 / scale**2 - 3
        return self.header.width * self.header.height * per_pixel

    def fits(self, scale: int) -> bool:
        """Whether decoding stays within the memory limit."""
        return self.memory(scale) <= MAX_DECODED_BYTES

    def decode(self, scale: int) -> Photo:
        """Decode at 1 / scale of the size."""
        header = self.header
        reduced = {
            1: cv2.IMREAD_COLOR,
            2: cv2.IMREAD_REDUCED_COLOR_2,
            4: cv2.IMREAD_REDUCED_COLOR_4,
            8: cv2.IMREAD_REDUCED_COLOR_8,
        }
        # UNCHANGED keeps alpha and 16 bits, which a JPEG does not have.
        mode = reduced[scale] if header.format == "JPEG" else cv2.IMREAD_UNCHANGED
        try:
            pixels = cv2.imdecode(np.frombuffer(self.data, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error as error:
            raise ImageDecodeError(f"{self.name} is a damaged {header.format}: {error.err}") from error
        if pixels is None:
            raise ImageDecodeError(f"{self.name} is a {header.format} that cannot be decoded: it is damaged or of a rare kind")
        return self.photo(_to_rgb(np.asarray(pixels)), scale)

    def photo(self, pixels: Pixels, scale: int) -> Photo:
        """The photo of this file, given its RGB pixels as stored (not upright yet) at 1 / scale of its size."""
        header = self.header
        upright = _upright(pixels, header.orientation)
        turned = header.orientation in TRANSPOSED
        width, height = (header.height, header.width) if turned else (header.width, header.height)
        # The last column and row of a reduced picture may reach beyond the photo; flipping moves them to the front.
        left = width - scale * upright.shape[1] if header.orientation in COLUMNS_FLIPPED else 0
        top = height - scale * upright.shape[0] if header.orientation in ROWS_FLIPPED else 0
        return Photo(upright, scaling(scale, left, top), width, height, self)


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
    if orientation in TRANSPOSED:
        pixels = pixels.transpose(1, 0, 2)
    row_step = -1 if orientation in ROWS_FLIPPED else 1
    column_step = -1 if orientation in COLUMNS_FLIPPED else 1
    return np.ascontiguousarray(pixels[::row_step, ::column_step])
