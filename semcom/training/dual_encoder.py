"""Recipe of the embedded dual encoder: a tiny CLIP, contrastive on captions, with throw-away dense patch heads.

The dense heads (what does this patch show?) are what makes a model of a million parameters learn to bind attributes to
objects in minutes; they are dropped at the end. Images are degraded as a channel would, so that low-quality pictures
are in distribution.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, CLIPModel

from semcom.data import language
from semcom.data.scenes import draw_scenes, render, truth
from semcom.training import common, dense

BATCH = 192
RATE = 1.5e-3
STEPS = 2200
DEGRADED = 0.45
GRID = 8
SAVE_EVERY = 100


class Trainee(torch.nn.Module):
    """The CLIP model and its throw-away heads."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip
        width = clip.config.vision_config.hidden_size
        self.heads = torch.nn.ModuleDict({name: torch.nn.Linear(width, n) for name, n in dense.HEADS.items()})


def train(out: Path | None = None, device: str = "cpu", steps: int | None = None, workers: int = 2) -> Path:
    """Train into ``out``; a checkpoint there lets a killed run go on."""
    from semcom.training.evaluate import score_dual_encoder
    from semcom.vlm.build import new_dual_encoder

    return common.run_recipe(
        "dual-encoder",
        out,
        prepare=lambda folder: new_dual_encoder(folder, language.words(), seed=1),
        train=_train,
        score=score_dual_encoder,
        device=device,
        steps=steps or STEPS,
        workers=workers,
        batch=BATCH,
        data=f"{DEGRADED:.0%} degraded",
    )


def _train(rank: int, workers: int, folder: Path, device: str, steps: int) -> None:
    torch.manual_seed(1)
    # Eager attention under bfloat16 autocast is twice as fast here as the fused kernel, forward and backward.
    clip = CLIPModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    processor = common.normalisation(folder)
    model = Trainee(clip).to(device)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98))
    first = common.load_checkpoint(folder / "checkpoint.pt", model, optimizer)
    prompts = [language.LABEL_PROMPT.format(label=label) for label in language.LABELS]
    size = BATCH // workers
    started = time.time()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * common.cosine(step, steps)
        indices = (step * workers + rank) * size + np.arange(size)
        rng = np.random.Generator(np.random.Philox(key=[11, step * workers + rank]))
        scenes = draw_scenes("train", indices)
        images = common.degrade(render(scenes), rng, DEGRADED)
        graphs = [truth(scenes, i) for i in range(size)]
        texts = [language.caption(g, int(rng.integers(len(language.PHRASINGS)))) for g in graphs]
        main = torch.from_numpy(scenes.color[:, 0] * len(language.SHAPES) + scenes.shape[:, 0]).to(device)
        tokens = tokenizer(texts + prompts, padding=True, return_tensors="pt").to(device)
        with torch.autocast(device, torch.bfloat16):
            vision = model.clip.vision_model(common.pixels(images, *processor).to(device))
            image = F.normalize(model.clip.visual_projection(vision.pooler_output).float(), dim=-1)
            text = model.clip.text_model(
                **{k: tokens[k] for k in ("input_ids", "attention_mask")}
            ).pooler_output
            text = F.normalize(model.clip.text_projection(text).float(), dim=-1)
            patches = vision.last_hidden_state[:, 1:]
            logits = {name: head(patches).float() for name, head in model.heads.items()}
        scale = model.clip.logit_scale.exp().clamp(max=100)
        similar = scale * image @ text[:size].T
        here = torch.arange(size, device=device)
        contrast = (F.cross_entropy(similar, here) + F.cross_entropy(similar.T, here)) / 2
        label = F.cross_entropy(scale * image @ text[size:].T, main)
        parts = {}
        for name, target in dense.targets(scenes, GRID).items():
            weight = None
            if name in ("color", "shape", "extent"):  # most patches are background
                weight = torch.full((dense.HEADS[name],), 4.0, device=device)
                weight[0] = 1.0
            parts[name] = F.cross_entropy(
                logits[name].flatten(0, 1), target.flatten().to(device), weight=weight
            )
        loss = 0.5 * contrast + 0.5 * label + torch.stack(list(parts.values())).sum() * 0.5
        optimizer.zero_grad()
        loss.backward()
        common.average_gradients(model.parameters())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if rank == 0 and (step % 50 == 0 or step == steps - 1):
            right = (similar.argmax(1) == here).float().mean()
            seen = (step - first + 1) * BATCH / (time.time() - started)
            shown = " ".join(f"{k} {v.item():.3f}" for k, v in parts.items())
            line = f"step {step} contrast {contrast.item():.3f} (top-1 {right:.2f}) label {label.item():.3f} {shown}"
            print(f"{line}  {seen:.0f} images/s", flush=True)
        if rank == 0 and step % SAVE_EVERY == SAVE_EVERY - 1:
            common.save_checkpoint(folder / "checkpoint.pt", step + 1, model, optimizer)
    if rank == 0:
        common.save_checkpoint(folder / "checkpoint.pt", steps, model, optimizer)
        model.clip.save_pretrained(folder)
