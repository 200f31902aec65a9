"""The recipes that made every shipped weight file. ``semcom train NAME`` runs one of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """A named training run: ``train`` in ``module`` writes a weight folder with its card."""

    module: str
    summary: str

    def run(self, out: Path | None = None, **options: Any) -> Path:
        """Train into ``out`` (the shipped folder when None) and return it."""
        train: Callable[..., Path] = importlib.import_module(self.module).train
        return train(out, **options)


RECIPES: dict[str, Recipe] = {
    "dual-encoder": Recipe(
        "semcom.training.dual_encoder", "the embedded CLIP: images and texts into one space"
    ),
    "generative": Recipe(
        "semcom.training.generative", "the embedded LLaVA on the dual encoder's vision tower"
    ),
    "caption-model": Recipe("semcom.training.caption_model", "the word statistics that compress captions"),
    "token-codebooks": Recipe(
        "semcom.training.token_codebooks", "codewords for visual tokens: a product quantiser"
    ),
    "image-codec": Recipe(
        "semcom.training.image_codec", "the learned picture codec, one network for 32 rates"
    ),
    "latent-input": Recipe(
        "semcom.training.latent_input", "the neck from the learned codec's latents into the vision tower"
    ),
    "rgb-no-more": Recipe(
        "semcom.training.rgb_no_more", "a vision tower's first layers on JPEG's DCT coefficients"
    ),
    "entropic-student": Recipe(
        "semcom.training.entropic_student",
        "a light encoder and bottleneck in place of a vision tower's first layers",
    ),
    "taco": Recipe("semcom.training.taco", "the learned codec's encoder, guided by captions and questions"),
    "vlm-csc": Recipe("semcom.training.vlm_csc", "the text codec of VLM-CSC: captions as analog symbols"),
    "image-generator": Recipe(
        "semcom.training.image_generator", "pictures from captions, at the receiver of VLM-CSC"
    ),
    "deep-jscc": Recipe(
        "semcom.training.deep_jscc", "images as analog symbols, a codec for each of three SNRs"
    ),
    "adjscc": Recipe("semcom.training.adjscc", "images as analog symbols, one codec for any SNR"),
}
