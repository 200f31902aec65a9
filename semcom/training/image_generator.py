"""Recipe of the image generator: standard captions to the plainest pictures of what they say.

A caption leaves much open (sizes, turns, marks, textures, exact places). The mean over all that fits is a blur that no
model reads, so the targets are scenes in which whatever the caption does not say has one value: upright, unmarked,
on a plain ground. The loss is the squared error of the pixels, and of what the dual encoder's vision tower sees.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semcom import tasks
from semcom.data.language import caption
from semcom.data.scenes import SceneBatch, Scenes, draw_scenes, render, truth
from semcom.systems.base import Models
from semcom.systems.semantic.image_generator import Embedded, ImageGenerator
from semcom.training import common, loop
from semcom.training.evaluate import score
from semcom.training.vlm_csc import vocabulary
from semcom.types import Recovered
from semcom.vlm import load_dual_encoder

STEPS, BATCH, RATE, SEED = 1600, 32, 2e-3, 1
SCENES, TESTED = 16384, 500
PIXELS, FEATURES = 10.0, 0.1  # weights of the two errors
SEEN = 8  # pictures of a batch whose features are compared


def train(
    out: Path | None = None, device: str = "cpu", steps: int | None = None, vlm: str = "embedded"
) -> Path:
    """Train into ``out``; ``vlm`` is the dual encoder whose features shall agree (CLIP)."""
    folder, steps = out or common.WEIGHTS / "image-generator", steps or STEPS
    scenes = draw_scenes("train", np.arange(SCENES))
    captions = [caption(truth(scenes, i)) for i in range(SCENES)]
    pictures = torch.from_numpy(render(plain(scenes))).permute(0, 3, 1, 2)
    config: dict[str, Any] = {"words": vocabulary(captions), "length": 40, "width": 96, "layers": 2}
    torch.manual_seed(SEED)
    network = ImageGenerator(**config).to(device)
    ids = torch.tensor([network.vocabulary.ids(text, network.length) for text in captions])
    features = Tower(vlm, device)

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.from_numpy(rng.integers(SCENES, size=BATCH))
        wanted = pictures[rows].to(device).float() / 255
        drawn = network(ids[rows].to(device))
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            with torch.no_grad():
                meant = features(wanted[:SEEN]).float()
            apart = F.mse_loss(features(drawn[:SEEN]).float(), meant)
        error = F.mse_loss(drawn, wanted)
        return PIXELS * error + FEATURES * apart, {"pixels": error.item(), "features": apart.item()}

    minutes = loop.learn(folder, network, loss, steps, RATE, SEED)
    recipe = {
        "command": "semcom train image-generator" + ("" if vlm == "embedded" else f" --vlm {vlm}"),
        "data": f"{SCENES} standard captions of scenes/train and plain pictures of them",
        "steps": steps,
        "batch": BATCH,
        "seed": SEED,
        "minutes": round(minutes, 1),
    }
    return loop.finish(folder, network, config, recipe, lambda: scores(folder))


class Tower:
    """The features of a dual encoder's vision tower, of pictures [batch, 3, H, W] in 0 to 1."""

    def __init__(self, vlm: str, device: str) -> None:
        dual = load_dual_encoder(vlm, device)
        processor = dual.processor.image_processor
        self._model = dual.model.vision_model
        self._size: int = dual.model.config.vision_config.image_size
        self._mean = torch.tensor(processor.image_mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(processor.image_std, device=device).view(3, 1, 1)

    def __call__(self, pictures: Tensor) -> Tensor:
        """[batch, tokens, width], the class token first."""
        if pictures.shape[-1] != self._size:
            size = (self._size, self._size)
            pictures = F.interpolate(pictures, size, mode="bicubic", antialias=True, align_corners=False)
        seen: Tensor = self._model((pictures - self._mean) / self._std).last_hidden_state
        return seen


def plain(scenes: SceneBatch) -> SceneBatch:
    """The scenes with everything that the caption does not say at one value; the main object stays the largest."""
    main = np.arange(scenes.radius.shape[1]) == 0
    radius = np.broadcast_to(np.where(main, 11.7, 6.3), scenes.radius.shape).astype(np.float32)
    middle = [((place + 0.5) * 64 / 3) for place in (scenes.cell % 3, scenes.cell // 3)]
    x, y = (np.clip(c, radius + 0.5, 63.5 - radius).astype(np.float32) for c in middle)
    return dataclasses.replace(
        scenes,
        large=np.broadcast_to(main, scenes.large.shape),
        radius=radius,
        x=x,
        y=y,
        quarter=np.zeros_like(scenes.quarter),
        tilt=np.zeros_like(scenes.tilt),
        mark=np.zeros_like(scenes.mark),
        texture=np.zeros_like(scenes.texture),
        ground=np.full_like(scenes.ground, 0.5),
    )


def scores(folder: Path) -> dict[str, Any]:
    """What the embedded generative model answers from drawn pictures, and from their captions."""
    draw = Embedded(str(folder))
    data = Scenes("test", samples=TESTED)
    samples = data.batch(0, TESTED)
    task = tasks.create("vqa", Models(), data)
    said = {(s.id, q.text) for s in samples for q in s.questions if q.in_caption}
    pictures = {s.id: Recovered(image=draw(s.captions[0])) for s in samples}
    return {
        "images": len(samples),
        "vqa of what captions say, from drawn pictures": score(task, samples, lambda s: pictures[s.id], said),
        "vqa of what captions say, from captions": score(
            task, samples, lambda s: Recovered(text=s.captions[0]), said
        ),
    }
