"""CLIP and SigLIP: images and texts in one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from semcom.types import Image
from semcom.vlm.base import Array
from semcom.vlm.pixels import Pixels
from semcom.vlm.words import Words


class TransformersDualEncoder:
    """Any transformers model with ``get_image_features`` and ``get_text_features`` into one space.

    :param model: ``CLIPModel``, ``SiglipModel`` or a relative, in evaluation mode
    :param processor: its processor, with ``image_processor`` and ``tokenizer``
    :param name: what it was loaded as
    :param fingerprint: identifies the weights and the processor's files
    :param batch: images or texts in one forward pass
    """

    def __init__(self, model: Any, processor: Any, name: str, fingerprint: str, batch: int = 64) -> None:
        self.model, self.processor, self.name, self.fingerprint, self.batch = (
            model,
            processor,
            name,
            fingerprint,
            batch,
        )
        self.pixels = Pixels(processor.image_processor)
        self.words = Words(processor)
        config = model.config
        self._positions = config.text_config.max_position_embeddings
        # SigLIP was trained on texts padded to the full length and attends to the padding
        self._padding = "max_length" if config.model_type.startswith("siglip") else True
        self.dim = int(self.embed_texts([""]).shape[1])

    @torch.inference_mode()
    def embed_images(self, images: Sequence[Image]) -> Array:
        """Unit-norm embeddings, ``[B, dim]`` float32, of uint8 RGB images of any sizes."""
        return self._embed(images, self._image_features)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Unit-norm embeddings, ``[B, dim]`` float32. What exceeds the text tower's length is cut off."""
        return self._embed(texts, self._text_features)

    def _embed(self, items: Sequence[Any], features: Any) -> Array:
        parts = [features(items[start : start + self.batch]) for start in range(0, len(items), self.batch)]
        if not parts:
            return np.zeros((0, self.dim), dtype=np.float32)
        return normalize(torch.cat(parts).float(), dim=-1).cpu().numpy()

    def _image_features(self, images: Sequence[Image]) -> torch.Tensor:
        pixels = self.pixels(images).to(self.model.device)
        return self.model.get_image_features(pixel_values=pixels).pooler_output

    def _text_features(self, texts: Sequence[str]) -> torch.Tensor:
        inputs = self.processor.tokenizer(
            [self.words.clean(text) for text in texts],
            padding=self._padding,
            truncation=True,
            max_length=self._positions,
            return_tensors="pt",
        ).to(self.model.device)
        known = {key: inputs[key] for key in ("input_ids", "attention_mask") if key in inputs}
        return self.model.get_text_features(**known).pooler_output
