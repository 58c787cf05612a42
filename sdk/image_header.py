"""What a picture file says about itself before anything is decoded: format, size, orientation, completeness.

Decoders allocate before they look and repair what they can: a 40 kB file can demand gigabytes, and a photo cut off
during upload may come back half grey without a word. So sizes and ends of files are read here first, in plain Python.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from sdk.errors import ImageDecodeError, UnsupportedImageError

SUPPORTED = "JPEG, PNG, WebP and BMP"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Header:
    """``width`` and ``height`` in pixels as stored; ``orientation`` is EXIF's (1 to 8) and not yet applied to them.

    ``bytes_per_pixel`` bounds what decoding at full size takes.
    """

    format: str
    width: int
    height: int
    bytes_per_pixel: float
    orientation: int = 1


def read_header(data: bytes, name: str) -> Header:
    """Read the header of an encoded picture.

    Args:
        data: the whole file.
        name: what to call it in messages.

    Raises:
        UnsupportedImageError: it is not one still picture in a supported format.
        ImageDecodeError: it is empty, cut off or damaged.
    """
    if not data:
        raise ImageDecodeError(f"{name} is empty (0 bytes)")
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data, name)
        if data.startswith(_PNG_SIGNATURE):
            return _png(data, name)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data, name)
        if data[:2] == b"BM":
            return _bmp(data, name)
    except (struct.error, IndexError):
        raise ImageDecodeError(f"{name} is cut off inside its header; send the whole file") from None
    raise UnsupportedImageError(f"{name} is {_what_it_is(data)}, not a picture in a supported format ({SUPPORTED})")


def _jpeg(data: bytes, name: str) -> Header:
    position, orientation, frame = 2, 1, None
    while True:
        marker, length = struct.unpack_from(">xBH", data, position)
        if marker == 0xFF:  # fill byte before a marker
            position += 1
            continue
        payload = data[position + 4 : position + 2 + length]
        if marker == 0xE1 and payload.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(payload[6:])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = (marker, *struct.unpack_from(">xHHB", payload))
        if marker == 0xDA:  # start of scan: compressed data follow
            break
        position += 2 + length
    if frame is None:
        raise ImageDecodeError(f"{name} is a damaged JPEG: it has no frame header")
    # Compressed data escape 0xFF bytes, so an end marker found here is a real one; previews lie before the scan.
    if data.find(b"\xff\xd9", position) < 0:
        raise ImageDecodeError(f"{name} is a JPEG that was cut off after {len(data)} bytes; send the whole file")
    kind, height, width, components = frame
    progressive = kind in (0xC2, 0xC6, 0xCA, 0xCE)  # keeps all coefficients, two bytes each, until the last scan
    return Header("JPEG", width, height, bytes_per_pixel=3 + 2 * components * progressive, orientation=orientation)


def _png(data: bytes, name: str) -> Header:
    width, height, depth, kind = struct.unpack_from(">IIBB", data, 16)
    orientation, ended = 1, False
    for tag, start, end in _png_chunks(data, name):
        if tag == b"acTL":
            raise UnsupportedImageError(f"{name} is an animated PNG; send one still picture")
        if tag == b"eXIf":
            orientation = _exif_orientation(data[start:end])
        ended = tag == b"IEND"
    if not ended:
        raise ImageDecodeError(f"{name} is a PNG that was cut off after {len(data)} bytes; send the whole file")
    channels = {0: 1, 2: 3, 3: 4, 4: 4, 6: 4}.get(kind, 4)
    return Header("PNG", width, height, bytes_per_pixel=channels * max(depth, 8) / 8, orientation=orientation)


def _png_chunks(data: bytes, name: str) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the content of every complete chunk, each checked against its checksum."""
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length, tag = struct.unpack_from(">I4s", data, position)
        start, end = position + 8, position + 8 + length
        if end + 4 > len(data):
            return
        if zlib.crc32(memoryview(data)[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            which = f"its {tag.decode()}" if tag.isalpha() else "a"  # else they are any bytes of the photo
            raise ImageDecodeError(f"{name} is a damaged PNG: the checksum of {which} chunk is wrong")
        yield tag, start, end
        if tag == b"IEND":
            return
        position = end + 4


def _webp(data: bytes, name: str) -> Header:
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise ImageDecodeError(f"{name} is a WebP that was cut off after {len(data)} bytes; send the whole file")
    width = height = 0
    orientation, position = 1, 12
    while position + 8 <= len(data):
        tag, length = struct.unpack_from("<4sI", data, position)
        body = position + 8
        if tag == b"VP8X":
            if data[body] & 0x02:
                raise UnsupportedImageError(f"{name} is an animated WebP; send one still picture")
            width = 1 + int.from_bytes(data[body + 4 : body + 7], "little")
            height = 1 + int.from_bytes(data[body + 7 : body + 10], "little")
        elif tag == b"VP8 " and not width:
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, body + 6))
        elif tag == b"VP8L" and not width:
            bits = struct.unpack_from("<I", data, body + 1)[0]
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif tag == b"EXIF":
            orientation = _exif_orientation(data[body : body + length].removeprefix(b"Exif\0\0"))
        position = body + length + length % 2
    return Header("WebP", width, height, bytes_per_pixel=4, orientation=orientation)


def _bmp(data: bytes, name: str) -> Header:
    offset, header_size = struct.unpack_from("<II", data, 10)
    compression = 0
    if header_size == 12:
        width, height, bits = struct.unpack_from("<HHxxH", data, 18)
    else:
        width, height, bits, compression = struct.unpack_from("<iixxHI", data, 18)
    stride = (abs(width) * bits + 31) // 32 * 4
    if compression in (0, 3) and offset + stride * abs(height) > len(data):
        raise ImageDecodeError(f"{name} is a BMP that was cut off after {len(data)} bytes; send the whole file")
    return Header("BMP", abs(width), abs(height), bytes_per_pixel=4)


def _exif_orientation(tiff: bytes) -> int:
    """Orientation in EXIF data (which are a small TIFF file); 1 where there is none or the data are damaged."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == _EXIF_ORIENTATION:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _what_it_is(data: bytes) -> str:
    """Name of an unsupported format, with the way out where there is a common one."""
    starts = {
        b"GIF8": "a GIF",
        b"II*\0": "a TIFF or raw photo",
        b"MM\0*": "a TIFF or raw photo",
        b"%PDF": "a PDF document",
        b"8BPS": "a Photoshop document",
        b"\xff\x0a": "a JPEG XL picture",
        b"\0\0\0\x0cJXL ": "a JPEG XL picture",
        b"\0\0\0\x0cjP  ": "a JPEG 2000 picture",
        b"PK\x03\x04": "a ZIP archive",
    }
    for start, what in starts.items():
        if data.startswith(start):
            return what
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"):
            return "a HEIC photo (on an iPhone: Settings, Camera, Formats, Most Compatible)"
        return "an AVIF picture" if brand in (b"avif", b"avis") else "a video"
    head = data[:512].lstrip().lower()
    if head.startswith((b"<svg", b"<?xml", b"<!doctype", b"<html")):
        return "an SVG, XML or HTML document"
    try:
        data[:512].decode("ascii")
    except UnicodeDecodeError:
        return "of an unknown format"
    return "text"
