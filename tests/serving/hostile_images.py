"""Picture files as attackers and accidents make them: thousands, always the same ones.

All hold, or once held, the same face in about a hundred pixels, so that each costs a decoder and the models little.
"""

from __future__ import annotations

import io
import itertools
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from sdk.photo_input import png

FACE = "a face"
"""Outcome of a picture that must be solved; any other is the name of an error class."""
SIZES = (0, 1, 7, 255, 8000, 16383, 32767, 65535)
LIMIT = 64_000_000
"""Pixels that are decoded at most."""
LENGTHS_16 = (0, 1, 2, 3, 0x7FFF, 0xFFFF)
LENGTHS_32 = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)
TURNS = {
    1: (),
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_90,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_270,),
}
"""EXIF orientation -> what turns an upright picture so that the orientation rights it again."""


@dataclass(frozen=True)
class Hostile:
    """One file.

    Attributes:
        expected: the outcomes that are right. None are named for damage: any typed error is right, and so is a face that
            the decoder could save.
        same_as: the sound file that holds the same pixels, if any does.
    """

    kind: str
    name: str
    data: bytes = field(repr=False)
    expected: tuple[str, ...] = ()
    same_as: str = ""


def hostile_images() -> list[Hostile]:
    """All of them, no two with the same bytes."""
    made = itertools.chain(crafted(), bombs(), lies(), damaged())
    distinct: dict[bytes, Hostile] = {}
    for image in made:
        distinct.setdefault(image.data, image)
    return list(distinct.values())


def portrait() -> NDArray[np.uint8]:
    """(112, 96, 3): a face that is not in the middle of a picture that is not square."""
    return cv2.resize(skimage.data.astronaut()[20:230, 120:300], (96, 112), interpolation=cv2.INTER_AREA)


def encoded(picture: NDArray[Any] | Image.Image, format: str, **options: Any) -> bytes:
    """A file by Pillow."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def sound() -> dict[str, bytes]:
    """Good files of every kind that is supported: what the others are made of."""
    face = portrait()
    image = Image.fromarray(face)
    half = np.dstack([face, np.linspace(255, 200, 96, dtype=np.uint8)[None].repeat(112, 0)])
    return {
        "jpeg": encoded(image, "JPEG", quality=90),
        "jpeg progressive": encoded(image, "JPEG", quality=90, progressive=True),
        "jpeg grey": encoded(image.convert("L"), "JPEG", quality=90),
        "jpeg cmyk": encoded(image.convert("CMYK"), "JPEG", quality=90),
        "jpeg 4:4:4 with restarts": encoded(image, "JPEG", quality=90, subsampling=0, restart_marker_rows=1),
        "png": encoded(image, "PNG"),
        "png palette": encoded(image.quantize(128), "PNG"),
        "png 16 bits": png(face.astype(np.uint16) * 257),
        "png grey": encoded(image.convert("L"), "PNG"),
        "png alpha": encoded(half, "PNG"),
        "webp": encoded(image, "WEBP", quality=90),
        "webp lossless": encoded(image, "WEBP", lossless=True),
        "webp alpha": encoded(half, "WEBP", quality=90),
        "bmp": encoded(image, "BMP"),
        "bmp palette": encoded(image.quantize(128), "BMP"),
    }


def crafted() -> Iterator[Hostile]:
    """Whole files, good ones of rare kinds and such as are no photo."""
    yield from (Hostile("sound", name, data, (FACE,), name) for name, data in sound().items())
    yield from _turned()
    yield from _with_odd_metadata()
    yield from _no_photos()
    yield from _polyglots()
    yield from _tiny()


def _turned() -> Iterator[Hostile]:
    for orientation, turns in TURNS.items():
        image = Image.fromarray(portrait())
        for turn in turns:
            image = image.transpose(turn)
        exif = Image.Exif()
        exif[0x0112] = orientation
        for format, same_as, options in (
            ("JPEG", "jpeg", {"quality": 90}), ("PNG", "png", {}), ("WEBP", "webp lossless", {"lossless": True}),
        ):  # fmt: skip
            data = encoded(image, format, exif=exif, **options)
            yield Hostile("exif orientation", f"{format} {orientation}", data, (FACE,), same_as)


def _with_odd_metadata() -> Iterator[Hostile]:
    dice = random.Random(1)
    tiff = b"II*\0\x08\0\0\0"
    exifs = [
        b"", b"II", b"MM\0*\xff\xff\xff\xff", tiff, tiff + b"\xff\xff" * 30, tiff + b"\x01\0\x12\x01\x03\0\x01\0\0\0\xff\xff\0\0",
        tiff + b"\x01\0\x12\x01\x04\0\xff\xff\xff\xff\x06\0\0\0", *(dice.randbytes(dice.randrange(400)) for _ in range(6)),
    ]  # fmt: skip
    for number, exif in enumerate(exifs):
        jpeg = encoded(portrait(), "JPEG", quality=90, exif=b"Exif\0\0" + exif)
        yield Hostile("exif garbage", f"JPEG {number}", jpeg, (FACE,), "jpeg")
        yield Hostile("exif garbage", f"PNG {number}", _after_png_header(_chunk(b"eXIf", exif)), (FACE,), "png")
        webp = encoded(portrait(), "WEBP", quality=90, exif=exif or b"\0")
        yield Hostile("exif garbage", f"WebP {number}", webp, (FACE,), "webp")
    for number, length in enumerate((1, 128, 500, 50_000)):
        profile = dice.randbytes(length)
        for format in ("JPEG", "PNG", "WEBP"):
            data = encoded(portrait(), format, quality=90, icc_profile=profile)
            yield Hostile("icc garbage", f"{format} {number}", data, (FACE,), format.lower())
    comment = encoded(portrait(), "JPEG", quality=90, comment=dice.randbytes(60_000))
    yield Hostile("long metadata", "JPEG comment", comment, (FACE,), "jpeg")
    text = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000)))
    yield Hostile("long metadata", "PNG text that unpacks to 20 MB", _after_png_header(text), (FACE,), "png")


def _no_photos() -> Iterator[Hostile]:
    image, other = Image.fromarray(portrait()), Image.fromarray(portrait()[:, ::-1])
    several: dict[str, Any] = {"save_all": True, "append_images": [other]}
    others = {
        "GIF": encoded(image, "GIF"),
        "animated GIF": encoded(image, "GIF", **several),
        "TIFF": encoded(image, "TIFF"),
        "big-endian TIFF": b"MM\0*" + bytes(100),
        "PDF": encoded(image, "PDF"),
        "JPEG 2000": encoded(image, "JPEG2000"),
        "ICO": encoded(image, "ICO"),
        "PPM": encoded(image, "PPM"),
        "TGA": encoded(image, "TGA"),
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
        "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(200),
        "MP4": b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2" + bytes(200),
        "JPEG XL": b"\xff\x0a" + bytes(200),
        "Photoshop": b"8BPS\0\x01" + bytes(200),
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "SVG with entities": b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><svg>&a;</svg>",
        "HTML": b"<!doctype html><script>alert(1)</script>",
        "ZIP": b"PK\x03\x04" + bytes(200),
        "ELF": b"\x7fELF" + bytes(200),
        "EXR": b"v/1\x01" + bytes(200),
        "HDR": b"#?RADIANCE\n" + bytes(200),
        "text": b"Dear diary, this is not a photo.",
        "a path": b"/etc/passwd",
        "a long line": b"A" * 100_000,
        "zeros": bytes(10_000),
        "UTF-16 text": "no photo".encode("utf-16"),
        "RIFF that is no WebP": b"RIFF\x24\0\0\0WAVEfmt " + bytes(100),
    }
    yield from (Hostile("no photo", name, data, ("UnsupportedImageError",)) for name, data in others.items())
    for format in ("PNG", "WEBP"):
        yield Hostile("animated", format, encoded(image, format, **several), ("UnsupportedImageError",))
    yield Hostile("empty", "0 bytes", b"", ("ImageDecodeError",))
    yield from (Hostile("one byte", f"{byte:#x}", bytes([byte]), ("UnsupportedImageError",)) for byte in range(0, 256, 5))
    for name, start in (("JPEG", b"\xff\xd8\xff"), ("PNG", b"\x89PNG\r\n\x1a\n"), ("WebP", b"RIFF\0\0\0\0WEBP"), ("BMP", b"BM")):
        yield Hostile("signature only", name, start, ("ImageDecodeError",))
        yield Hostile("signature only", f"{name} and zeros", start + bytes(200), ("ImageDecodeError",))
        yield Hostile("signature only", f"{name} and ones", start + b"\xff" * 200)
        noise = random.Random(name).randbytes(400)
        yield Hostile("signature only", f"{name} and noise", start + noise)


def _polyglots() -> Iterator[Hostile]:
    good = sound()
    tails = {
        "ZIP": b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18),
        "HTML": b"<html><script>alert(1)</script></html>",
    }
    for name, data in good.items():
        for what, tail in tails.items():
            yield Hostile("polyglot", f"{name} + {what}", data + tail, (FACE,), name)
        yield Hostile("polyglot", f"GIF header + {name}", b"GIF89a" + data, ("UnsupportedImageError",))
        yield Hostile("polyglot", f"newline + {name}", b"\n" + data, ("UnsupportedImageError",))
    for first, second in itertools.permutations(("jpeg", "png", "webp", "bmp"), 2):
        yield Hostile("concatenated", f"{first} + {second}", good[first] + good[second], (FACE,), first)
        spliced = good[first][:40] + good[second][40:]
        yield Hostile("polyglot", f"{first} that goes on as {second}", spliced)
    for name in ("jpeg", "png", "webp", "bmp"):
        yield Hostile("concatenated", f"{name} three times", good[name] * 3, (FACE,), name)


def _tiny() -> Iterator[Hostile]:
    for (height, width), (format, options) in itertools.product(
        ((1, 1), (1, 2), (2, 1), (1, 900), (900, 1), (1, 3000), (3000, 1), (8, 8)),
        (("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("BMP", {})),
    ):
        data = encoded(np.full((height, width, 3), 200, np.uint8), format, **options)
        yield Hostile("tiny", f"{format} {options} {width} x {height}", data, ("NoFaceError",))


def bombs() -> Iterator[Hostile]:
    """Little files that claim to be large pictures, and such as are."""
    good = sound()
    for width, height in itertools.product(SIZES, SIZES):
        size = f"{width} x {height}"
        if 2**22 < width * height <= LIMIT:
            continue  # decoded, and slow; a few follow
        for name in ("jpeg", "jpeg progressive"):
            frame = good[name].index(b"\xff\xc2" if "progressive" in name else b"\xff\xc0") + 5
            yield Hostile("claims a size", f"{name} {size}", _put(good[name], frame, ">HH", height, width))
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        yield Hostile("claims a size", f"png {size}", _png_file(head, zlib.compress(bytes(1000))))
        yield Hostile("claims a size", f"bmp {size}", _put(good["bmp"], 18, "<ii", width, height))
        yield Hostile("claims a size", f"webp {size}", _put(good["webp"], 26, "<HH", width & 0x3FFF, height & 0x3FFF))
    for side in (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        yield Hostile("bomb", f"png of {side:#x} pixels squared", _png_file(head, b""), ("ImageTooLargeError",))
        for kind in (0, 1, 3):  # plain, run-length encoded, with masks
            bmp = _put(_put(good["bmp"], 18, "<II", side, side), 30, "<I", kind)
            yield Hostile("bomb", f"bmp {kind} of {side:#x} pixels squared", bmp, ("ImageTooLargeError", "ImageDecodeError"))
    for side, expected in ((9000, "ImageTooLargeError"), (7900, "NoFaceError")):
        rows = zlib.compress(bytes(side * (side + 1)), 9)
        grey = _png_file(struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0), rows)
        yield Hostile("bomb", f"zeros, {side} pixels squared in {len(grey)} bytes", grey, (expected,))
        cut = _png_file(struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), rows[:200])
        yield Hostile("bomb", f"png that claims {side} pixels squared", cut, (expected, "ImageDecodeError"))
    for kind, bits, expected in ((2, 16, "ImageTooLargeError"), (6, 16, "ImageTooLargeError"), (0, 1, "ImageDecodeError")):
        deep = _png_file(struct.pack(">IIBBBBB", 7900, 7900, bits, kind, 0, 0, 0), b"")
        yield Hostile("bomb", f"png of kind {kind}, {bits} bits, 7900 pixels squared", deep, (expected, "NoFaceError"))
    for name, marker in (("jpeg", b"\xff\xc0"), ("jpeg progressive", b"\xff\xc2")):
        for side in (8000, 65535):
            data = _put(good[name], good[name].index(marker) + 5, ">HH", side, side)
            yield Hostile("bomb", f"{name} that claims {side} pixels squared", data)
    canvas = b"VP8X" + struct.pack("<II", 10, 0) + b"\xff\xff\xff" * 2
    yield Hostile("bomb", "webp of 2**24 pixels squared", _webp(canvas + good["webp"][12:]), ("ImageTooLargeError",))


def lies() -> Iterator[Hostile]:
    """Lengths and fields of headers that are not true."""
    good = sound()
    for name in (name for name in good if name.startswith("jpeg")):
        yield from _jpeg_lies(name, good[name])
    for name in (name for name in good if name.startswith("png")):
        yield from _png_lies(name, good[name])
    for name in (name for name in good if name.startswith("webp")):
        data = good[name]
        for position, length in itertools.product((4, 16), LENGTHS_32):
            yield Hostile("lie", f"{name}: length at {position} is {length:#x}", _put(data, position, "<I", length))
        for step in (-2, -1, 1, 2, 1000):
            yield Hostile("lie", f"{name}: size off by {step}", _put(data, 4, "<I", len(data) - 8 + step))
    for name in (name for name in good if name.startswith("bmp")):
        for position, value in itertools.product((2, 10, 14, 18, 22, 30, 34, 46), LENGTHS_32):
            yield Hostile("lie", f"{name}: field at {position} is {value:#x}", _put(good[name], position, "<I", value))
        for bits in (0, 1, 2, 4, 8, 15, 16, 24, 32, 64, 0xFFFF):
            yield Hostile("lie", f"{name}: {bits} bits", _put(good[name], 28, "<H", bits))


def _jpeg_lies(name: str, data: bytes) -> Iterator[Hostile]:
    position = 2
    while data[position + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, position + 2)
        for lie in (*LENGTHS_16, length - 1, length + 1, length + 2):
            marker = f"segment {data[position + 1]:#x} at {position}"
            yield Hostile("lie", f"{name}: {marker} has length {lie}", _put(data, position + 2, ">H", lie))
        position += 2 + length
    frame = next(data.index(bytes([0xFF, kind])) for kind in (0xC0, 0xC2) if bytes([0xFF, kind]) in data)
    for kind in range(0xC0, 0xD0):  # lossless, hierarchical, arithmetic-coded ... or no frame at all
        yield Hostile("lie", f"{name}: frame of kind {kind:#x}", _put(data, frame, ">BB", 0xFF, kind))
    for precision in (0, 1, 12, 16, 255):
        yield Hostile("lie", f"{name}: {precision} bits", _put(data, frame + 4, ">B", precision))
    for components in (0, 1, 2, 4, 5, 255):
        yield Hostile("lie", f"{name}: {components} components", _put(data, frame + 9, ">B", components))
    for factors in (0x00, 0x11, 0x41, 0x44, 0xFF):
        yield Hostile("lie", f"{name}: sampling factors {factors:#x}", _put(data, frame + 11, ">B", factors))


def _png_lies(name: str, data: bytes) -> Iterator[Hostile]:
    chunks = _chunks(data)
    for number, (tag, content) in enumerate(chunks[:3]):
        before = data[:8] + b"".join(_chunk(*chunk) for chunk in chunks[:number])
        after = b"".join(_chunk(*chunk) for chunk in chunks[number + 1 :])
        for length in (*LENGTHS_32, len(content) - 1, len(content) + 1):
            lying = struct.pack(">I", length % 2**32) + _chunk(tag, content)[4:]
            yield Hostile("lie", f"{name}: {tag.decode()} has length {length:#x}", before + lying + after)
        yield Hostile("lie", f"{name}: without {tag.decode()}", before + after)
        yield Hostile("lie", f"{name}: {tag.decode()} twice", before + _chunk(tag, content) * 2 + after)
    head = chunks[0][1]
    for kind, bits in itertools.product((0, 1, 2, 3, 4, 6, 7), (0, 1, 4, 8, 16, 32)):
        wrong = head[:8] + bytes([bits, kind]) + head[10:]
        yield Hostile("lie", f"{name}: kind {kind} of {bits} bits", _with_png_header(data, wrong))
    for field_, value in itertools.product((10, 11, 12), (1, 2, 255)):
        wrong = head[:field_] + bytes([value]) + head[field_ + 1 :]
        yield Hostile("lie", f"{name}: header field {field_} is {value}", _with_png_header(data, wrong))


def damaged() -> Iterator[Hostile]:
    """Good files, cut off, flipped, overwritten, shortened and mixed at random."""
    for name, data in sound().items():
        dice = random.Random(name)
        for kept in sorted({*range(1, 30, 6), *(len(data) * share // 8 for share in range(1, 8)), len(data) - 1}):
            yield Hostile("cut off", f"{name} after {kept}", data[:kept])
        for kind, damage in _DAMAGES.items():
            yield from (Hostile(kind, f"{name} {number}", damage(data, dice)) for number in range(7))
        if name.startswith("png"):  # with right checksums again, so that what is inside gets to the decoder
            for number in range(16):
                chunks = _chunks(data)
                victim = dice.choice([i for i, (_, content) in enumerate(chunks) if content])
                tag, content = chunks[victim]
                chunks[victim] = tag, dice.choice((_flip_one, _flip_many, _overwrite))(content, dice)
                rebuilt = data[:8] + b"".join(_chunk(*chunk) for chunk in chunks)
                yield Hostile("damaged behind checksums", f"{name} {number}", rebuilt)


def _flip_one(data: bytes, dice: random.Random) -> bytes:
    return _flip(data, dice, 1)


def _flip_many(data: bytes, dice: random.Random) -> bytes:
    return _flip(data, dice, dice.randrange(2, 64))


def _flip_in_header(data: bytes, dice: random.Random) -> bytes:
    return _flip(data[:200], dice, dice.randrange(1, 5)) + data[200:]


def _overwrite(data: bytes, dice: random.Random) -> bytes:
    start, length = dice.randrange(len(data)), dice.randrange(1, 60)
    return data[:start] + dice.randbytes(length) + data[start + length :]


def _take_out(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data))
    return data[:start] + data[start + dice.randrange(1, 200) :]


def _repeat(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data))
    end = start + dice.randrange(1, 200)
    return data[:end] + data[start:]


def _zero(data: bytes, dice: random.Random) -> bytes:
    start, length = dice.randrange(len(data)), dice.randrange(20, 400)
    return data[:start] + bytes(length) + data[start + length :]


_DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "one bit": _flip_one,
    "bits": _flip_many,
    "bits of the header": _flip_in_header,
    "overwritten": _overwrite,
    "taken out": _take_out,
    "repeated": _repeat,
    "zeroed": _zero,
}


def _flip(data: bytes, dice: random.Random, count: int) -> bytes:
    flipped = bytearray(data)
    for _ in range(count):
        flipped[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(flipped)


def _put(data: bytes, position: int, layout: str, *values: int) -> bytes:
    return data[:position] + struct.pack(layout, *values) + data[position + struct.calcsize(layout) :]


def _chunk(tag: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + tag + content + struct.pack(">I", zlib.crc32(tag + content))


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, position = [], 8
    while position < len(data):
        length, tag = struct.unpack_from(">I4s", data, position)
        chunks.append((tag, data[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks


def _png_file(head: bytes, compressed: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", compressed) + _chunk(b"IEND", b"")


def _with_png_header(data: bytes, head: bytes) -> bytes:
    return data[:8] + _chunk(b"IHDR", head) + data[33:]


def _after_png_header(chunk: bytes) -> bytes:
    data = encoded(portrait(), "PNG")
    return data[:33] + chunk + data[33:]


def _webp(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks
