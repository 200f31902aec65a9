"""AVIF (AV1 still picture; Han et al., Proc. IEEE 2021), by libavif and libaom."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import features

from semcom.codecs import pillow
from semcom.codecs.base import CODECS, ImageCodec, Size
from semcom.types import Image

_FRAME = b"\x32"  # header of an open bitstream unit that holds a frame and has a size field


def _write(image: Image, quality: int) -> bytes:
    options = {"speed": 4, "subsampling": "4:2:0", "codec": "aom", "max_threads": 1, "autotiling": False}
    return pillow.write(image, "AVIF", quality=quality, **options)


@lru_cache(maxsize=64)
def _template(size: Size) -> tuple[bytes, bytes]:
    """The boxes before the media data, and the sequence header with the temporal delimiter before it.

    Neither depends on the picture or its quality.
    """
    file = _write(np.full((*size, 3), 128, np.uint8), 50)
    start = file.index(b"mdat") + 4
    sequence = 2 + 2 + file[start + 3]  # delimiter (2 bytes), then header, length and content of the sequence
    return file[:start], file[start : start + sequence]


def _leb128(value: int) -> bytes:
    """The size field of an AV1 unit."""
    digits = []
    while True:
        digits.append(value & 127)
        value >>= 7
        if not value:
            return bytes([d | 128 for d in digits[:-1]] + digits[-1:])


@CODECS.register("avif")
class Avif(ImageCodec):
    """AVIF, 4:2:0, libaom speed 4, one thread.

    Abbreviated: the AV1 frame alone, without the container's boxes and the sequence header, which both ends
    know for each size; about 285 bytes less than the file. A frame that is cut short is not always noticed: AV1
    reads zeros after its end.
    """

    name = "avif"
    ladder = tuple(range(0, 100))  # 100 is lossless, with another sequence header

    def write(self, image: Image, quality: int) -> bytes:
        """See :meth:`ImageCodec.write`."""
        return _write(image, quality)

    def strip(self, file: bytes, size: Size) -> bytes:
        """The content of the frame's unit."""
        boxes, sequence = _template(size)
        data = file[len(boxes) + len(sequence) + 1 :]
        length = next(i for i, byte in enumerate(data) if byte < 128) + 1
        return data[length:]

    def restore(self, payload: bytes, size: Size) -> bytes:
        """Boxes, with the two lengths that depend on the payload, and the sequence header."""
        boxes, sequence = _template(size)
        data = sequence + _FRAME + _leb128(len(payload)) + payload
        location = boxes.index(b"iloc") - 4
        end = location + int.from_bytes(
            boxes[location : location + 4], "big"
        )  # the extent's length is its last field
        head = boxes[: end - 4] + len(data).to_bytes(4, "big") + boxes[end:-8]
        return head + (len(data) + 8).to_bytes(4, "big") + b"mdat" + data

    def read(self, file: bytes, size: Size) -> Image | None:
        """See :meth:`ImageCodec.read`."""
        return pillow.read(file, "AVIF", size)

    @property
    def version(self) -> str:
        """See :attr:`ImageCodec.version`."""
        return f"libavif {features.version('avif')}"
