"""The image as one vector of a dual encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from channels.errors import InputError
from semcom.codecs import analog as symbols
from semcom.codecs.quantise import AffineQuantiser
from semcom.systems.base import Models, Size, System, register
from semcom.types import Budget, Image, Message, Packet, Query, Reception, Recovered
from semcom.vlm.base import Array


@register(
    "embedding",
    family="semantic",
    paper="CLIP, Radford et al., ICML 2021; analog: Deep JSCC, Bourtsoulatze et al., IEEE TCCN 2019",
    sends="the image embedding: dim x bits in one packet, or dim/2 analog symbols, repeated",
)
class Embedding(System):
    """The image embedding. Over the air: dim x bits in one packet, or dim/2 symbols.   [Radford 2021]

    Digital: each number in units of 1/sqrt(dim), its standard deviation on the unit sphere, under a uniform
    quantiser; 1 bit sends signs. Analog: dim/2 symbols, repeated as often as the budget allows and combined
    with weights 1/noise variance. Neither sends a length: the receiver restores unit norm.

    :param bits: 8, 4, 2 or 1 for each number (digital).
    :param analog: send numbers as symbols instead of bits.
    """

    carries = "embedding"

    def __init__(self, models: Models | None = None, bits: int = 8, analog: bool = False) -> None:
        super().__init__(models)
        if not isinstance(analog, bool):
            raise InputError(f"analog: {analog!r} is not true or false")
        AffineQuantiser([0.0], [1.0], bits)  # checks bits before any model is loaded
        self._bits, self._analog = bits, analog

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`."""
        if not len(images):
            return []
        dim = self.models.dual.dim
        if self._analog:
            times = budget.symbols() // -(-dim // 2)
            if not times:
                return [Message() for _ in images]
            blocks = [symbols.unit_power(symbols.to_symbols(e)) for e in self.models.embed(images)]
            return [Message(symbols=np.tile(block, times)) for block in blocks]
        quantiser = self._quantiser()
        if quantiser.bytes_for(1) > budget.packet_bytes():
            return [Message() for _ in images]
        return [Message((Packet(quantiser.encode(e[None])),)) for e in self.models.embed(images)]

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`."""
        vector = self._from_symbols(reception) if self._analog else self._from_packet(reception)
        norm = 0.0 if vector is None else float(np.linalg.norm(vector.astype(np.float64)))
        if vector is None or not np.isfinite(norm) or norm == 0:
            return Recovered()
        return Recovered(embedding=(vector / norm).astype(np.float32))

    def _quantiser(self) -> AffineQuantiser:
        dim = self.models.dual.dim
        return AffineQuantiser(np.zeros(dim), np.full(dim, dim**-0.5), self._bits)

    def _from_packet(self, reception: Reception) -> Array | None:
        if len(reception.packets) != 1 or not reception.packets[0].ok:
            return None
        quantiser, payload = self._quantiser(), reception.packets[0].payload
        return quantiser.decode(payload)[0] if len(payload) == quantiser.bytes_for(1) else None

    def _from_symbols(self, reception: Reception) -> Array | None:
        if reception.symbols is None:
            return None
        dim = self.models.dual.dim
        received, noise = symbols.clean(reception.symbols, reception.noise_var)
        if len(received) < -(-dim // 2):
            return None
        block, variance = symbols.combine(received, noise, -(-dim // 2))
        return symbols.to_reals(symbols.lmmse(block, variance), dim)
