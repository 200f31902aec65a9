"""The two interfaces through which everything sees a vision-language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semcom.types import Image, Recovered

Array = NDArray[np.float32]


class DualEncoder(Protocol):
    """Images and texts into one space (CLIP, SigLIP)."""

    name: str  # what it was loaded as
    fingerprint: str  # identifies the weights: for caches and results
    dim: int

    def embed_images(self, images: Sequence[Image]) -> Array:
        """Unit-norm embeddings, ``[B, dim]``, of uint8 RGB images of any sizes."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Unit-norm embeddings, ``[B, dim]``; what exceeds the text tower's length is cut off."""
        ...


class GenerativeVLM(Protocol):
    """Answers and captions from an image, from visual tokens, from a text, or from nothing (LLaVA).

    ``seen`` is what the receiver holds, one for each question. Kinds ``image``, ``tokens``, ``text`` and
    ``nothing`` are understood, others are :class:`channels.errors.InputError`; visual tokens are the vision
    tower's features *before* the projector, ``[k, token_dim]``, any k >= 1: they may be pruned, quantised or
    noisy, and where they are not finite they count as ``token_mean``. No tokens at all (k = 0) are
    ``nothing``. With ``prune`` a model whose layers can be opened (LLaVA) drops some of the visual tokens on the way.

    Results depend on each item alone, whatever stands beside it in the batch, up to float32 rounding.
    Questions about equal things share the work on what is seen, so ask all of them in one call.
    """

    name: str  # what it was loaded as
    fingerprint: str  # identifies the weights: for caches and results
    token_dim: int  # 0: no visual tokens
    token_mean: (
        Array  # [token_dim], mean of the visual tokens over the training images (zeros when not known)
    )
    token_scale: Array  # [token_dim], their standard deviation (ones when not known)

    def visual_tokens(self, images: Sequence[Image]) -> list[Array]:
        """``[k, token_dim]`` for each image, in raster order, before the projector."""
        ...

    def answer(
        self, seen: Sequence[Recovered], questions: Sequence[str], candidates: Sequence[Sequence[str]]
    ) -> list[str]:
        """The most likely candidate of each question; free generation where its candidates are empty."""
        ...

    def caption(self, seen: Sequence[Recovered]) -> list[str]:
        """One caption for each: clean text, no special tokens, single spaces."""
        ...
