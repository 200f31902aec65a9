"""Recipe of the neck: latents of the frozen codec, at all its rates, onto the frozen tower's features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from channels.errors import InputError
from semcom import tasks
from semcom.codecs import hyperprior
from semcom.codecs.hyperprior import Hyperprior
from semcom.data.language import LABEL_PROMPT, LABELS, SHAPES
from semcom.data.scenes import Scenes
from semcom.systems.base import Models
from semcom.systems.latent_input.neck import Neck, load
from semcom.training import common, evaluate, loop
from semcom.types import Recovered, Sample
from semcom.vlm.dual import TransformersDualEncoder
from semcom.vlm.llava import Llava
from semcom.vlm.load import load_generative
from semcom.vlm.trunk import Trunk

STEPS, BATCH, RATE, START = 2000, 64, 1e-3, 1
RATES_SHOWN = (0, 6, 12, 18, 24, 31)  # of the card


@lru_cache(maxsize=2)
def latents(codec: Hyperprior) -> Tensor:
    """y of all images of the pool, not yet quantised: ``[N, latent, h, w]`` float16."""
    images = torch.from_numpy(loop.pool()[1]).permute(0, 3, 1, 2)
    device = codec.log_gain.device
    with torch.inference_mode():
        return torch.cat(
            [codec.analyse(part.to(device).float() / 255).half().cpu() for part in images.split(64)]
        )


@lru_cache(maxsize=2)
def targets(model: Llava) -> Tensor:
    """The VLM's visual tokens of all images of the pool: ``[N, k, token_dim]`` float16."""
    trunk, found = model.trunk, []
    with torch.inference_mode(), torch.autocast(trunk.tower.device.type, torch.bfloat16):
        for start in range(0, len(loop.pool()[1]), 64):
            pixels = trunk.normalised(list(loop.pool()[1][start : start + 64]))
            found.append(trunk.visual_tokens(trunk.embed(pixels)).half().cpu())
    return torch.cat(found)


def received(codec: Hyperprior, y: Tensor, rate: Tensor) -> Tensor:
    """What the receiver decodes of y at ``rate`` [B]."""
    gain = codec.gain(rate)
    return codec.round(y * gain, rate)[0] / gain


class Classes:
    """Zero-shot classes by a dual encoder that shares its tower with the VLM: what the paper's first loss needs."""

    def __init__(self, dual: TransformersDualEncoder, scale: float = 20.0) -> None:
        self._vision, self._project, self._scale = (
            dual.model.vision_model,
            dual.model.visual_projection,
            scale,
        )
        prompts = [LABEL_PROMPT.replace("{label}", label) for label in LABELS]
        self._texts = torch.from_numpy(dual.embed_texts(prompts))

    def loss(self, last: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the tower's last state ``[B, 1 + n, width]``."""
        seen = self._project(self._vision.post_layernorm(last[:, 0]))
        return F.cross_entropy(self._scale * F.normalize(seen, dim=-1) @ self._texts.T, labels)


def distil(
    folder: Path,
    neck: Neck,
    codec: Hyperprior,
    model: Llava,
    steps: int,
    seed: int = 1,
    weights: tuple[float, float] = (0.0, 1.0),
    classes: Classes | None = None,
) -> float:
    """Teach ``neck`` the visual tokens of the image before it was coded; the minutes it took.

    Errors are measured in standard deviations of the tokens. Rates are drawn evenly.

    :param weights: of the class loss (needs ``classes``) and of the distillation loss
    """
    scenes, images = loop.pool()
    trunk, device = model.trunk, model.trunk.tower.device
    names = torch.from_numpy(scenes.color[:, 0] * len(SHAPES) + scenes.shape[:, 0])
    spread = torch.from_numpy(model.token_scale).to(device)

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = rng.integers(0, len(images), BATCH)
        rate = torch.from_numpy(rng.integers(0, codec.rates, BATCH)).to(device)
        with torch.no_grad():
            y = received(codec, latents(codec)[rows].to(device).float(), rate)
        with torch.autocast(device.type, torch.bfloat16):
            state = neck(y, rate)
            tokens = trunk.visual_tokens(state, neck.start).float()
            last = None if classes is None else trunk.run(state, neck.start)[-1].float()
        error = ((tokens - targets(model)[rows].to(device).float()) / spread).square().mean()
        named = (
            error.new_zeros(())
            if last is None or classes is None
            else classes.loss(last, names[rows].to(device))
        )
        total = weights[0] * named + weights[1] * error
        return total, {"error": error.item(), "class": named.item()}

    return loop.learn(folder, neck, loss, steps, RATE, seed)


def new_neck(codec: Hyperprior, trunk: Trunk) -> Neck:
    """Untrained: copies of parts of the codec and the tower."""
    return Neck(trunk, codec, min(START, trunk.layers - 1)).to(trunk.tower.device)


def train(
    out: Path | None = None,
    device: str = "cpu",
    steps: int | None = None,
    vlm: str = "embedded",
    codec: str = "image-codec",
) -> Path:
    """Train for the generative model ``vlm``, a LLaVA, and a codec's weights, into ``out``.

    :raises InputError: ``vlm`` is no LLaVA
    """
    folder, steps = out or common.WEIGHTS / "latent-input", steps or STEPS
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = load_generative(vlm, device)
    if not isinstance(model, Llava):
        raise InputError(f"vlm: {vlm!r} has no open vision tower; latent-input needs a LLaVA")
    network = hyperprior.load(codec).to(device)
    neck = new_neck(network, model.trunk)
    minutes = distil(folder, neck, network, model, steps)
    options = [f"--{k} {v}" for k, v, usual in (("vlm", vlm, "embedded"),) if v != usual]
    recipe = {
        "command": " ".join(["semcom train latent-input", *options]),
        "data": f"scenes/train, the first {len(loop.pool()[1])}, all rates of the codec {codec}",
        "steps": steps,
        "batch": BATCH,
        "rate": RATE,
        "seed": 1,
        "minutes": round(minutes, 1),
    }
    config = {"vlm": model.fingerprint, "codec": network.mark, "start": neck.start}
    return loop.finish(folder, neck, config, recipe, lambda: scores(folder, network, model))


def scores(folder: Path, codec: Hyperprior, model: Llava, count: int = 500) -> dict[str, Any]:
    """VQA accuracy at some rates on test scenes: of the neck, and of the tower on the decoded image."""
    neck = load(str(folder.absolute()), codec, model.trunk, model.fingerprint, model.name)
    data = Scenes("test", count)
    drawn = data.batch(0, count)
    task = tasks.create("vqa", Models(generative=model), data)
    card: dict[str, Any] = {}
    for rate in RATES_SHOWN:
        codes, tokens, pictures = see(neck, codec, model.trunk, drawn, rate)
        row: dict[str, Any] = {"mean bytes": round(float(np.mean([len(code) for code in codes])), 1)}
        for name, seen in (("neck", tokens), ("decoded", pictures)):
            row[f"vqa, {name}"] = evaluate.score_seen(task, drawn, seen)
        card[f"rate {rate}"] = row
    return card


def see(
    neck: Neck, codec: Hyperprior, trunk: Trunk, drawn: Sequence[Sample], rate: int
) -> tuple[list[bytes], list[Recovered], list[Recovered]]:
    """Codes of the samples at a rate; what the neck makes of them, and what synthesis makes of them."""
    codes, tokens, pictures = codec.compress([s.image for s in drawn], rate), [], []
    for code, sample in zip(codes, drawn, strict=True):
        size = (sample.image.shape[0], sample.image.shape[1])
        latent = codec.streams.decode(code, size)
        assert latent is not None, "the codec reads what it writes"
        y = codec.dequantise(latent)
        with torch.inference_mode():
            state = neck(y, torch.tensor([rate], device=y.device))
            tokens.append(Recovered(tokens=trunk.visual_tokens(state, neck.start)[0].float().cpu().numpy()))
        pictures.append(Recovered(image=codec.picture(y, size)))
    return codes, tokens, pictures
