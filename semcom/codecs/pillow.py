"""Files in memory through Pillow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from semcom.types import Image


def write(image: Image, format: str, **options: Any) -> bytes:
    """``image`` as a file of that format."""
    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, format, **options)
    return buffer.getvalue()


def read(file: bytes, format: str, size: tuple[int, int]) -> Image | None:
    """The single RGB picture in ``file``; None unless it is of that format and ``size`` (height, width).

    The size is compared before any pixel is decoded. Progressive JPEG is refused: hundreds of scans over one
    picture are cheap to send and dear to decode. Errors of Pillow pass through.
    """
    with PillowImage.open(io.BytesIO(file), formats=[format]) as picture:
        if picture.size != (size[1], size[0]) or picture.mode != "RGB" or picture.info.get("progressive"):
            return None
        return np.asarray(picture, dtype=np.uint8).copy()


def resize(image: Image, size: tuple[int, int]) -> Image:
    """``image`` at another (height, width): area average when shrinking, bicubic when growing."""
    grows = size[0] > image.shape[0] or size[1] > image.shape[1]
    method = PillowImage.Resampling.BICUBIC if grows else PillowImage.Resampling.BOX
    return np.asarray(PillowImage.fromarray(image).resize((size[1], size[0]), method), dtype=np.uint8)
