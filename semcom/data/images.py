"""Safe reading of image files that other people wrote."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

from channels.errors import InputError
from semcom.types import Image

MAX_PIXELS = 2**26  # 67 megapixels; a larger picture would take over 200 MB as RGB
# Only raster formats that Pillow decodes itself: EPS, for one, would start Ghostscript.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def read_image(source: Path | bytes, name: str, size: int | None = None) -> Image:
    """Decode an image file to ``uint8 [H, W, 3]`` RGB.

    The EXIF orientation is applied, transparency is laid over white, 16-bit grey is scaled to 8 bits.
    ``size``: crop the central square and resize it to ``size`` x ``size`` pixels. A file that is too large
    (over ``MAX_PIXELS``), truncated, corrupt or no image is an :class:`InputError` that calls it ``name``.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large sizes are refused below; odd metadata do not matter
            with PIL.Image.open(file, formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise InputError(
                        f"image {name!r} is {width} x {height} pixels; at most {MAX_PIXELS:,} pixels are read"
                    )
                picture.load()
                return np.array(_square(_rgb(_upright(picture)), size), dtype=np.uint8)
    except InputError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise InputError(f"image {name!r} is too large: {error}") from error
    except PIL.UnidentifiedImageError as error:
        raise InputError(f"{name!r} is not an image in one of the formats {', '.join(FORMATS)}") from error
    except Exception as error:  # on corrupt bytes Pillow's decoders raise almost anything
        raise InputError(f"image {name!r} cannot be decoded, it is truncated or corrupt: {error}") from error


def _upright(picture: PIL.Image.Image) -> PIL.Image.Image:
    try:
        return PIL.ImageOps.exif_transpose(picture)
    except Exception:  # unreadable metadata says nothing about the pixels, which are fine
        return picture


def _rgb(picture: PIL.Image.Image) -> PIL.Image.Image:
    if picture.mode == "F":
        raise InputError("images of 32-bit floats have no fixed range; convert them to 8 bits")
    if picture.mode.startswith("I"):  # 16-bit grey: PIL's own conversion would clip it to white
        grey = np.clip(np.asarray(picture).astype(np.int64) // 257, 0, 255).astype(np.uint8)
        return PIL.Image.fromarray(grey).convert("RGB")
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", over.size, "white")
        return PIL.Image.alpha_composite(white, over).convert("RGB")
    return picture.convert("RGB")


def _square(picture: PIL.Image.Image, size: int | None) -> PIL.Image.Image:
    if size is None:
        return picture
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return square.resize((size, size), PIL.Image.Resampling.BICUBIC)
