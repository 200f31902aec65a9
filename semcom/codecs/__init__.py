"""Source coding: pictures, vectors and text to bytes and back. No codec here knows of a channel.

Every decoder takes untrusted bytes: it returns the content or None, in bounded time, and never raises.
"""

from __future__ import annotations

from semcom.codecs.base import CODECS, Headers, ImageCodec
from semcom.codecs.quantise import AffineQuantiser
from semcom.codecs.text import CaptionModel

__all__ = ["CODECS", "AffineQuantiser", "CaptionModel", "ImageCodec", "create", "versions"]


def create(name: str, headers: Headers = "abbreviated") -> ImageCodec:
    """The codec of that name (``semcom.codecs.CODECS`` lists them)."""
    from semcom.codecs import avif, hevc, jpeg, learned, webp  # noqa: F401  (they register themselves)

    return CODECS.create(name, headers)


def versions() -> dict[str, str]:
    """Codec name -> the tool that does the work and its version."""
    return {name: create(name).version for name in ("jpeg", "webp", "avif", "hevc-intra")}
