"""Compressed-latent input on the embedded VLM: accuracy on the same bytes as decoding and looking, and what it takes.

The claim (Kao et al., ICLR 2025): the accuracy of decode-then-encode at a fraction of the operations, with codec, tower
and language model frozen; and neither the class loss nor the distillation loss alone suffices. The baseline decodes
the same code to an image that the frozen tower looks at. Training is repeated shortly with several seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from semcom import data, pretrained, stats, tasks
from semcom.codecs import hyperprior
from semcom.codecs.hyperprior import Hyperprior
from semcom.systems.base import Models
from semcom.systems.latent_input.neck import Neck, load
from semcom.training import latent_input as recipe
from semcom.types import Recovered
from semcom.vlm.llava import Llava
from semcom.vlm.load import load_dual_encoder, load_generative

from .base import Claim, over_seeds, verdict

NAME = "latent-input"
RATES = (0, 8, 16, 24, 31)
MARGIN = 0.01  # "the accuracy of decode-then-encode": at most 1 point less
LEAST_SAVED = 0.5  # "a fraction of the operations": at most half
STEPS = 400  # of each short training
LOSSES = {"distillation": (0.0, 1.0), "class": (1.0, 0.0), "both": (0.01, 1.0)}  # 1 to 100, as in the paper

Scores = NDArray[np.float64]


def claims(samples: int, seeds: int, cache: Path) -> Iterator[Claim]:
    """All claims; trainings are kept in ``cache``."""
    torch.set_num_threads(1)
    model, codec = load_generative("embedded"), hyperprior.load()
    assert isinstance(model, Llava)
    bench = Bench(model, codec, samples)
    neck = load("latent-input", codec, model.trunk, model.fingerprint, model.name)
    for rate in RATES:
        yield bench.accuracy(neck, rate)
    yield from operations(neck, codec, model)
    yield from times(neck, codec, model)
    yield from losses(bench, seeds, cache)


class Bench:
    """Test scenes and their questions, answered from codes of the codec."""

    def __init__(self, model: Llava, codec: Hyperprior, samples: int) -> None:
        self.model, self.codec = model, codec
        scenes = data.load("scenes", split="test", samples=samples)
        self.task = tasks.create("vqa", Models(generative=model), scenes)
        self.drawn = [scenes[i] for i in range(samples)]
        self.queries = [(i, q) for i, sample in enumerate(self.drawn) for q in self.task.queries(sample)]
        self.names = [q.sample for _, q in self.queries]
        self._decoded: dict[int, tuple[float, Scores]] = {}

    def scores(self, seen: list[Recovered]) -> Scores:
        """One for each query, from what is held of each image."""
        answers = self.task.answer([seen[i] for i, _ in self.queries], [q for _, q in self.queries])
        return np.array([self.task.score(a, q) for a, (_, q) in zip(answers, self.queries, strict=True)])

    def pair(self, neck: Neck, rate: int) -> tuple[Scores, Scores, float]:
        """Scores by the neck and by decoding and looking, and mean bytes."""
        codes, tokens, pictures = recipe.see(neck, self.codec, self.model.trunk, self.drawn, rate)
        if rate not in self._decoded:
            self._decoded[rate] = float(np.mean([len(code) for code in codes])), self.scores(pictures)
        return self.scores(tokens), self._decoded[rate][1], self._decoded[rate][0]

    def accuracy(self, neck: Neck, rate: int) -> Claim:
        """VQA on the same codes."""
        ours, theirs, size = self.pair(neck, rate)
        mean, low, high, _ = stats.paired_difference(ours, theirs, self.names)
        measured = (
            f"rate {rate}, {size:.0f} bytes: {ours.mean():.3f} against {theirs.mean():.3f}, {100 * mean:+.1f} points "
            f"(n = {len(self.drawn)} images, {len(self.queries)} questions)"
        )
        return Claim(
            NAME,
            "VQA of decode-then-encode, within 1 point",
            measured,
            (low, high),
            verdict(low, high, -MARGIN),
        )


def operations(neck: Neck, codec: Hyperprior, model: Llava) -> Iterator[Claim]:
    """Multiply-adds after entropy decoding, counted on the running networks."""
    trunk = model.trunk
    y, rate = torch.zeros(1, codec.latent, trunk.rows, trunk.columns), torch.zeros(1, dtype=torch.int64)

    def count(run: Callable[[], object]) -> float:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops() / 2e6

    synthesis = count(lambda: codec.synthesise(y))
    pixels = torch.zeros(1, 3, trunk.image_size, trunk.image_size)
    state = torch.zeros(1, trunk.prefix + trunk.rows * trunk.columns, trunk.width)
    rows = [
        (
            "up to the state that enters the remaining layers",
            count(lambda: neck(y, rate)),
            synthesis + count(lambda: trunk.run(trunk.embed(pixels), 0, neck.start)),
        ),
        (
            "up to the visual tokens",
            count(lambda: neck(y, rate)) + count(lambda: trunk.visual_tokens(state, neck.start)),
            synthesis + count(lambda: trunk.visual_tokens(trunk.embed(pixels))),
        ),
    ]
    for what, ours, theirs in rows:
        saved = 1 - ours / theirs
        against = f"{ours:.1f} against {theirs:.1f} million (synthesis {synthesis:.1f})"
        measured = f"{against}: {100 * saved:.0f} % fewer (counted)"
        claim = f"multiply-adds {what}: at most half"
        yield Claim(NAME, claim, measured, (saved, saved), verdict(saved, saved, LEAST_SAVED))


def times(neck: Neck, codec: Hyperprior, model: Llava, repeats: int = 100) -> Iterator[Claim]:
    """CPU time of both receivers from code to visual tokens, in turn; and without what they share."""
    scenes, rate = data.load("scenes", split="test", samples=repeats), 16
    codes = codec.compress([scenes[i].image for i in range(repeats)], rate)
    spent = np.zeros((repeats, 3))
    rates = torch.tensor([rate])
    with torch.inference_mode():
        for i, code in enumerate(codes):
            start = time.thread_time()
            latent = codec.streams.decode(code, (64, 64))
            assert latent is not None
            y = codec.dequantise(latent)
            decoded = time.thread_time()
            model.trunk.visual_tokens(neck(y, rates), neck.start)
            ours = time.thread_time()
            pixels = model.trunk.normalised([codec.picture(y, (64, 64))])
            model.trunk.visual_tokens(model.trunk.embed(pixels))
            spent[i] = decoded - start, ours - decoded, time.thread_time() - ours
    spent = spent[5:]  # the first ones warm up
    entropy, neck_ms, pixel_ms = 1e3 * np.median(spent, 0)
    rng = np.random.default_rng(0)
    for what, shared in (("after entropy decoding", 0), ("entropy decoding included", 1)):
        a, b = spent[:, 1] + shared * spent[:, 0], spent[:, 2] + shared * spent[:, 0]
        saved = 1 - np.median(a) / np.median(b)
        rows = rng.integers(0, len(a), (2000, len(a)))
        low, high = np.quantile(1 - np.median(a[rows], 1) / np.median(b[rows], 1), [0.025, 0.975])
        measured = (
            f"{1e3 * np.median(a):.2f} against {1e3 * np.median(b):.2f} ms an image, {100 * saved:.0f} % less "
            f"(medians of {len(a)}, one thread; entropy decoding {entropy:.2f}, neck and tower {neck_ms:.2f}, "
            f"pixels and tower {pixel_ms:.2f})"
        )
        claim = f"CPU time from code to visual tokens, {what}: at most half"
        yield Claim(
            NAME, claim, measured, (float(low), float(high)), verdict(float(low), float(high), LEAST_SAVED)
        )


def losses(bench: Bench, seeds: int, cache: Path) -> Iterator[Claim]:
    """Short trainings with each loss: both together against each alone, and all of them against decoding."""
    classes = recipe.Classes(load_dual_encoder("embedded"))
    found: dict[str, list[float]] = {name: [] for name in LOSSES}
    behind = []
    for seed in range(1, seeds + 1):
        for name in LOSSES:
            neck = trained(bench, classes, name, seed, cache)
            pairs = [bench.pair(neck, rate) for rate in RATES[::2]]
            found[name].append(float(np.mean([ours.mean() for ours, _, _ in pairs])))
            if name == "distillation":
                behind.append(float(np.mean([ours.mean() - theirs.mean() for ours, theirs, _ in pairs])))
    rates = ", ".join(map(str, RATES[::2]))
    setting = f"mean of rates {rates}; {seeds} seeds, {STEPS} steps, n = {len(bench.drawn)} images"
    mean, low, high = over_seeds(behind)
    measured = f"{100 * mean:+.1f} points ({setting}; interval over seeds)"
    yield Claim(
        NAME, "VQA after a short training, within 1 point", measured, (low, high), verdict(low, high, -MARGIN)
    )
    for alone in ("distillation", "class"):
        mean, low, high = over_seeds([a - b for a, b in zip(found["both"], found[alone], strict=True)])
        measured = (
            f"{np.mean(found['both']):.3f} against {np.mean(found[alone]):.3f}, {100 * mean:+.1f} points "
            f"({setting}; interval over seeds)"
        )
        yield Claim(
            NAME,
            f"both losses at least as good as the {alone} loss alone",
            measured,
            (low, high),
            verdict(low, high),
        )


def trained(bench: Bench, classes: recipe.Classes, name: str, seed: int, cache: Path) -> Neck:
    """A shortly trained neck; from ``cache`` where it is there."""
    folder, trunk = cache / f"{name}-{STEPS}-{seed}-{bench.codec.mark}", bench.model.trunk
    start = recipe.START
    if not (folder / "model.safetensors").exists():
        torch.manual_seed(seed)
        neck = recipe.new_neck(bench.codec, trunk)
        used = classes if LOSSES[name][0] else None
        recipe.distil(folder, neck, bench.codec, bench.model, STEPS, seed, LOSSES[name], used)
        pretrained.save(folder, neck, {})
        (folder / "checkpoint.pt").unlink()
    return pretrained.load(folder, lambda _: Neck(trunk, bench.codec, start))
