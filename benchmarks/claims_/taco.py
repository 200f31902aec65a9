"""TACO on the embedded VLM: what the text does, what its losses do, and what both cost in PSNR.

The claim (Lee et al., ICML 2024): at equal rate a better picture for those who look at what the text names, at nearly
the PSNR of a codec trained for PSNR. Three pictures of the same bytes: of the codec without text; of TACO; and of the
control, which has TACO's networks, images, losses and steps, but never a text. The first difference is the paper's;
the second is what the text itself does. Everything is sent at the highest rate that fits the same budgets in bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from semcom import data, pretrained, stats, tasks
from semcom.codecs.hyperprior import Hyperprior
from semcom.codecs.hyperprior import load as load_codec
from semcom.codecs.learned import Encodings
from semcom.data.language import NOT_IN_CAPTION
from semcom.systems.base import Models
from semcom.systems.vlm_guided.encoder import TextGuidedEncoder
from semcom.systems.vlm_guided.taco import load
from semcom.training import taco as recipe
from semcom.types import Image, Query, Recovered

from .base import Claim, verdict

NAME = "taco"
ROOMS = (64, 80, 112)  # bytes: every picture fits, so that the rates are equal
MOST = 400  # images: each is coded about a hundred times
SEEDS = 2  # of two trainings each
PSNR = 0.5  # dB that may be lost
POINT = 0.01  # what a text must gain to count: less than a point of accuracy is no use to anybody

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shown:
    """What came of the images, budget after budget: bytes and PSNR of each, and the score of each query."""

    sizes: Floats  # [rooms, images]
    psnr: Floats  # [rooms, images]
    scores: Floats  # [rooms, queries]


class Bench:
    """The images, the questions about them, and their captions by the transmitter's VLM."""

    def __init__(self, samples: int) -> None:
        self.models, self.codec = Models(), load_codec()
        scenes = data.load("scenes", split="test", samples=samples)
        self.task = tasks.create("vqa", self.models, scenes)
        drawn = [scenes[i] for i in range(samples)]
        self.images: list[Image] = [s.image for s in drawn]
        self.captions = self.models.describe(self.images)
        self.asked: list[tuple[int, Query]] = [
            (i, q) for i, s in enumerate(drawn) for q in self.task.queries(s)
        ]
        rng = np.random.default_rng(1)
        of = [[n for n, (i, _) in enumerate(self.asked) if i == j] for j in range(samples)]
        self.one = [int(rng.choice(rows)) for rows in of]  # a question of each image, of a random type

    def show(self, encodings: Sequence[Encodings]) -> Shown:
        """Send under every budget and ask everything."""
        seen = [recipe.receive(self.codec, encodings, self.images, room) for room in ROOMS]
        scores = [self._scores(s.recovered) for s in seen]
        return Shown(np.stack([s.sizes for s in seen]), np.stack([s.psnr for s in seen]), np.stack(scores))

    def guided(self, encoder: TextGuidedEncoder, texts: Sequence[str]) -> Shown:
        """The same of an encoder under one text for each image."""
        return self.show(recipe.guided(self.codec, encoder, self.models.dual, self.images, texts))

    def plain(self) -> Shown:
        """The same of the codec without text."""
        return self.show([Encodings(self.codec, self.codec.latent_of(image)) for image in self.images])

    def _scores(self, recovered: Sequence[Recovered]) -> Floats:
        queries = [q for _, q in self.asked]
        answers = self.task.answer([recovered[i] for i, _ in self.asked], queries)
        return np.array([self.task.score(a, q) for a, q in zip(answers, queries, strict=True)])


def claims(samples: int, seeds: int, cache: Path) -> Iterator[Claim]:
    """All claims; trainings are kept in ``cache``."""
    torch.set_num_threads(1)
    bench = Bench(min(samples, MOST))
    numbers = range(1, min(seeds, SEEDS) + 1)
    ours = [trained(bench.codec, bench.models, cache, seed, True) for seed in numbers]
    blind = [trained(bench.codec, bench.models, cache, seed, False) for seed in numbers]
    named = [n for n, (_, q) in enumerate(bench.asked) if q.type not in NOT_IN_CAPTION]
    empty, others = [""] * len(bench.images), bench.captions[1:] + bench.captions[:1]
    plain = [bench.plain()] * len(ours)
    true = [bench.guided(encoder, bench.captions) for encoder in ours]
    control = [bench.guided(encoder, empty) for encoder in blind]
    what = "VQA accuracy of what captions name"
    yield compare(bench, f"{what}, above the codec without text", true, plain, named)
    yield compare(bench, f"{what}, a point above the control without text", true, control, named, POINT)
    shuffled = [bench.guided(encoder, others) for encoder in ours]
    yield compare(bench, f"{what}: captions of other images lose a point", true, shuffled, named, POINT)
    silent = [bench.guided(encoder, empty) for encoder in ours]
    yield compare(bench, f"{what}: empty captions lose a point", true, silent, named, POINT)
    yield fidelity(true, plain)
    questions = [bench.asked[row][1].text for row in bench.one]
    wrong = questions[1:] + questions[:1]
    true = [bench.guided(encoder, questions) for encoder in ours]
    what = "taco-question, VQA accuracy of the question that guides"
    yield compare(bench, f"{what}, above the codec without text", true, plain, bench.one)
    yield compare(bench, f"{what}, a point above the control without text", true, control, bench.one, POINT)
    shuffled = [bench.guided(encoder, wrong) for encoder in ours]
    yield compare(
        bench, f"{what}: questions about other images lose a point", true, shuffled, bench.one, POINT
    )


def compare(
    bench: Bench,
    claim: str,
    ours: list[Shown],
    other: list[Shown],
    rows: Sequence[int],
    at_least: float = 0.0,
) -> Claim:
    """Paired difference of scores over all budgets and seeds; an image is one cluster."""
    a, b = (np.stack([s.scores[:, rows] for s in side]) for side in (ours, other))  # [seeds, rooms, rows]
    names = [bench.asked[row][0] for row in rows] * (len(ROOMS) * len(ours))
    _, low, high, _ = stats.paired_difference(a.ravel(), b.ravel(), names)
    each = ", ".join(f"{100 * d:+.1f}" for d in (a - b).mean((1, 2)))
    pairs = zip(ROOMS, a.mean((0, 2)), b.mean((0, 2)), strict=True)
    by_room = ", ".join(f"{room}: {x:.3f} against {y:.3f}" for room, x, y in pairs)
    spent = np.mean([s.sizes.mean() for s in ours]) / np.mean([s.sizes.mean() for s in other]) - 1
    measured = (
        f"{each} points by seed; budget in bytes {by_room}; bytes {100 * spent:+.1f} % (n = {len(bench.images)} "
        f"images, {len(rows)} questions, interval over images)"
    )
    return Claim(NAME, claim, measured, (low, high), verdict(low, high, at_least))


def fidelity(ours: list[Shown], plain: list[Shown]) -> Claim:
    """PSNR where both could send."""
    lost = np.nanmean([p.psnr - s.psnr for s, p in zip(ours, plain, strict=True)], axis=(0, 1))
    rng = np.random.default_rng(0)
    means = lost[rng.integers(0, len(lost), (stats.RESAMPLES, len(lost)))].mean(1)
    low, high = (float(-q) for q in np.quantile(means, (0.975, 0.025)))
    pairs = zip(ROOMS, _psnr(ours), _psnr(plain), strict=True)
    by_room = ", ".join(f"{room} bytes: {a:.2f} against {b:.2f} dB" for room, a, b in pairs)
    measured = f"{-lost.mean():+.2f} dB; {by_room} (n = {len(lost)} images)"
    return Claim(
        NAME,
        f"PSNR within {PSNR} dB of the codec without text",
        measured,
        (low, high),
        verdict(low, high, -PSNR),
    )


def _psnr(shown: list[Shown]) -> Floats:
    """Mean of each budget, dB."""
    return np.asarray(np.nanmean([s.psnr for s in shown], axis=(0, 2)))


def trained(codec: Hyperprior, models: Models, cache: Path, seed: int, text: bool) -> TextGuidedEncoder:
    """A trained encoder, from ``cache`` where it is there; the shipped one is that with text and seed 1."""
    if text and seed == 1:
        return load("taco", codec, models.dual)
    folder = cache / f"{'text' if text else 'control'}-{recipe.STEPS}-{seed}"
    if not (folder / "model.safetensors").exists():
        encoder, _ = recipe.guide(folder, codec, models.dual, recipe.STEPS, seed, text)
        pretrained.save(folder, encoder, recipe.config(codec, models.dual))
        (folder / "checkpoint.pt").unlink()
    return load(str(folder), codec, models.dual)
