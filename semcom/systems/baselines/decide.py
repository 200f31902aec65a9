"""The bound that every task-oriented scheme should be compared with: think first, then send the answer."""

from __future__ import annotations

from collections.abc import Sequence

from semcom.codecs.text import normalise
from semcom.systems.base import Size, System, register
from semcom.types import Budget, Image, Message, Packet, Query, Reception, Recovered

# From the lowest code rate to the highest: the first that fits the budget is taken.
CLASSES = ("robust-1/80", "robust-1/40", "robust-1/20", "robust-1/10", "robust")


def index_bytes(candidates: int) -> int:
    """Whole bytes that hold an index of ceil(log2(candidates)) bits; at least one."""
    return max(1, -(-(candidates - 1).bit_length() // 8))


@register(
    "decide-at-transmitter",
    family="baselines",
    paper="folklore; the bound on what semantic gains can mean when the question is known at the transmitter",
    sends="the index of the answer among the candidates (1 byte up to 256), at the lowest code rate that fits",
)
class DecideAtTransmitter(System):
    """Answer at the transmitter. Over the air: the answer's index or text, at the lowest code rate that fits.

    Only where the transmitter knows the question (and, for closed questions, both ends know the candidates).
    It loses nothing but its own errors, in about one byte; no other system can be more frugal.
    """

    carries = "answer"
    needs_query = True

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`; ``queries`` are required, one for each image."""
        if queries is None or len(queries) != len(images):
            raise ValueError("decide-at-transmitter needs one query for each image")
        room = {name: budget.packet_bytes(1, name) for name in CLASSES}
        fits = any(room.values()) and len(images)
        answers = self.models.answer(images, queries) if fits else [""] * len(images)
        return [self._message(self._code(a, q), room) for a, q in zip(answers, queries, strict=True)]

    def _message(self, data: bytes, room: dict[str, int]) -> Message:
        for protection, most in room.items():
            if 0 < len(data) <= most:
                return Message((Packet(data, protection),))
        return Message()

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`; without its query nothing can be read."""
        if query is None or len(reception.packets) != 1 or not reception.packets[0].ok:
            return Recovered()
        payload = reception.packets[0].payload
        if not query.candidates:
            return Recovered(answer=self.models.captions.decode(payload) or None)
        index = int.from_bytes(payload, "big")
        known = len(payload) == index_bytes(len(query.candidates)) and index < len(query.candidates)
        return Recovered(answer=query.candidates[index] if known else None)

    def _code(self, answer: str, query: Query) -> bytes:
        """The packet of an answer; empty for one that cannot be sent."""
        if not query.candidates:
            return self.models.captions.encode(answer) if normalise(answer) else b""
        if answer not in query.candidates:
            return b""
        return query.candidates.index(answer).to_bytes(index_bytes(len(query.candidates)), "big")
