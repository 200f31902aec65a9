"""The image as visual tokens of the receiver's language model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from channels.errors import InputError, unknown
from semcom.codecs import analog as symbols
from semcom.codecs.quantise import GAUSSIAN_STEP, AffineQuantiser, standardise
from semcom.systems.base import Models, Size, System, image_key, register
from semcom.systems.token_compression.selection import SELECTIONS
from semcom.types import Budget, Image, Message, Packet, Query, Reception, Recovered
from semcom.vlm.base import Array

if TYPE_CHECKING:
    from semcom.codecs.product import ProductQuantiser
    from semcom.vlm.trunk import Trunk

IN_TOWER = (
    "lower-resolution",
    "cls-attention",
    "visionzip",
    "tome",
)  # selections of tower.py, which needs torch


@register(
    "visual-tokens",
    family="token_compression",
    paper="LLaVA, Liu et al., NeurIPS 2023; select: divprune is Alvar et al., CVPR 2025, arXiv 2503.02175",
    sends="the kept visual tokens, token_dim x bits each or codewords, in packets of tokens_per_packet; no indices",
)
class VisualTokens(System):
    """Visual tokens of the vision tower. Over the air: the kept ones, quantised, in packets, or as symbols.

    As many tokens are kept as the budget carries, so at equal channel uses fewer bits mean more tokens. They
    go in raster order without indices: the tower's features hold their positions. Both ends know mean and
    scale of each dimension (``token_mean``, ``token_scale``): the mean is never sent, and the quantiser's
    range is fixed. Each packet has its own CRC; the receiver uses the tokens of those that arrive. With
    ``weights`` a token is not ``bits`` for each number but the numbers of its nearest codewords (product
    quantisation), which takes less than one bit a number.

    Analog: a token is token_dim/2 symbols. The block is scaled to mean power 1, but the factor is not sent:
    the receiver takes standardised tokens to have their known mean power, 1 a dimension, and applies LMMSE.
    The factor's spread from image to image is thus part of the distortion (a few per cent for many tokens).

    :param select: from the tokens alone ``none`` (all or nothing), ``random``, ``uniform``, ``average-pool``,
        ``divprune``; inside the tower (LLaVA) ``lower-resolution``, ``cls-attention``, ``visionzip``, ``tome``.
    :param bits: 8, 4, 2 or 1 for each number (digital).
    :param tokens_per_packet: at most so many tokens share a packet and its CRC.
    :param keep: keep this many tokens instead of as many as fit; an outage where they do not fit.
    :param analog: send numbers as symbols instead of bits.
    :param weights: codebooks instead of ``bits``: ``token-codebooks``, or the folder of others (``semcom train
        token-codebooks --vlm NAME --out FOLDER``).
    """

    carries = "tokens"

    def __init__(
        self,
        models: Models | None = None,
        select: str = "divprune",
        bits: int = 4,
        tokens_per_packet: int = 8,
        keep: int | None = None,
        analog: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__(models)
        if select not in (known := [*SELECTIONS, *IN_TOWER]):
            raise unknown("select", select, known)
        if isinstance(bits, bool) or bits not in GAUSSIAN_STEP:
            raise InputError(f"bits: {bits!r} is not one of {', '.join(map(str, sorted(GAUSSIAN_STEP)))}")
        for name, value in (("tokens_per_packet", tokens_per_packet), ("keep", keep)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InputError(f"{name}: {value!r} is not a positive whole number")
        if keep is not None and select == "none":
            raise InputError(
                f"keep: {keep} tokens cannot be kept with select: none; choose how to select them"
            )
        if not isinstance(analog, bool):
            raise InputError(f"analog: {analog!r} is not true or false")
        if weights is not None and not (isinstance(weights, str) and weights):
            raise InputError(f"weights: {weights!r} is not the name or folder of codebooks")
        if weights is not None and analog:
            raise InputError("weights: codebooks make bits, but analog: true sends numbers as symbols")
        self._select, self._bits, self._analog = select, bits, analog
        self._per_packet, self._keep, self._weights = tokens_per_packet, keep, weights

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`."""
        if not len(images):
            return []
        messages = [Message()] * len(images)
        counts = self._counts(images)
        for n in dict.fromkeys(counts):
            plan = self._plan(n, budget)
            rows = [i for i, count in enumerate(counts) if count == n] if plan else []
            for i, kept in zip(rows, self._kept([images[i] for i in rows], sum(plan)), strict=True):
                messages[i] = self._analog_message(kept) if self._analog else self._packets(kept, max(plan))
        return messages

    def _counts(self, images: Sequence[Image]) -> list[int]:
        """How many visual tokens each image has."""
        if self._select in SELECTIONS:
            return [len(tokens) for tokens in self.models.tokens(images)]
        trunk = self._trunk()
        return [trunk.rows * trunk.columns] * len(images)

    def _kept(self, images: Sequence[Image], keep: int) -> list[Array]:
        """At most ``keep`` tokens of each image."""
        if self._select not in SELECTIONS:
            from semcom.systems.token_compression.tower import compress

            return compress(self._trunk(), images, keep, self._select)
        choose = SELECTIONS[self._select]
        pairs = zip(images, self.models.tokens(images), strict=True)
        return [choose(tokens, keep, image_key(image)) for image, tokens in pairs]

    def _trunk(self) -> Trunk:
        model = self.models.generative
        trunk: Trunk | None = getattr(model, "trunk", None)
        if trunk is None:
            raise InputError(
                f"select: {self._select} needs a VLM with an open vision tower (LLaVA), not {model.name!r}"
            )
        return trunk

    def _plan(self, available: int, budget: Budget) -> list[int]:
        """How many tokens go into each packet (analog: into the one block); empty for an outage."""
        wanted = min(self._keep or available, available)
        if self._analog:
            room = min(budget.symbols() // self._symbols_per_token(), wanted)
            plan = [room] if room else []
        else:
            plan = self._packet_plan(wanted, budget)
        must = wanted if self._keep or self._select == "none" else 1
        return plan if sum(plan) >= must else []

    def _packet_plan(self, wanted: int, budget: Budget) -> list[int]:
        """The number of packets that carries most tokens; the smallest such number."""
        quantiser, best, per_packet = self._quantiser, 0, 0
        for packets in range(1, wanted + 1):
            room = min(self._per_packet, quantiser.vectors_in(budget.packet_bytes(packets)))
            if not room or best >= wanted:
                break
            if packets * room > best:
                best, per_packet = packets * room, room
        kept = min(best, wanted)
        return [min(per_packet, kept - done) for done in range(0, kept, max(per_packet, 1))]

    def _packets(self, kept: Array, per_packet: int) -> Message:
        quantiser = self._quantiser
        parts = [kept[i : i + per_packet] for i in range(0, len(kept), per_packet)]
        return Message(tuple(Packet(quantiser.encode(part)) for part in parts))

    def _analog_message(self, kept: Array) -> Message:
        model = self.models.generative
        rows = [symbols.to_symbols(t) for t in standardise(kept, model.token_mean, model.token_scale)]
        return Message(symbols=symbols.unit_power(np.concatenate(rows)))

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`."""
        tokens = self._from_symbols(reception) if self._analog else self._from_packets(reception)
        return Recovered(tokens=tokens if tokens is not None and len(tokens) else None)

    def _from_packets(self, reception: Reception) -> Array | None:
        quantiser = self._quantiser
        parts = [quantiser.decode(packet.payload) for packet in reception.packets if packet.ok]
        return np.concatenate(parts) if parts else None

    def _from_symbols(self, reception: Reception) -> Array | None:
        if reception.symbols is None:
            return None
        model, length = self.models.generative, self._symbols_per_token()
        received, noise = symbols.clean(reception.symbols, reception.noise_var)
        rows = symbols.lmmse(received, noise)[: len(received) // length * length].reshape(-1, length)
        if not len(rows):
            return None
        reals = np.stack([symbols.to_reals(row, model.token_dim) for row in rows])
        return (model.token_mean + model.token_scale * reals).astype(np.float32)

    def _symbols_per_token(self) -> int:
        return -(-self.models.generative.token_dim // 2)

    @cached_property
    def _quantiser(self) -> AffineQuantiser | ProductQuantiser:
        model = self.models.generative
        if self._weights is None:
            return AffineQuantiser(model.token_mean, model.token_scale, self._bits)
        from semcom.systems.token_compression.codebooks import load

        return load(self._weights, model)
