"""Recipe of the DCT tower: a vision tower's first layers distilled onto JPEG coefficients of all qualities."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from channels.errors import InputError
from semcom import tasks
from semcom.codecs import dct
from semcom.codecs.jpeg import Jpeg
from semcom.codecs.pillow import resize
from semcom.data.scenes import Scenes
from semcom.systems.base import Models
from semcom.systems.compressed_domain.rgb_no_more import load
from semcom.systems.compressed_domain.tower import DctTower
from semcom.training import common, evaluate, loop
from semcom.types import Image, Recovered
from semcom.vlm.llava import Llava
from semcom.vlm.load import load_generative
from semcom.vlm.trunk import Trunk

STEPS, BATCH, RATE, LAYERS = 1000, 64, 5e-4, 2
QUALITIES, SAMPLES = (2, 5, 10, 30, 80), 300  # of the card


class PixelTower(torch.nn.Module):
    """The fair control: the same part of the tower, trained in the same way on decoded pixels."""

    def __init__(self, trunk: Trunk, layers: int) -> None:
        super().__init__()
        self.embed = copy.deepcopy(trunk.tower.embeddings.patch_embedding)
        self.layers = copy.deepcopy(trunk.tower.encoder.layers[:layers])
        self.requires_grad_()

    def forward(self, pixels: Tensor, trunk: Trunk) -> Tensor:
        """The VLM's visual tokens ``[B, k, token_dim]`` of normalised pixels ``[B, 3, H, W]``."""
        state = trunk.assemble(self.embed(pixels).flatten(2).mT)
        for layer in self.layers:
            state = layer(state, None)
        return trunk.visual_tokens(state, len(self.layers))


Student = DctTower | PixelTower


def inputs(student: Student, files: Sequence[bytes], trunk: Trunk) -> Tensor:
    """What ``student`` reads of abbreviated JPEGs of the tower's size: DCT patches, or decoded pixels."""
    size, device = (trunk.image_size, trunk.image_size), trunk.tower.device
    if isinstance(student, PixelTower):
        images = [Jpeg().decode(file, size) for file in files]
        return trunk.normalised([image for image in images if image is not None])
    planes = [dct.read(file, size) for file in files]
    rows = [dct.patches(p, trunk.patch_size) for p in planes if p is not None]
    return torch.from_numpy(np.stack(rows)).to(device)


def distil(folder: Path, student: Student, trunk: Trunk, scale: Tensor, steps: int, seed: int = 1) -> float:
    """Teach ``student`` the tokens that the whole tower gives for the image before it was coded; the minutes.

    Qualities are drawn from the whole ladder, coarse ones, where a radio's budgets end up, more often.

    :param scale: ``[token_dim]``, the tokens' standard deviations: errors are measured in them
    """
    codec, size = Jpeg(), (trunk.image_size, trunk.image_size)

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        images: list[Image] = list(loop.pool()[1][rng.integers(0, len(loop.pool()[1]), BATCH)])
        images = [image if image.shape[:2] == size else resize(image, size) for image in images]
        rungs = (len(codec.ladder) * rng.random(BATCH) ** 2).astype(int)
        files = [codec.encode(image, codec.ladder[rung]) for image, rung in zip(images, rungs, strict=True)]
        with torch.no_grad():
            target = trunk.visual_tokens(trunk.embed(trunk.normalised(images)))
        tokens = student(inputs(student, files, trunk), trunk)
        error = ((tokens - target) / scale).square().mean()
        angle = 1 - torch.nn.functional.cosine_similarity(tokens, target, dim=-1).mean()
        return error + angle, {"error": error.item(), "angle": angle.item()}

    return loop.learn(folder, student, loss, steps, RATE, seed)


def spread(trunk: Trunk, count: int = 256) -> Tensor:
    """Root mean square of each of the DCT patches' numbers, ``[3 p^2 / 2]``, over training images."""
    codec, size = Jpeg(), (trunk.image_size, trunk.image_size)
    images = [i if i.shape[:2] == size else resize(i, size) for i in loop.pool()[1][:count]]
    files = [codec.encode(image, codec.ladder[-1]) for image in images]
    return inputs(DctTower(trunk), files, trunk).square().mean((0, 1)).sqrt().clamp(min=1.0)


def new_student(trunk: Trunk, layers: int = LAYERS) -> DctTower:
    """Untrained: the tower itself, on standardised coefficients."""
    student = DctTower(trunk, layers).to(trunk.tower.device)
    student.rescale(spread(trunk))
    student.requires_grad_()
    return student


def train(
    out: Path | None = None, device: str = "cpu", steps: int | None = None, vlm: str = "embedded"
) -> Path:
    """Train for the generative model ``vlm``, a LLaVA, into ``out``.

    :raises InputError: ``vlm`` is no LLaVA, or its patches do not fit JPEG's blocks
    """
    folder, steps = out or common.WEIGHTS / "rgb-no-more", steps or STEPS
    torch.set_num_threads(1)
    model = load_generative(vlm, device)
    if not isinstance(model, Llava):
        raise InputError(f"vlm: {vlm!r} has no open vision tower; rgb-no-more needs a LLaVA")
    trunk, layers = model.trunk, min(LAYERS, model.trunk.layers)
    student = new_student(trunk, layers)
    minutes = distil(folder, student, trunk, torch.from_numpy(model.token_scale).to(device), steps)
    recipe = {
        "command": "semcom train rgb-no-more" + (f" --vlm {vlm}" if vlm != "embedded" else ""),
        "data": f"scenes/train, the first {len(loop.pool()[1])}, JPEG qualities 1 to 95, coarse ones more often",
        "steps": steps,
        "batch": BATCH,
        "rate": RATE,
        "seed": 1,
        "minutes": round(minutes, 1),
    }
    config = {"vlm": model.fingerprint, "layers": layers}
    return loop.finish(folder, student, config, recipe, lambda: scores(folder, model))


def scores(folder: Path, model: Llava) -> dict[str, Any]:
    """VQA accuracy at some qualities: of this tower, of its start (the pull-back) and of the whole tower on pixels."""
    trunk, codec = model.trunk, Jpeg()
    size = (trunk.image_size, trunk.image_size)
    data = Scenes("test", SAMPLES)
    drawn = data.batch(0, SAMPLES)
    task = tasks.create("vqa", Models(generative=model), data)
    students: dict[str, Student] = {
        "trained": load(str(folder.absolute()), trunk, model.fingerprint, model.name),
        "pull-back": DctTower(trunk),
        "decoded": PixelTower(trunk, 0),
    }
    card: dict[str, Any] = {}
    for quality in QUALITIES:
        images = [s.image if s.image.shape[:2] == size else resize(s.image, size) for s in drawn]
        files = [codec.encode(image, quality) for image in images]
        row: dict[str, Any] = {"mean bytes": round(float(np.mean([len(f) for f in files])), 1)}
        for name, student in students.items():
            row[f"vqa, {name}"] = evaluate.score_seen(task, drawn, see(student, files, trunk))
        card[f"quality {quality}"] = row
    return card


def see(student: Student, files: Sequence[bytes], trunk: Trunk) -> list[Recovered]:
    """The visual tokens of each JPEG."""
    seen: list[Recovered] = []
    with torch.inference_mode():
        for start in range(0, len(files), 32):
            tokens = student(inputs(student, files[start : start + 32], trunk), trunk)
            seen += [Recovered(tokens=t.cpu().numpy()) for t in tokens]
    return seen
