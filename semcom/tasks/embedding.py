"""Embeddings of what was received and of the texts that it is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semcom.tasks.base import Models
from semcom.types import Kind, Recovered
from semcom.vlm.base import Array


def embed(models: Models, kind: Kind, seen: Sequence[Recovered]) -> Array:
    """Unit-norm embeddings ``[B, dim]`` of receptions of one kind; of visual tokens by their caption."""
    if kind == "image":
        return models.dual.embed_images([r.image for r in seen if r.image is not None])
    if kind == "embedding":
        # In double precision, as the square of a received value may exceed the range of single precision.
        e = np.stack([r.embedding for r in seen if r.embedding is not None]).astype(np.float64)
        e /= np.abs(e).max(axis=1, keepdims=True)
        return np.asarray(e / np.linalg.norm(e, axis=1, keepdims=True), dtype=np.float32)
    if kind == "tokens":
        return models.dual.embed_texts(models.generative.caption(seen))
    return models.dual.embed_texts([r.text for r in seen if r.text is not None])


class TextEmbeddings:
    """Text embeddings of the dual encoder, each computed once."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._known: dict[str, Array] = {}

    def __call__(self, texts: Sequence[str]) -> Array:
        """``[B, dim]``."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._models.dual.embed_texts(new), strict=True))
        return np.stack([self._known[text] for text in texts])
