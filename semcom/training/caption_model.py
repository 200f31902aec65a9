"""Recipe of the caption model: counts of word trigrams in the standard captions of the training split."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from semcom.codecs.text import CaptionModel
from semcom.data import language
from semcom.data.scenes import draw_scenes, truth
from semcom.training import common

CAPTIONS = 20_000


def train(out: Path | None = None, device: str = "cpu", steps: int | None = None, workers: int = 1) -> Path:
    """Fit into ``out``; ``steps`` is the number of captions. Counting needs neither a GPU nor workers."""
    folder = out or common.WEIGHTS / "caption-model"
    folder.mkdir(parents=True, exist_ok=True)
    count = steps or CAPTIONS
    started = time.time()
    model = CaptionModel.fit(captions("train", count))
    model.save(folder)
    fresh = captions("test", 2000)
    sizes = np.array([len(model.encode(text)) for text in fresh])
    ideal = np.array([model.bits(text) / 8 for text in fresh])
    recipe = {
        "command": "semcom train caption-model",
        "data": f"{count} standard captions of scenes/train",
        "minutes": round((time.time() - started) / 60, 1),
    }
    scores = {
        "test captions": len(fresh),
        "mean characters": round(float(np.mean([len(t) for t in fresh])), 1),
        "mean coded bytes": round(float(sizes.mean()), 2),
        "95 % interval": [
            round(float(sizes.mean() + z * sizes.std() / len(sizes) ** 0.5), 2) for z in (-1.96, 1.96)
        ],
        "mean bytes by the model's probabilities": round(float(ideal.mean()), 2),
    }
    common.write_card(folder, recipe, scores)
    return folder


def captions(split: str, count: int) -> list[str]:
    """The standard captions of the first ``count`` scenes of a split."""
    scenes = draw_scenes(split, np.arange(count))
    return [language.caption(truth(scenes, i)) for i in range(count)]
