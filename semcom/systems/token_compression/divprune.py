"""DivPrune by its name."""

from __future__ import annotations

from semcom.systems.base import Models, register
from semcom.systems.token_compression.visual_tokens import VisualTokens


@register(
    "divprune",
    family="token_compression",
    paper="Alvar et al., CVPR 2025, arXiv 2503.02175",
    sends="the most mutually different visual tokens, token_dim x bits each; no indices",
)
class DivPrune(VisualTokens):
    """The most different visual tokens. Over the air: as many as fit, quantised, in packets; no indices.

    :func:`semcom.systems.token_compression.selection.divprune` chooses them before the projector (the paper after
    it). It needs neither training nor attention nor the question. Options as of ``visual-tokens``.
    """

    def __init__(
        self,
        models: Models | None = None,
        bits: int = 4,
        tokens_per_packet: int = 8,
        keep: int | None = None,
        analog: bool = False,
    ) -> None:
        super().__init__(models, "divprune", bits, tokens_per_packet, keep, analog)
