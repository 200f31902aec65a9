"""FastV: all visual tokens are sent; the receiver's language model drops some on the way."""

from __future__ import annotations

import dataclasses

from channels.errors import InputError
from semcom.systems.base import Models, Size, register
from semcom.systems.token_compression.visual_tokens import VisualTokens
from semcom.types import Query, Reception, Recovered


@register(
    "fastv",
    family="token_compression",
    paper="Chen et al., ECCV 2024, arXiv 2403.06764",
    sends="ALL visual tokens, token_dim x bits each: it saves receiver compute, never airtime",
)
class FastV(VisualTokens):
    """Tokens dropped inside the receiver's language model. Over the air: all of them; no airtime is saved.

    After ``layer`` layers the language model goes on with the (1 - ratio) N visual tokens that the last token of the
    prompt attends to most (:class:`semcom.vlm.fastv.FastV`). Each question keeps its own, which a transmitter that
    does not know the question cannot do. Where packets are lost, N is what arrived.

    :param layer: K, from 1 to one less than the language model has.
    :param ratio: R, the share that is dropped, in [0, 1).
    """

    def __init__(
        self,
        models: Models | None = None,
        layer: int = 2,
        ratio: float = 0.5,
        bits: int = 4,
        tokens_per_packet: int = 8,
        analog: bool = False,
    ) -> None:
        super().__init__(models, "none", bits, tokens_per_packet, None, analog)
        if isinstance(layer, bool) or not isinstance(layer, int) or layer < 1:
            raise InputError(f"layer: {layer!r} is not a positive whole number")
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio < 1:
            raise InputError(f"ratio: {ratio!r} is not a number from 0 to below 1")
        self._prune = layer, float(ratio)

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`."""
        recovered = super().recover(reception, size, query)
        return (
            dataclasses.replace(recovered, prune=self._prune) if recovered.tokens is not None else recovered
        )
