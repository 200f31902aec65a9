"""HEVC intra (ITU-T H.265; Sullivan et al., IEEE TCSVT 2012): what BPG is without its container; by x265."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from semcom.codecs.base import CODECS, ImageCodec, Size
from semcom.types import Image

_SLICE = b"\x00\x00\x01\x28\x01"  # start code and header of an IDR picture's slice
_LEAST = 16  # pixels a side; x265 takes no smaller picture
_X265 = (
    "keyint=1:info=0:log-level=none:pools=none:frame-threads=1:wpp=0:psy-rd=0:psy-rdoq=0:aq-mode=0:cutree=0"
    ":repeat-headers=1:annexb=1:ipratio=1:vui-timing-info=0"
)


def _padded(size: Size) -> Size:
    """The coded size: even, and no side under the codec's least."""
    return max(_LEAST, size[0] + size[0] % 2), max(_LEAST, size[1] + size[1] % 2)


def _to_planes(image: Image) -> NDArray[np.uint8]:
    """RGB to full-range BT.601 4:2:0 planes, one under the other as FFmpeg's yuv420p: [3 H / 2, W]."""
    height, width = _padded((image.shape[0], image.shape[1]))
    image = np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), mode="edge")
    y, *chroma = PillowImage.fromarray(image).convert("YCbCr").split()
    half = (width // 2, height // 2)
    planes = [y, *(plane.resize(half, PillowImage.Resampling.BOX) for plane in chroma)]
    return np.concatenate([np.asarray(plane).ravel() for plane in planes]).reshape(height * 3 // 2, width)


def _from_planes(planes: NDArray[np.uint8], size: Size) -> Image:
    """The inverse, with bilinear chroma, cropped to ``size``."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    luma, rest = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
    chroma = [
        PillowImage.fromarray(plane).resize((width, height), PillowImage.Resampling.BILINEAR)
        for plane in rest
    ]
    rgb = PillowImage.merge("YCbCr", [PillowImage.fromarray(luma), *chroma]).convert("RGB")
    return np.asarray(rgb, dtype=np.uint8)[: size[0], : size[1]].copy()


def _write(image: Image, quantiser: int) -> bytes:
    import av

    frame = av.VideoFrame.from_ndarray(_to_planes(image), format="yuv420p")
    frame.pts = 0
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.thread_count = Fraction(1, 25), Fraction(25), 1
    encoder.options = {"preset": "veryslow", "x265-params": f"qp={quantiser}:{_X265}"}
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


@lru_cache(maxsize=64)
def _parameters(size: Size) -> bytes:
    """Video, sequence and picture parameter sets: they depend on the size alone."""
    file = _write(np.full((*size, 3), 128, np.uint8), 40)
    return file[: file.index(_SLICE)]


@CODECS.register("hevc-intra")
class HevcIntra(ImageCodec):
    """One intra picture of HEVC, Main profile, 4:2:0.

    x265, preset veryslow, constant quantiser, one thread, no psycho-visual tuning.

    Abbreviated: the coded slice without start code, unit header and parameter sets (78 bytes less than the
    file at 64 x 64).
    """

    name = "hevc-intra"
    ladder = tuple(range(51, 3, -1))
    ends_itself = True

    def write(self, image: Image, quality: int) -> bytes:
        """See :meth:`ImageCodec.write`."""
        return _write(image, quality)

    def strip(self, file: bytes, size: Size) -> bytes:
        """The slice."""
        return file[len(_parameters(size)) + len(_SLICE) :]

    def restore(self, payload: bytes, size: Size) -> bytes:
        """Parameter sets and the slice's unit header. A payload that starts another unit is refused."""
        if re.search(rb"\x00\x00[\x00-\x02]", payload):  # cannot stand inside a unit (H.265, 7.4.2)
            raise ValueError("more than one unit")
        return _parameters(size) + _SLICE + payload

    def read(self, file: bytes, size: Size) -> Image | None:
        """See :meth:`ImageCodec.read`."""
        import av

        av.logging.set_level(av.logging.PANIC)  # FFmpeg reports every damaged stream on stderr
        decoder = av.CodecContext.create("hevc", "r")
        decoder.thread_count = 1
        decoder.options = {"err_detect": "explode"}
        frames = [*decoder.decode(av.Packet(file)), *decoder.decode(None)]
        if len(frames) != 1 or frames[0].format.name != "yuv420p" or frames[0].is_corrupt:
            return None
        planes = frames[0].to_ndarray()
        height, width = _padded(size)
        return _from_planes(planes, size) if planes.shape == (height * 3 // 2, width) else None

    @property
    def version(self) -> str:
        """See :attr:`ImageCodec.version`."""
        import av

        libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
        return f"x265, libavcodec {libavcodec}, PyAV {av.__version__}"
