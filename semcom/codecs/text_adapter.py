"""Text into the analysis transform of an image codec (TACO: Lee et al., ICML 2024, arXiv 2403.02944)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn, zeros

_GAIN = 16.0  # gamma is kept divided by this: with steps of one size (Adam) it leaves 0 that much faster


class Injector(nn.Module):
    """Image features that have looked at a text: x + gamma * MHA(LN(x), t', t') with t' = LN(W t).

    gamma, one factor for each channel, starts as 0: an untrained injector is the identity, bit for bit. (The
    paper's code adds to LN(x) instead, which is not.)

    :param width: channels of the image features.
    :param text_width: of the text tokens.
    :param heads: of the attention.
    """

    def __init__(self, width: int, text_width: int, heads: int) -> None:
        super().__init__()
        self.project, self.text_norm = nn.Linear(text_width, width), nn.LayerNorm(width)
        self.image_norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.gamma = nn.Parameter(zeros(width))

    def forward(self, image: Tensor, text: Tensor, padding: Tensor | None = None) -> Tensor:
        """``image`` [B, width, h, w] and ``text`` [B, n, text_width]; ``padding`` [B, n] is true where no token is."""
        known = self.text_norm(self.project(text))
        asked = self.image_norm(image.flatten(2).mT)
        found, _ = self.attention(asked, known, known, key_padding_mask=padding, need_weights=False)
        return image + (_GAIN * self.gamma * found).mT.reshape(image.shape)


class Extractor(nn.Module):
    """Text tokens that have looked at the image: t + MHA(LN(t), x', x') with x' = LN(W x). Parameters as above."""

    def __init__(self, width: int, text_width: int, heads: int) -> None:
        super().__init__()
        self.project, self.image_norm = nn.Linear(width, text_width), nn.LayerNorm(text_width)
        self.text_norm = nn.LayerNorm(text_width)
        self.attention = nn.MultiheadAttention(text_width, heads, batch_first=True)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """``image`` [B, width, h, w] and ``text`` [B, n, text_width], which comes back."""
        seen = self.image_norm(self.project(image.flatten(2).mT))
        found, _ = self.attention(self.text_norm(text), seen, seen, need_weights=False)
        return text + found


class TextAdapter(nn.Module):
    """An injector before the last stage of a transform, an extractor and an injector after it.

        image -> stages -> INJECTOR -> last stage -> EXTRACTOR -> INJECTOR -> features
                              ^                       ^    |          ^
        text  ----------------+-----------------------+    +- text ---+

    :param widths: channels before and after the last stage.
    :param text_width: of the text tokens.
    :param heads: of all attentions; must divide all widths.
    """

    def __init__(self, widths: tuple[int, int], text_width: int, heads: int = 4) -> None:
        super().__init__()
        self.first = Injector(widths[0], text_width, heads)
        self.extract = Extractor(widths[1], text_width, heads)
        self.second = Injector(widths[1], text_width, heads)

    def forward(
        self, stages: Sequence[nn.Module], x: Tensor, text: Tensor, padding: Tensor | None = None
    ) -> Tensor:
        """What ``stages``, two or more, make of ``x`` [B, C, H, W], with a text [B, n, text_width] beside it.

        :param padding: [B, n], true where a shorter text of the batch has no token.
        """
        *stages, last = stages
        for stage in stages:
            x = stage(x)
        x = last(self.first(x, text, padding))
        text = self.extract(x, text)
        return self.second(x, text, padding)
