"""The image as a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from semcom.systems.base import Size, System, register
from semcom.types import Budget, Image, Message, Packet, Query, Reception, Recovered


@register(
    "caption-text",
    family="semantic",
    paper="Nam et al., ICASSP 2024, arXiv 2309.11127; VLM-CSC, Jiang et al., TWC 2025, arXiv 2407.00020",
    sends="the caption, arithmetic-coded under a word model",
)
class CaptionText(System):
    """Caption at the transmitter. Over the air: its words, arithmetic-coded under an n-gram model.

    The receiver answers from the text. A budget too small for the whole caption takes the first bytes of its
    code, which determine its first words; an outage only when they do not determine one.
    """

    carries = "text"

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`."""
        room = budget.packet_bytes()
        if not room:
            return [Message() for _ in images]
        coder = self.models.captions
        coded = [coder.encode(caption)[:room] for caption in self.models.describe(images)]
        return [Message((Packet(data),)) if coder.decode(data) else Message() for data in coded]

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`."""
        if len(reception.packets) != 1 or not reception.packets[0].ok:
            return Recovered()
        return Recovered(text=self.models.captions.decode(reception.packets[0].payload) or None)
