"""JPEG, baseline, 4:2:0 (ITU-T T.81; Wallace, CACM 1991), by libjpeg-turbo."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import features

from semcom.codecs import pillow
from semcom.codecs.base import CODECS, ImageCodec, Size
from semcom.types import Image

_END = b"\xff\xd9"


@lru_cache(maxsize=256)
def _head(size: Size, quality: int) -> bytes:
    """Everything before the entropy-coded scan: it depends on nothing but size and quality."""
    return _split(pillow.write(np.zeros((*size, 3), np.uint8), "JPEG", quality=quality, subsampling="4:2:0"))[
        0
    ]


def _split(file: bytes) -> tuple[bytes, bytes]:
    """Head and entropy-coded scan of a file that has one scan and no comments."""
    start = file.index(b"\xff\xda")
    start += 2 + int.from_bytes(file[start + 2 : start + 4], "big")
    return file[:start], file[start:].removesuffix(_END)


@CODECS.register("jpeg")
class Jpeg(ImageCodec):
    """Baseline JPEG, 4:2:0.

    Abbreviated: one byte of quality (it determines the quantisation tables) and the scan under the standard
    Huffman tables, without byte stuffing. Full: a JFIF file with Huffman tables optimised for the image.
    """

    name = "jpeg"
    ladder = tuple(range(1, 96))
    ends_itself = True

    def encode(self, image: Image, quality: int) -> bytes:
        """See :meth:`ImageCodec.encode`."""
        coded = super().encode(image, quality)
        return coded if self.headers == "full" else bytes([quality]) + coded

    def decode(self, data: bytes, size: Size) -> Image | None:
        """See :meth:`ImageCodec.decode`. A full file brings its own Huffman tables, so it is read as it is."""
        if self.headers == "abbreviated":
            return super().decode(data, size)
        try:
            return self.read(data, size)  # Pillow itself refuses a file that is cut short
        except Exception:  # as in ImageCodec.decode
            return None

    def write(self, image: Image, quality: int) -> bytes:
        """See :meth:`ImageCodec.write`."""
        optimise = self.headers == "full"
        return pillow.write(image, "JPEG", quality=quality, subsampling="4:2:0", optimize=optimise)

    def strip(self, file: bytes, size: Size) -> bytes:
        """The scan; the quality is put before it by :meth:`encode`."""
        return _split(file)[1].replace(b"\xff\x00", b"\xff")

    def restore(self, payload: bytes, size: Size) -> bytes:
        """Tables and frame header from size and first byte. Stuffing leaves no room for other markers."""
        if payload[0] not in self.ladder:
            raise ValueError("no such quality")
        return _head(size, payload[0]) + payload[1:].replace(b"\xff", b"\xff\x00") + _END

    def read(self, file: bytes, size: Size) -> Image | None:
        """See :meth:`ImageCodec.read`."""
        return pillow.read(file, "JPEG", size)

    @property
    def version(self) -> str:
        """See :attr:`ImageCodec.version`."""
        return f"libjpeg-turbo {features.version('libjpeg_turbo') or features.version('jpg')}"
