"""VisionZip by its name."""

from __future__ import annotations

from semcom.systems.base import Models, register
from semcom.systems.token_compression.visual_tokens import VisualTokens


@register(
    "visionzip",
    family="token_compression",
    paper="VisionZip, Yang et al., CVPR 2025, arXiv 2412.04467",
    sends="the tokens with most attention and a few merged ones, token_dim x bits each; no indices",
)
class VisionZip(VisualTokens):
    """Dominant tokens and merged others. Over the air: as many as fit, quantised, in packets; no indices.

    Dominant: 54 of 64 in the paper's ratio, by the attention of the class token. Contextual: means of the rest, grouped
    by their keys. See :func:`semcom.systems.token_compression.tower.visionzip`; options as of ``visual-tokens``.
    """

    def __init__(
        self,
        models: Models | None = None,
        bits: int = 4,
        tokens_per_packet: int = 8,
        keep: int | None = None,
        analog: bool = False,
    ) -> None:
        super().__init__(models, "visionzip", bits, tokens_per_packet, keep, analog)
