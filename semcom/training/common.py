"""What the recipes share: worker processes with averaged gradients, checkpoints, degraded images, cards."""

from __future__ import annotations

import io
import json
import math
import os
import platform
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from numpy.typing import NDArray

WEIGHTS = Path(__file__).parent.parent / "weights"


def launch(train: Callable[..., None], workers: int, *args: Any) -> None:
    """Call ``train(rank, workers, *args)`` in ``workers`` processes of one thread each (in this one when 1)."""
    if workers == 1:
        torch.set_num_threads(1)
        train(0, 1, *args)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_worker, (train, workers, port, args), nprocs=workers)  # type: ignore[no-untyped-call]


def _worker(rank: int, train: Callable[..., None], workers: int, port: int, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=workers)
    try:
        train(rank, workers, *args)
    finally:
        dist.destroy_process_group()


def run_recipe(
    name: str,
    out: Path | None,
    prepare: Callable[[Path], None],
    train: Callable[..., None],
    score: Callable[[Path], dict[str, Any]],
    device: str,
    steps: int,
    workers: int,
    batch: int,
    data: str,
) -> Path:
    """Prepare, train (or go on from the checkpoint of a killed run), store as float16, score and write the card."""
    folder = out or WEIGHTS / name
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    if not checkpoint.exists():
        prepare(folder)
    started = time.time()
    launch(train, workers, folder, device, steps)
    minutes = (time.time() - started) / 60
    checkpoint.unlink()
    halve(folder)
    recipe = {
        "command": f"semcom train {name}",
        "data": f"scenes/train, {steps * batch} images, {data}",
        "steps": steps,
        "batch": batch,
        "workers": workers,
        "seed": 1,
        "minutes": round(minutes, 1),
    }
    write_card(folder, recipe, score(folder))
    return folder


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Mean of the gradients over the worker processes, in place; nothing to do in a single process."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def cosine(step: int, steps: int, warmup: int = 100) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def save_checkpoint(path: Path, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write atomically: a killed run leaves the last whole checkpoint."""
    temporary = path.with_suffix(".tmp")
    torch.save({"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Restore and return the step to go on from; 0 when there is no checkpoint."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def degrade(images: NDArray[np.uint8], rng: np.random.Generator, share: float) -> NDArray[np.uint8]:
    """A ``share`` of the images as a channel would leave them: JPEG, WebP, low resolution or noise."""
    images = images.copy()
    for i in np.flatnonzero(rng.random(len(images)) < share):
        kind = rng.random()
        if kind < 0.65:
            buffer = io.BytesIO()
            # Low qualities are where the budgets of a radio end up: draw them more often.
            quality = int(3 + 87 * rng.random() ** 2)
            name, options = ("JPEG", {}) if kind < 0.35 else ("WEBP", {"method": 0})
            PIL.Image.fromarray(images[i]).save(buffer, name, quality=quality, **options)
            images[i] = np.asarray(PIL.Image.open(buffer).convert("RGB"))
        elif kind < 0.8:
            size = images.shape[1]
            small = int(size * rng.uniform(0.3, 0.8))
            picture = PIL.Image.fromarray(images[i]).resize((small, small), PIL.Image.Resampling.BICUBIC)
            images[i] = np.asarray(picture.resize((size, size), PIL.Image.Resampling.BICUBIC))
        else:
            noise = rng.standard_normal(images[i].shape) * rng.uniform(3, 35)
            images[i] = np.clip(images[i] + noise, 0, 255).astype(np.uint8)
    return images


def pixels(images: NDArray[np.uint8], mean: Iterable[float], std: Iterable[float]) -> torch.Tensor:
    """Normalised float input of the vision tower, ``[B, 3, H, W]``."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(list(mean)).view(3, 1, 1)) / torch.tensor(list(std)).view(3, 1, 1)


def normalisation(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and standard deviation by which a model's processor normalises its images."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil.from_pretrained(folder)
    return list(processor.image_mean), list(processor.image_std)


def halve(folder: Path) -> None:
    """Store the weights of a ``save_pretrained`` folder as float16."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in load_file(path).items()},
        path,
        {"format": "pt"},
    )
    path.chmod(0o644)


def write_card(folder: Path, recipe: dict[str, Any], scores: dict[str, Any]) -> None:
    """``card.json`` beside the weights: how they were made and what they measured."""
    root = Path(__file__).parent.parent.parent
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    card = {
        "recipe": recipe,
        "made": date.today().isoformat(),
        "commit": git.stdout.strip() or "not a git checkout",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "scores": scores,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
