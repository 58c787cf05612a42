"""Decoding: every kind of picture that users have gives the right upright pixels or a typed error."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sdk import errors
from sdk.geometry import apply, magnification, scaling
from sdk.image import BACKDROP, decode
from sdk.image_header import read_header
from sdk.photo_input import MAX_FILE_BYTES, MAX_PIXELS, picture_file


def difference(pixels: np.ndarray, expected: np.ndarray) -> float:
    """Mean absolute difference in grey levels."""
    assert pixels.shape == expected.shape
    assert pixels.dtype == np.uint8
    return float(np.abs(pixels.astype(int) - expected).mean())


@pytest.fixture
def picture(astronaut):
    """A part of the portrait that is not square, so that swapped axes show."""
    return np.ascontiguousarray(astronaut[:300, 100:400][:, :200])


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95}, 3),
        ("JPEG", {"quality": 95, "progressive": True}, 3),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 4),
        ("BMP", {}, 0),
    ],
)
def test_formats(picture, encode, format, options, tolerance):
    photo = decode(encode(picture, format, **options))
    assert difference(photo.pixels, picture) <= tolerance
    assert (photo.width, photo.height) == (200, 300)
    np.testing.assert_array_equal(photo.to_photo, scaling(1))


# What Pillow does to an upright picture so that the camera's orientation tag rights it again.
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


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation(picture, encode, format, orientation):
    image = Image.fromarray(picture)
    for turn in TURNS[orientation]:
        image = image.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {"quality": 95} if format == "JPEG" else {}
    photo = decode(encode(image, format, exif=exif, **options))
    assert difference(photo.pixels, picture) <= 3
    assert (photo.width, photo.height) == (200, 300)


def test_exif_of_a_big_endian_camera(picture, encode):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"
    photo = decode(encode(picture[::-1, ::-1], "JPEG", quality=95, exif=exif))
    assert difference(photo.pixels, picture) <= 3


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 40])
def test_damaged_exif_counts_as_upright(picture, encode, exif):
    assert difference(decode(encode(picture, "JPEG", quality=95, exif=exif)).pixels, picture) <= 3


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK"])
def test_colour_modes(picture, encode, mode):
    image = Image.fromarray(picture).convert(mode)
    data = encode(image, "JPEG", quality=95) if mode == "CMYK" else encode(image, "PNG")
    assert difference(decode(data).pixels, np.asarray(image.convert("RGB"))) <= 3


def test_sixteen_bits(picture):
    wide = picture.astype(np.uint16) * 257
    _, rgb = cv2.imencode(".png", wide[..., ::-1])
    _, grey = cv2.imencode(".png", wide[..., 1])
    assert difference(decode(rgb.tobytes()).pixels, picture) == 0
    assert difference(decode(grey.tobytes()).pixels, picture[..., 1:2].repeat(3, 2)) == 0
    assert difference(decode(wide).pixels, picture) == 0


def test_transparent_pixels_lie_on_grey(picture, encode):
    alpha = np.zeros((300, 200, 1), np.uint8)
    alpha[:100] = 255
    alpha[100:200] = 128
    rgba = np.concatenate([picture, alpha], 2)
    expected = np.round((picture * (alpha / 255.0)) + BACKDROP * (1 - alpha / 255.0))
    for photo in (rgba, encode(rgba, "PNG"), encode(rgba, "WEBP", lossless=True, exact=True), Image.fromarray(rgba)):
        assert difference(decode(photo).pixels, expected.astype(np.uint8)) <= 0.51


def test_every_kind_of_input_gives_the_same_pixels(picture, encode, tmp_path):
    data = encode(picture, "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    grey = picture[..., 0]
    for photo in (path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), path.open("rb"), picture):
        assert difference(decode(photo).pixels, picture) == 0
        if hasattr(photo, "close"):
            photo.close()
    assert difference(decode(Image.open(path)).pixels, picture) == 0
    assert difference(decode(picture[:, ::-1][:, ::-1]).pixels, picture) == 0, "strided view"
    assert difference(decode(grey).pixels, decode(grey[..., None]).pixels) == 0


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_pillow_modes(picture, mode):
    image = Image.fromarray(picture[..., 1].astype(np.uint16) * 257 if mode == "I;16" else picture)
    image = image if mode == "I;16" else image.convert(mode)
    expected = picture[..., 1:2].repeat(3, 2) if mode == "I;16" else np.asarray(image.convert("RGB"))
    assert difference(decode(image).pixels, expected) <= 0.5


@pytest.mark.parametrize("orientation", [1, 6])
def test_large_jpeg_is_decoded_smaller(astronaut, encode, orientation):
    large = astronaut[:480].repeat(6, 0).repeat(8, 1)[:-3, :-5]  # 2877 x 4091: sides that no factor divides
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = decode(encode(large, "JPEG", quality=90, exif=exif))
    upright = (4091, 2877) if orientation == 1 else (2877, 4091)
    assert magnification(photo.to_photo) == 4
    assert (photo.width, photo.height) == upright
    assert photo.pixels.shape == (-(-upright[1] // 4), -(-upright[0] // 4), 3)
    small = cv2.resize(large, None, fx=1 / 4, fy=1 / 4, interpolation=cv2.INTER_AREA)[:719, :1022]
    if orientation == 6:
        small = np.rot90(small, -1)
        assert difference(photo.pixels[:1022, -719:], small) < 2
    else:
        assert difference(photo.pixels[:719, :1022], small) < 2


def spot(photo) -> np.ndarray:
    """Centre of the brightness in the pixels, in pixels of the photo."""
    weight = photo.pixels[..., 1].astype(float)
    rows, columns = np.mgrid[: weight.shape[0], : weight.shape[1]] + 0.5
    centre = np.array([[(columns * weight).sum(), (rows * weight).sum()]]) / weight.sum()
    return apply(photo.to_photo, centre)[0]


@pytest.mark.parametrize("orientation", TURNS)
def test_reduced_pixels_know_their_place_in_the_photo(encode, orientation):
    """Also where the sides are no multiple of the factor, and the picture is stored flipped."""
    picture = np.zeros((1301, 2633, 3), np.uint8)
    picture[400:440, 1700:1760] = 255
    image = Image.fromarray(picture)
    for turn in TURNS[orientation]:
        image = image.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = decode(encode(image, "JPEG", quality=95, exif=exif))
    assert magnification(photo.to_photo) == 4
    np.testing.assert_allclose(spot(photo), (1730, 420), atol=0.5)
    region = photo.region((1600, 350, 2000, 550))
    assert magnification(region.to_photo) == 1, "decoded again at full size"
    assert region.pixels.shape == (200, 400, 3)
    np.testing.assert_allclose(spot(region), (1730, 420), atol=0.1)


def test_region_is_clipped_to_the_photo(picture):
    photo = decode(picture)
    np.testing.assert_array_equal(photo.region((-50, 250, 60, 900)).pixels, picture[250:, :60])
    assert photo.region((500, 500, 600, 600)).pixels.shape == (1, 1, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.98])
def test_cut_off_pictures(picture, encode, format, kept):
    data = encode(picture, format)
    with pytest.raises(errors.ImageDecodeError, match="cut off"):
        decode(data[: int(len(data) * kept)])


def test_progressive_jpeg_cut_off_between_scans(picture, encode):
    data = encode(picture, "JPEG", progressive=True)
    with pytest.raises(errors.ImageDecodeError, match="cut off"):
        decode(data[: data.rfind(b"\xff\xda")])


def test_every_shortened_file_is_a_typed_error(encode):
    """No length at which a file may be cut gives another exception, or a picture."""
    tiny = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    for format in ("JPEG", "PNG", "WEBP", "BMP"):
        data = encode(tiny, format)
        end = data.rfind(b"\xff\xd9") + 2 if format == "JPEG" else len(data)
        for length in range(end):
            with pytest.raises(errors.InputError):
                decode(data[:length])


def test_random_damage_is_a_typed_error_or_a_picture(picture, encode):
    rng = np.random.default_rng(1)
    for format in ("JPEG", "PNG", "WEBP", "BMP"):
        data = np.frombuffer(encode(picture, format), np.uint8)
        for _ in range(20):
            damaged = data.copy()
            damaged[rng.integers(0, min(len(data), 400), 8)] = rng.integers(0, 256, 8)
            try:
                photo = decode(damaged.tobytes())
            except errors.InputError:
                continue
            assert photo.pixels.shape[2] == 3


def test_damaged_png_names_the_chunk(picture, encode):
    data = bytearray(encode(picture, "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(errors.ImageDecodeError, match="checksum of its IDAT chunk"):
        decode(data)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"GIF89a" + bytes(50), "a GIF"),
        (b"II*\0" + bytes(50), "a TIFF"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "Most Compatible"),
        (b"\0\0\0\x18ftypavif" + bytes(50), "an AVIF"),
        (b"\0\0\0\x18ftypisom" + bytes(50), "a video"),
        (b"%PDF-1.7" + bytes(50), "a PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG"),
        (b"Dear diary, this is not a photo.", "is text"),
        (bytes(range(1, 200)), "unknown format"),
    ],
)
def test_other_formats_are_named(data, what):
    with pytest.raises(errors.UnsupportedImageError, match=what):
        decode(data)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_animations(picture, encode, format):
    frames = [Image.fromarray(picture[:, ::-1])]
    with pytest.raises(errors.UnsupportedImageError, match="animated"):
        decode(encode(picture, format, save_all=True, append_images=frames))


def test_real_gif(encode, picture):
    with pytest.raises(errors.UnsupportedImageError, match="a GIF"):
        decode(encode(picture, "GIF"))


def test_files_that_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("this is no photo")
    expected = {
        "missing.jpg": (errors.ImageReadError, "no file 'missing.jpg'"),
        str(tmp_path): (errors.ImageReadError, "is a directory"),
        "empty.jpg": (errors.ImageDecodeError, "'empty.jpg' is empty"),
        "text.jpg": (errors.UnsupportedImageError, "'text.jpg' is text"),
        "https://example.org/me.jpg": (errors.ImageReadError, "is a URL"),
        "a\0b": (errors.ImageReadError, "cannot read"),
    }
    for name, (error, message) in expected.items():
        with pytest.raises(error, match=message):
            decode(name)


def test_file_objects_that_cannot_be_read(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_text("text")
    with path.open() as file, pytest.raises(errors.ImageReadError, match="mode 'rb'"):
        decode(file)
    with pytest.raises(errors.ImageReadError, match="closed"):
        decode(file)


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (np.zeros((10, 10, 3), np.float32), "multiply by 255"),
        (np.zeros((10, 10, 3), bool), "must hold uint8"),
        (np.zeros((3, 10, 10), np.uint8), "3 x 10 x 10"),
        (np.zeros(10, np.uint8), "shape 10"),
        (np.zeros((2, 10, 10, 3), np.uint8), "2 x 10 x 10 x 3"),
        (None, "NoneType"),
        (3, "int"),
    ],
)
def test_wrong_arrays_and_objects(photo, message):
    with pytest.raises(errors.UnsupportedImageError, match=message):
        decode(photo)


def test_empty_array():
    with pytest.raises(errors.ImageDecodeError, match="empty"):
        decode(np.zeros((0, 10, 3), np.uint8))


def png_of_size(width: int, height: int) -> bytes:
    """A PNG file that claims this size and holds a few bytes: a decompression bomb's header."""

    def chunk(tag: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + tag + content + struct.pack(">I", zlib.crc32(tag + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def bombs() -> dict[str, bytes]:
    jpeg = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    frame = jpeg.index(b"\xff\xc0")
    webp = cv2.imencode(".webp", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    extended = b"VP8X" + struct.pack("<II", 10, 0) + b"\xff\xff\x00" * 2
    bmp = bytearray(cv2.imencode(".bmp", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    bmp[18:26] = struct.pack("<ii", 30000, -30000)
    bmp[30:34] = struct.pack("<I", 1)  # run-length encoded: a small file may be a large picture
    return {
        "png": png_of_size(60000, 60000),
        "jpeg": jpeg[: frame + 5] + struct.pack(">HH", 65000, 65000) + jpeg[frame + 9 :],
        "webp": b"RIFF" + struct.pack("<I", len(webp) + 10) + b"WEBP" + extended + webp[12:],
        "bmp": bytes(bmp),
    }


@pytest.mark.parametrize("kind", bombs())
def test_decompression_bombs_are_not_decoded(kind):
    with pytest.raises(errors.ImageTooLargeError, match="the limit is") as caught:
        decode(bombs()[kind])
    assert caught.value.unit == "pixels"
    assert caught.value.limit == MAX_PIXELS
    assert caught.value.value > MAX_PIXELS


def test_memory_limit_counts_channels_and_depth():
    header = read_header(png_of_size(7000, 7000), "x")
    assert (header.width, header.height, header.bytes_per_pixel) == (7000, 7000, 3)
    deep = bytearray(png_of_size(7000, 7000))
    deep[24:26] = bytes([16, 6])  # 16-bit RGBA
    deep[29:33] = struct.pack(">I", zlib.crc32(deep[12:29]))
    with pytest.raises(errors.ImageTooLargeError) as caught:
        decode(bytes(deep))
    assert caught.value.value == 7000 * 7000 * 8


def test_large_files_are_not_read(tmp_path: Path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    for photo in (path, path.open("rb")):
        with pytest.raises(errors.ImageTooLargeError, match="bytes"):
            decode(photo)
        if hasattr(photo, "close"):
            photo.close()


def test_array_over_the_pixel_limit():
    huge = np.broadcast_to(np.uint8(0), (9000, 9000, 3))
    with pytest.raises(errors.ImageTooLargeError):
        decode(huge)


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_array_and_the_file_that_is_sent_for_it_are_the_same_photo(channels: tuple[int, ...], dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (37, 53, *channels), dtype, endpoint=True)
    assert np.array_equal(decode(picture_file(pixels)).pixels, decode(pixels).pixels)


def test_a_file_is_sent_as_it_is() -> None:
    data = picture_file(np.zeros((8, 8, 3), np.uint8))
    assert picture_file(data) == data
    with pytest.raises(errors.ImageDecodeError):
        picture_file(b"")
