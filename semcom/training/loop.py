"""One training loop for the small modules of systems and codecs: resumable, on one core or one GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semcom import pretrained
from semcom.data.scenes import SceneBatch, draw_scenes, render
from semcom.training import common

Loss = Callable[[int, np.random.Generator], tuple[Tensor, dict[str, float]]]


@lru_cache(maxsize=1)
def pool(count: int = 16384, first: int = 0) -> tuple[SceneBatch, NDArray[np.uint8]]:
    """Scenes ``first`` to ``first + count`` of the training split, rendered once: ``[count, 64, 64, 3]``."""
    scenes = draw_scenes("train", first + np.arange(count))
    return scenes, render(scenes)


def learn(
    folder: Path,
    model: torch.nn.Module,
    loss: Loss,
    steps: int,
    rate: float = 1e-3,
    seed: int = 1,
    weight_decay: float = 0.0,
    clip: float = 1.0,
    save_every: int = 200,
) -> float:
    """Minimise ``loss(step, rng)`` over the parameters of ``model`` that want gradients; returns the minutes.

    AdamW with warm-up and a cosine. ``rng`` is seeded by (seed, step), so that a run that goes on from
    ``folder/checkpoint.pt`` sees the batches that an uninterrupted one sees; torch's generator likewise. The
    checkpoint stays until :func:`finish`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    learnt = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learnt if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learnt if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=rate)
    checkpoint = folder / "checkpoint.pt"
    first = common.load_checkpoint(checkpoint, model, optimizer)
    model.train()
    started = time.time()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * common.cosine(step, steps, min(100, steps // 10 + 1))
        torch.manual_seed(seed * 1_000_003 + step)
        value, shown = loss(step, np.random.Generator(np.random.Philox(key=[seed, step])))
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(learnt, clip)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            speed = (step - first + 1) / (time.time() - started)
            losses = " ".join(f"{k} {v:.4g}" for k, v in shown.items())
            print(f"step {step} {losses} | {speed:.1f} steps/s", flush=True)
        if step % save_every == save_every - 1 or step == steps - 1:
            common.save_checkpoint(checkpoint, step + 1, model, optimizer)
    model.eval()
    return (time.time() - started) / 60


def finish(
    folder: Path,
    model: torch.nn.Module,
    config: dict[str, Any],
    recipe: dict[str, Any],
    scores: Callable[[], dict[str, Any]],
) -> Path:
    """Write weights, measure them with ``scores()`` as they were written, write the card, drop the checkpoint."""
    pretrained.save(folder, model, config)
    common.write_card(folder, recipe, scores())
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return folder
