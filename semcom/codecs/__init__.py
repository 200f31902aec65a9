"""Source coding: pictures, vectors and text to bytes and back. No codec here knows of a channel.

Every decoder takes untrusted bytes: it returns the content or None, in bounded time, and never raises.
"""

from semcom.codecs.base import CODECS, ImageCodec, create, versions
from semcom.codecs.quantise import AffineQuantiser
from semcom.codecs.text import CaptionModel

__all__ = ["CODECS", "AffineQuantiser", "CaptionModel", "ImageCodec", "create", "versions"]
