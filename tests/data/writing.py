"""Small files in the formats that the loaders read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image


def picture(path: Path, rgb: tuple[int, int, int] = (200, 30, 60), size: tuple[int, int] = (12, 8)) -> Path:
    """A lossless single-coloured image of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", size, rgb).save(path)
    return path


def png_bytes(rgb: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (6, 6), rgb).save(buffer, "PNG")
    return buffer.getvalue()


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def colour(image: np.ndarray) -> tuple[int, ...]:
    """The one colour of the image."""
    colours = np.unique(image.reshape(-1, 3), axis=0)
    assert len(colours) == 1, colours
    return tuple(int(v) for v in colours[0])
