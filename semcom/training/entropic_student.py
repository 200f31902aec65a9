"""Recipe of the Entropic Student: a bottleneck distilled from the vision tower, then its decoder tuned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from channels.errors import InputError
from semcom import tasks
from semcom.codecs.entropy import noisy, rounded
from semcom.data.scenes import Scenes
from semcom.systems.base import Models
from semcom.systems.split_computing.bottleneck import Bottleneck
from semcom.systems.split_computing.entropic_student import load, split_grid
from semcom.training import common, evaluate, loop
from semcom.types import Image, Recovered, Sample
from semcom.vlm.llava import Llava
from semcom.vlm.load import load_generative

STEPS, TUNING, BATCH, RATE = 800, 0.3, 64, 2e-3  # TUNING: steps of stage 2 for each of stage 1
SPLIT, CHANNELS, RATES, HIDDEN = 1, 16, 8, 96
TARGETS = (
    1.25,
    37.5,
)  # bits of a patch at the coarsest and at the finest rate: 10 and 300 bytes for 64 patches
PRICES = (2.0, 0.001)  # of a bit at the start, in squared error of one patch
SAMPLES = 200  # test scenes of the card
SETTLED, SPEED = 0.25, 0.004  # share of the steps before prices move, and how fast they do
LOST = 0.25  # share of the rows of stage 2 that lose quadrants


class Teacher:
    """What the intact model holds of an image, to be imitated from state ``split`` of its tower on.

    The states of the tower up to those that the VLM reads, and, with ``listens``, the states of the language model at
    the visual tokens: with the image before the question they are all that any question sees of it, so that imitating
    them is distillation for every question at once. Errors are measured in standard deviations of each channel.
    """

    def __init__(self, model: Llava, split: int, listens: bool, images: Sequence[Image]) -> None:
        self.model, self.split, self.listens = model, split, listens
        states = self(images)
        self._scale = [state.flatten(0, 1).std(0).clamp(min=1e-3) for state in states]

    @torch.no_grad()
    def __call__(self, images: Sequence[Image]) -> list[Tensor]:
        """The states of intact images, each ``[B, positions, width]``."""
        trunk = self.model.trunk
        with torch.autocast(trunk.tower.device.type, torch.bfloat16):
            return self.follow(trunk.run(trunk.embed(trunk.normalised(images)), 0, self.split)[-1])

    def follow(self, state: Tensor) -> list[Tensor]:
        """The states that come of state ``split``."""
        trunk = self.model.trunk
        states = trunk.run(state, self.split, max(trunk.reads))
        return [*states, *(heard(self.model, trunk.visual_tokens(state, self.split)) if self.listens else [])]

    def errors(self, have: Sequence[Tensor], want: Sequence[Tensor]) -> Tensor:
        """Mean squared error of each state of each image, ``[states, B]``."""
        triples = zip(have, want, self._scale, strict=True)
        return torch.stack([((a.float() - b.float()) / s).square().mean((1, 2)) for a, b, s in triples])


def heard(model: Llava, tokens: Tensor) -> list[Tensor]:
    """What enters each layer of the language model, ``[B, k, hidden]``, at visual tokens ``[B, k, token_dim]``."""
    image = int(model.model.config.image_token_id)
    prompt = model.words.fitted("", True, 64)
    before = torch.tensor(prompt[: prompt.index(image)], device=tokens.device)
    first = model.model.get_input_embeddings()(before).expand(len(tokens), -1, -1)
    visual = model.model.model.multi_modal_projector(tokens)
    out = model.model.model.language_model(
        inputs_embeds=torch.cat([first.to(visual.dtype), visual], 1),
        output_hidden_states=True,
        use_cache=False,
    )
    return [state[:, len(before) :] for state in out.hidden_states[:-1]]


class Prices:
    """What a bit costs at each rate: the multiplier that keeps each rate at its target (dual ascent).

    The paper fixes the prices and takes the rates that come of them.

    :param prices: at the start, of the coarsest and of the finest rate
    """

    def __init__(self, student: Bottleneck, steps: int, prices: tuple[float, float] = PRICES) -> None:
        patches, device = student.grid[0] * student.grid[1], student.log_price.device
        start = np.linspace(np.log(prices[0]), np.log(prices[1]), student.rates)
        target = np.linspace(np.log(patches * TARGETS[0]), np.log(patches * TARGETS[1]), student.rates)
        self._student, self._settled = student, SETTLED * steps
        self._target = torch.from_numpy(target).float().to(device)
        if not student.log_price.any():
            student.log_price.copy_(torch.from_numpy(start))

    def __call__(self, step: int, y: Tensor, rate: Tensor) -> Tensor:
        """The cost ``[B]`` of the bits of latents at ``rate`` ``[B]``.

        Gradients come from noisy latents; the prices move, once the densities have settled, by what the rounded ones
        take, which at low rates is far less.
        """
        bits = self._student.bits(noisy(y), rate)
        with torch.no_grad():
            self.bits = self._student.bits(y.round(), rate)
        if step >= self._settled:
            for r in range(self._student.rates):
                ratio = self.bits[rate == r].mean().clamp(min=1e-3).log() - self._target[r]
                self._student.log_price[r] += SPEED * ratio.clamp(-1, 1)
        return self._student.log_price.exp()[rate] * bits


def distil(folder: Path, student: Bottleneck, teacher: Teacher, steps: int, seed: int = 1) -> float:
    """Stage 1: mean over images of (squared errors of all states + price * bits); the minutes."""
    trunk, images, device = teacher.model.trunk, loop.pool()[1], teacher.model.trunk.tower.device
    price, positions = Prices(student, steps), trunk.rows * trunk.columns

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        drawn = list(images[rng.integers(0, len(images), BATCH)])
        rate = torch.arange(BATCH, device=device) % student.rates
        want = teacher(drawn)
        with torch.autocast(device.type, torch.bfloat16):
            y = student.encode(trunk.normalised(drawn), rate).float()
            # The decoder meets rounding, the density needs noise (Minnen and Singh, ICIP 2020).
            have = teacher.follow(student.decode(rounded(y), rate, trunk))
        errors, cost = teacher.errors(have, want), price(step, y, rate)
        shown = {
            "error": errors.sum(0).mean().item(),
            "tokens": errors[len(have) - len(want) - 1].mean().item(),
        }
        shown |= {f"bytes {r}": price.bits[rate == r].mean().item() / 8 for r in range(student.rates)}
        return (errors.sum(0) + cost / positions).mean(), shown

    minutes = loop.learn(folder, student, loss, steps, RATE, seed)
    student.freeze()
    return minutes


def tune(folder: Path, student: Bottleneck, teacher: Teacher, steps: int, seed: int = 1) -> float:
    """Stage 2: encoder and densities stay, the decoder learns from rounded latents, some with lost quadrants."""
    trunk, images, device = teacher.model.trunk, loop.pool()[1], teacher.model.trunk.tower.device
    for part in (student.encoder, student.densities):
        part.requires_grad_(False)
    student.gain.requires_grad_(False)
    quadrant = torch.zeros(trunk.rows * trunk.columns, dtype=torch.long)
    for i, places in enumerate(split_grid(student.grid, 4)):
        quadrant[places] = i

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        drawn = list(images[rng.integers(0, len(images), BATCH)])
        rate = torch.arange(BATCH, device=device) % student.rates
        arrived = (rng.random((BATCH, 4)) < 0.6) | (rng.random((BATCH, 1)) >= LOST)
        kept = torch.from_numpy(arrived)[:, quadrant].unflatten(1, student.grid).to(device)
        want = teacher(drawn)
        with torch.no_grad():
            values = student.encode(trunk.normalised(drawn), rate).round()
        with torch.autocast(device.type, torch.bfloat16):
            have = teacher.follow(student.decode(values, rate, trunk, kept))
        errors = teacher.errors(have, want)
        return errors.sum(0).mean(), {"error": errors.sum(0).mean().item()}

    return loop.learn(folder, student, loss, steps, RATE / 2, seed)


def train(
    out: Path | None = None, device: str = "cpu", steps: int | None = None, vlm: str = "embedded"
) -> Path:
    """Train for the generative model ``vlm``, a LLaVA, into ``out``; ``steps`` are those of stage 1.

    :raises InputError: ``vlm`` is no LLaVA
    """
    folder, steps = out or common.WEIGHTS / "entropic-student", steps or STEPS
    torch.set_num_threads(1)
    model = opened(vlm, device)
    images = list(loop.pool()[1][:256])
    split = min(SPLIT, *model.trunk.reads)
    config = {
        "vlm": model.fingerprint,
        "split": split,
        "channels": CHANNELS,
        "rates": RATES,
        "hidden": HIDDEN,
    }
    student = untrained(model, config)
    minutes = distil(folder, student, Teacher(model, split, True, images), steps)
    later, tuning = folder / "stage-2", round(TUNING * steps)
    minutes += tune(later, student, Teacher(model, split, True, images), tuning)
    recipe = {
        "command": "semcom train entropic-student" + (f" --vlm {vlm}" if vlm != "embedded" else ""),
        "data": f"scenes/train, the first {len(loop.pool()[1])}",
        "steps": [steps, tuning],
        "batch": BATCH,
        "rate": RATE,
        "bits of a patch": list(TARGETS),
        "seed": 1,
        "minutes": round(minutes, 1),
    }
    done = loop.finish(folder, student, config, recipe, lambda: scores(folder, vlm, device))
    (later / "checkpoint.pt").unlink()
    later.rmdir()
    return done


def opened(vlm: str, device: str = "cpu") -> Llava:
    """The frozen model to train for, with the attention that is fastest in bfloat16 on a CPU."""
    model = load_generative(vlm, device)
    if not isinstance(model, Llava):
        raise InputError(f"vlm: {vlm!r} has no open vision tower; entropic-student needs a LLaVA")
    model.model.requires_grad_(False)
    model.model.set_attn_implementation("eager")
    return model


def untrained(model: Llava, config: dict[str, Any], seed: int = 1) -> Bottleneck:
    """A new network for that model."""
    torch.manual_seed(seed)
    made = Bottleneck(model.trunk, config["split"], config["channels"], config["rates"], config["hidden"])
    return made.to(model.trunk.tower.device)


def scores(folder: Path, vlm: str, device: str) -> dict[str, Any]:
    """Bytes and accuracy at each rate, on test scenes; the estimate of the entropy model beside the coded bytes."""
    model = load_generative(vlm, device)
    assert isinstance(model, Llava)
    student = load(str(folder.absolute()), model.trunk, model.fingerprint, model.name)
    data = Scenes("test", SAMPLES)
    drawn, models = data.batch(0, SAMPLES), Models(generative=model)
    chosen = {name: tasks.create(name, models, data) for name in ("vqa", "classification")}
    card: dict[str, Any] = {}
    for rate in range(student.rates):
        sizes, estimates, seen = through(student, model, drawn, rate)
        row: dict[str, Any] = {"mean bytes": round(float(np.mean(sizes)), 1)}
        row["estimated"] = round(float(np.mean(estimates)), 1)
        for name, task in chosen.items():
            row[name] = evaluate.score_seen(task, drawn, [seen[s.id] for s in drawn])
        card[f"rate {rate}"] = row
    return card


@torch.inference_mode()
def through(
    student: Bottleneck, model: Llava, drawn: Sequence[Sample], rate: int
) -> tuple[list[int], list[float], dict[str, Recovered]]:
    """Coded bytes of each sample at that rate, bytes that the densities predict, and what its bytes are decoded to."""
    trunk, (rows, columns) = model.trunk, student.grid
    sizes, estimates, seen = [], [], {}
    for sample in drawn:
        at = torch.tensor([rate], device=trunk.tower.device)
        values = student.encode(trunk.normalised([sample.image]), at).round()
        data = student.write(values[0].flatten(1).long().cpu().numpy(), rate)
        found = student.read(data, rows * columns)
        assert found is not None
        whole = torch.from_numpy(found[0]).float().unflatten(1, student.grid)[None].to(at.device)
        tokens = trunk.visual_tokens(student.decode(whole, at, trunk), student.split)
        sizes.append(len(data))
        estimates.append(float(student.bits(values, at)) / 8)
        seen[sample.id] = Recovered(tokens=tokens[0].cpu().numpy())
    return sizes, estimates, seen
