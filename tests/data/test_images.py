from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.errors import InputError
from semcom.data.images import MAX_PIXELS, read_image
from tests.data.writing import colour, picture


def encoded(image: PIL.Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def empty_png(width: int, height: int) -> bytes:
    """The header of a PNG of that size, with almost no data behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")


def test_pixels_and_shape(tmp_path: Path) -> None:
    image = read_image(picture(tmp_path / "a.png", (1, 2, 3), (12, 8)), "a.png")
    assert image.shape == (8, 12, 3)
    assert image.dtype == np.uint8
    assert colour(image) == (1, 2, 3)


@pytest.mark.parametrize("size", [(8200, 8200), (12_000, 10_000), (60_000, 60_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    assert size[0] * size[1] > MAX_PIXELS
    with pytest.raises(InputError, match=r"image 'bomb\.png' is .*(\d+ x \d+ pixels|\d+ pixels)"):
        read_image(empty_png(*size), "bomb.png")


def test_corrupt_files_name_the_file(tmp_path: Path) -> None:
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        data = encoded(noise, form)
        assert read_image(data, "good").shape == (64, 64, 3)
        with pytest.raises(InputError, match=r"half\.img"):
            read_image(data[: len(data) // 2], "half.img")
    for data in (b"", b"hello", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(InputError, match=r"'x\.png' .*(not an image|cannot be decoded)"):
            read_image(data, "x.png")
    with pytest.raises(InputError, match=r"gone\.png"):
        read_image(tmp_path / "gone.png", "gone.png")


def test_postscript_is_not_run() -> None:
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) show\n%%EOF\n"
    with pytest.raises(InputError, match="not an image in one of the formats"):
        read_image(program, "x.eps")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_give_pixels_or_one_clear_error(data: st.DataObject) -> None:
    gradient = PIL.Image.fromarray(
        np.arange(3 * 24 * 24, dtype=np.uint16).astype(np.uint8).reshape(24, 24, 3)
    )
    form = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"]))
    file = bytearray(encoded(gradient, form))
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(file)))
    try:
        image = read_image(bytes(file[:cut]), "damaged.img")
    except InputError as error:
        assert "damaged.img" in str(error)
    else:
        assert image.ndim == 3
        assert image.shape[2] == 3


def test_exif_orientation_is_applied() -> None:
    image = PIL.Image.new("RGB", (4, 2), (0, 0, 0))
    image.putpixel((0, 0), (255, 255, 255))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    upright = read_image(encoded(image, "PNG", exif=exif), "x")
    assert upright.shape == (4, 2, 3)
    assert colour(upright[0:1, 1:2]) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "CMYK", "1", "I;16", "YCbCr"])
def test_every_mode_becomes_the_same_rgb(mode: str) -> None:
    white = PIL.Image.new("RGB", (5, 5), (255, 255, 255))
    if mode == "I;16":
        image = PIL.Image.fromarray(np.full((5, 5), 65535, dtype=np.uint16))
    else:
        image = white.convert(mode)
    form = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    assert colour(read_image(encoded(image, form), "x")) == (255, 255, 255)


def test_16_bit_grey_is_scaled_and_transparency_laid_over_white() -> None:
    grey = PIL.Image.fromarray(np.full((5, 5), 128 * 257, dtype=np.uint16))
    assert colour(read_image(encoded(grey, "PNG"), "x")) == (128, 128, 128)
    glass = PIL.Image.new("RGBA", (5, 5), (255, 0, 0, 0))
    assert colour(read_image(encoded(glass, "PNG"), "x")) == (255, 255, 255)
    palette = PIL.Image.new("P", (5, 5), 0)
    palette.putpalette([10, 20, 30] + [0] * 765)
    assert colour(read_image(encoded(palette, "PNG"), "x")) == (10, 20, 30)
    assert colour(read_image(encoded(palette, "PNG", transparency=0), "x")) == (255, 255, 255)
    with pytest.raises(InputError, match="32-bit float"):
        read_image(encoded(PIL.Image.new("F", (5, 5), 0.5), "TIFF"), "x")


@pytest.mark.parametrize("shape", [(40, 16), (16, 40), (16, 16)])
def test_size_crops_the_central_square(shape: tuple[int, int]) -> None:
    height, width = shape
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    top, left = (height - 16) // 2, (width - 16) // 2
    pixels[top : top + 16, left : left + 16] = (9, 99, 199)
    image = read_image(encoded(PIL.Image.fromarray(pixels), "PNG"), "x", size=8)
    assert image.shape == (8, 8, 3)
    assert colour(image) == (9, 99, 199)
