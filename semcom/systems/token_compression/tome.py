"""ToMe by its name."""

from __future__ import annotations

from semcom.systems.base import Models, register
from semcom.systems.token_compression.visual_tokens import VisualTokens


@register(
    "tome",
    family="token_compression",
    paper="Token Merging, Bolya et al., ICLR 2023, arXiv 2210.09461",
    sends="the visual tokens that are left after merging, token_dim x bits each; no sizes, no indices",
)
class ToMe(VisualTokens):
    """Visual tokens merged inside the tower. Over the air: as many as fit, quantised, in packets; no sizes.

    Each layer of the tower merges its most similar tokens, so the transmitter computes less, too. See
    :func:`semcom.systems.token_compression.merging.merged`; options as of ``visual-tokens``.
    """

    def __init__(
        self,
        models: Models | None = None,
        bits: int = 4,
        tokens_per_packet: int = 8,
        keep: int | None = None,
        analog: bool = False,
    ) -> None:
        super().__init__(models, "tome", bits, tokens_per_packet, keep, analog)
