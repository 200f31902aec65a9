"""WebP, lossy (VP8 key frame; RFC 6386, RFC 9649), by libwebp."""

from __future__ import annotations

from PIL import features

from semcom.codecs import pillow
from semcom.codecs.base import CODECS, ImageCodec, Size
from semcom.types import Image


@CODECS.register("webp")
class WebP(ImageCodec):
    """Lossy WebP at the slowest, best effort (method 6).

    Abbreviated: the VP8 key frame without RIFF container, start code and size (27 bytes less than the file).
    """

    name = "webp"
    ladder = tuple(range(0, 101))

    def write(self, image: Image, quality: int) -> bytes:
        """See :meth:`ImageCodec.write`."""
        return pillow.write(image, "WEBP", quality=quality, method=6)

    def strip(self, file: bytes, size: Size) -> bytes:
        """Frame tag (3 bytes) and partitions."""
        frame = file[20 : 20 + int.from_bytes(file[16:20], "little")]
        return frame[:3] + frame[10:]

    def restore(self, payload: bytes, size: Size) -> bytes:
        """Container, start code and size around the frame."""
        if len(payload) < 3:
            raise ValueError("too short for a frame tag")
        dimensions = size[1].to_bytes(2, "little") + size[0].to_bytes(2, "little")
        frame = payload[:3] + b"\x9d\x01\x2a" + dimensions + payload[3:]
        chunk = b"WEBPVP8 " + len(frame).to_bytes(4, "little") + frame + bytes(len(frame) % 2)
        return b"RIFF" + len(chunk).to_bytes(4, "little") + chunk

    def read(self, file: bytes, size: Size) -> Image | None:
        """See :meth:`ImageCodec.read`."""
        return pillow.read(file, "WEBP", size)

    @property
    def version(self) -> str:
        """See :attr:`ImageCodec.version`."""
        return f"libwebp {features.version('webp')}"
