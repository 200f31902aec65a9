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
}
