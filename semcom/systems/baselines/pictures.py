"""Classical picture codecs under a byte budget: the strongest form of what everybody compares with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from channels.errors import InputError
from semcom import codecs
from semcom.codecs.base import Headers, Ladder, Recent
from semcom.codecs.pillow import resize
from semcom.systems.base import Models, Size, System, image_key, register
from semcom.types import Budget, Image, Message, Packet, Query, Reception, Recovered


class Picture(System):
    """A picture at the best quality that fits the budget, in one packet.

    :param headers: ``"abbreviated"`` sends only what a receiver that knows the codec's configuration and the
        image size cannot know; ``"full"`` sends a file as it would lie on a disk.
    :param shrink: send a thumbnail of 1/shrink of the height and width, enlarged again by the receiver. At
        very small budgets 2 or 4 beats the codec's worst quality.
    """

    carries = "image"
    codec: ClassVar[str]

    def __init__(
        self, models: Models | None = None, headers: Headers = "abbreviated", shrink: int = 1
    ) -> None:
        super().__init__(models)
        if not isinstance(shrink, int) or isinstance(shrink, bool) or not 1 <= shrink <= 64:
            raise InputError(f"shrink: {shrink!r} is not a whole number from 1 to 64")
        self._codec, self._shrink = codecs.create(self.codec, headers), shrink
        self._ladders = Recent[Ladder]()

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`."""
        room = budget.packet_bytes()
        coded = [self._ladder(image).best(room) if room else None for image in images]
        return [Message((Packet(data),)) if data else Message() for data in coded]

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`."""
        if len(reception.packets) != 1 or not reception.packets[0].ok:
            return Recovered()
        image = self._codec.decode(reception.packets[0].payload, self._small(size))
        return Recovered(image=image if image is None or self._shrink == 1 else resize(image, size))

    def _small(self, size: Size) -> Size:
        return -(-size[0] // self._shrink), -(-size[1] // self._shrink)

    def _ladder(self, image: Image) -> Ladder:
        """All encodings of an image so far; budgets share them."""
        size = (image.shape[0], image.shape[1])

        def make() -> Ladder:
            return Ladder(self._codec, image if self._shrink == 1 else resize(image, self._small(size)))

        return self._ladders.of(image_key(image), self._small(size), make)


@register(
    "jpeg",
    family="baselines",
    paper="Wallace, CACM 1991; ITU-T T.81",
    sends="quality (8 bits) and the baseline 4:2:0 scan; with headers: full, a JPEG file",
)
class Jpeg(Picture):
    """JPEG, 4:2:0. Over the air: a quality byte and the entropy-coded scan, or a file.   [Wallace 1991]"""

    codec = "jpeg"


@register(
    "webp",
    family="baselines",
    paper="RFC 9649 and RFC 6386 (VP8)",
    sends="the VP8 key frame; with headers: full, a WebP file",
)
class WebP(Picture):
    """Lossy WebP. Over the air: the VP8 key frame without container and size, or a file.   [RFC 9649]"""

    codec = "webp"


@register(
    "avif",
    family="baselines",
    paper="Han et al., Proc. IEEE 2021 (AV1)",
    sends="the AV1 intra frame; with headers: full, an AVIF file",
)
class Avif(Picture):
    """AVIF. Over the air: the AV1 frame without container and sequence header, or a file.   [Han 2021]"""

    codec = "avif"


@register(
    "hevc-intra",
    family="baselines",
    paper="Sullivan et al., IEEE TCSVT 2012; ITU-T H.265 (BPG is its container)",
    sends="the coded slice of one intra picture; with headers: full, with its parameter sets",
)
class HevcIntra(Picture):
    """HEVC intra (BPG). Over the air: the coded slice, or it and its parameter sets.   [Sullivan 2012]"""

    codec = "hevc-intra"
