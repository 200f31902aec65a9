"""DivPrune against its baselines and neighbours on the embedded VLM: at equal tokens, equal bits and equal FLOPs.

    python -m benchmarks.claims_.divprune [--samples 600] [--seeds 3]      # every accuracy, one line each

The claim (Alvar et al., CVPR 2025): under hard pruning, more VQA accuracy than random and attention-based selection.
Nothing here is trained for it, so the spread is over images and over the draws of random selection. Beware: the
embedded language model was trained on random and evenly spaced subsets of 2 to 48 tokens and on averages of neighbours,
which favours these baselines, and sets that contain background over those of the foreground alone.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache as remembered
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from semcom import data, stats, systems, tasks
from semcom.link import Link, derive_seed
from semcom.systems.base import Models, image_key
from semcom.systems.token_compression.selection import SELECTIONS, divprune, random
from semcom.systems.token_compression.tower import compress
from semcom.types import Recovered
from semcom.vlm.base import Array

from .base import Claim, verdict

KEEPS, SPLITS = (4, 8, 16), ("test", "test-crowded")
PROJECTED = "divprune after the projector"  # as in the paper; the kept tokens are still sent before it
METHODS = (
    "random",
    "uniform",
    "average-pool",
    "lower-resolution",
    "cls-attention",
    "visionzip",
    "tome",
    "divprune",
    PROJECTED,
)
USES, SNR_DB = (512, 1024, 4096), 10.0  # 10 dB: QPSK of rate 1/2 loses nothing, only the bits are few

Scores = NDArray[np.float64]


def llm_flops(tokens: Sequence[float], width: int, inner: int) -> float:
    """Multiply-adds of a decoder, given how many tokens each layer sees: 4 n d^2 + 2 n^2 d + 3 n d m (SwiGLU)."""
    return sum(4 * n * width**2 + 2 * n**2 * width + 3 * n * width * inner for n in tokens)


class Bench:
    """One split with its questions, answered by the embedded model."""

    def __init__(self, split: str, samples: int) -> None:
        self.models = Models()
        self.data = data.load("scenes", split=split, samples=samples)
        self.images = [self.data[i].image for i in range(samples)]
        self.task = tasks.create("vqa", self.models, self.data)
        self.queries = [q for i in range(samples) for q in self.task.queries(self.data[i])]
        self.names = [q.sample for q in self.queries]
        self._place = {self.data[i].id: i for i in range(samples)}
        prompt = self.models.generative.words.fitted  # type: ignore[attr-defined]
        self.text = float(np.mean([len(prompt(q.text, True, 400)) - 1 for q in self.queries]))

    def scores(self, seen: Sequence[Recovered]) -> Scores:
        """One score for each query, from what is held of each image."""
        answers = self.task.answer([seen[self._place[q.sample]] for q in self.queries], self.queries)
        return np.array([self.task.score(a, q) for a, q in zip(answers, self.queries, strict=True)])

    @remembered  # noqa: B019  a bench lives as long as the program
    def kept(self, select: str, keep: int, seeds: int = 1) -> Scores:
        """Scores from ``keep`` tokens as the transmitter has them; random selection averaged over ``seeds`` draws."""
        if select == "random":
            return np.mean([self._random(keep, seed) for seed in range(seeds)], axis=0)
        if select in SELECTIONS:
            pairs = zip(self.images, self.models.tokens(self.images), strict=True)
            tokens = [SELECTIONS[select](t, keep, image_key(i)) for i, t in pairs]
        elif select == PROJECTED:
            tokens = [t[divprune(self._projected(t), keep)] for t in self.models.tokens(self.images)]
        else:
            tokens = compress(self.models.generative.trunk, self.images, keep, select)  # type: ignore[attr-defined]
        return self.scores([Recovered(tokens=t) for t in tokens])

    def _projected(self, tokens: Array) -> Array:
        projector = self.models.generative.model.model.multi_modal_projector  # type: ignore[attr-defined]
        with torch.inference_mode():
            return np.asarray(projector(torch.from_numpy(tokens)).numpy())

    def _random(self, keep: int, seed: int) -> Scores:
        keys = [hashlib.blake2b(image_key(i) + bytes([seed]), digest_size=16).digest() for i in self.images]
        pairs = zip(self.models.tokens(self.images), keys, strict=True)
        return self.scores([Recovered(tokens=t[random(len(t), keep, key)]) for t, key in pairs])

    @remembered  # noqa: B019  a bench lives as long as the program
    def fastv(self, layer: int, keep: int) -> Scores:
        """Scores from all tokens, of which ``keep`` go on after ``layer`` layers."""
        tokens = self.models.tokens(self.images)
        return self.scores([Recovered(tokens=t, prune=(layer, 1 - keep / len(t))) for t in tokens])

    @remembered  # noqa: B019  a bench lives as long as the program
    def sent(self, select: str, uses: int, bits: int) -> tuple[Scores, float]:
        """Scores after a real link (AWGN, QPSK of rate 1/2), and the mean number of tokens that arrived."""
        link = Link("awgn")
        system = systems.create("visual-tokens", self.models, select=select, bits=bits)
        messages = system.transmit(self.images, link.budget(uses))
        received = link.send(messages, SNR_DB, [derive_seed("divprune", i) for i in range(len(messages))])
        seen = system.receive(received, [(i.shape[0], i.shape[1]) for i in self.images])
        return self.scores(seen), float(np.mean([0 if r.tokens is None else len(r.tokens) for r in seen]))

    def against(self, a: Scores, b: Scores) -> tuple[float, float, float]:
        """Mean difference with its 95 % interval, paired, clustered by image."""
        return stats.paired_difference(a, b, self.names)[:3]

    def layers(self, keep: int, full: int = 0) -> float:
        """FLOPs of the language model with ``keep`` visual tokens, the first ``full`` layers with all of them."""
        text = self.models.generative.model.config.text_config  # type: ignore[attr-defined]
        n = text.num_hidden_layers
        seen = [64 + self.text] * full + [keep + self.text] * (n - full)
        return llm_flops(seen, text.hidden_size, text.intermediate_size)

    def equal_flops(self, keep: int, layer: int) -> int:
        """How many tokens FastV may keep after ``layer`` layers at the FLOPs of ``keep`` in all; 0: none."""
        return max((k for k in range(1, 65) if self.layers(k, layer) <= self.layers(keep)), default=0)


bench_of = remembered(Bench)


def claims(samples: int, seeds: int, cache: Path | None = None) -> Iterator[Claim]:
    """The paper's claim, each of its parts decided by a paired interval over images. Nothing is trained or cached."""
    for split in SPLITS:
        bench = bench_of(split, samples)
        for keep in KEEPS:
            best = bench.kept("divprune", keep)
            for other in ("random", "cls-attention", "visionzip"):
                yield _claim(bench, f"{keep} of 64 tokens", best, bench.kept(other, keep, seeds), other)
        for keep, layer in ((32, 1), (48, 2)):
            fewer = bench.equal_flops(keep, layer)
            setting = f"equal FLOPs, {keep} tokens against {fewer} after layer {layer}"
            yield _claim(bench, setting, bench.kept("divprune", keep), bench.fastv(layer, fewer), "fastv")
        for uses in USES[:2]:
            best, count = bench.sent("divprune", uses, 1)
            other_scores, _ = bench.sent("cls-attention", uses, 1)
            setting = f"equal bits, {uses} channel uses, {count:.0f} tokens of 1 bit"
            yield _claim(bench, setting, best, other_scores, "cls-attention")


def _claim(bench: Bench, setting: str, a: Scores, b: Scores, other: str) -> Claim:
    mean, low, high = bench.against(a, b)
    measured = (
        f"{bench.data.name}, {setting}: {a.mean():.3f} against {b.mean():.3f}, {100 * mean:+.1f} points "
        f"(n = {len(bench.images)} images, {len(a)} questions)"
    )
    return Claim("divprune", f"more VQA accuracy than {other}", measured, (low, high), verdict(low, high))


def rows(samples: int, seeds: int) -> Iterator[str]:
    """Every accuracy with its interval, as lines of text."""
    for split in SPLITS:
        bench = bench_of(split, samples)
        everything = bench.layers(64)

        def line(
            what: str, scores: Scores, flops: float, bench: Bench = bench, full: float = everything
        ) -> str:
            mean, low, high = stats.interval(scores, bench.names, binary=True)
            return f"{bench.data.name}  {what:44} {mean:.3f} [{low:.3f}, {high:.3f}]  LLM FLOPs {flops / full:.2f}"

        yield line("all 64 tokens", bench.kept("none", 64), everything)
        yield line("blind", bench.scores([Recovered()] * samples), bench.layers(0))
        for keep in (*KEEPS, 32):
            for method in METHODS:
                yield line(f"{keep} tokens, {method}", bench.kept(method, keep, seeds), bench.layers(keep))
        for layer in (1, 2):
            for keep in (*KEEPS, 32):
                what = f"64 tokens sent, fastv keeps {keep} after layer {layer}"
                yield line(what, bench.fastv(layer, keep), bench.layers(keep, layer))
        for keep, layer in ((32, 1), (48, 2)):
            fewer = bench.equal_flops(keep, layer)
            yield line(
                f"equal FLOPs: {keep} tokens, divprune", bench.kept("divprune", keep), bench.layers(keep)
            )
            what = f"equal FLOPs: fastv keeps {fewer} after layer {layer}"
            yield line(what, bench.fastv(layer, fewer), bench.layers(fewer, layer))
        for uses in USES:
            for bits in (1, 4, 8):
                for select in ("random", "cls-attention", "divprune"):
                    scores, count = bench.sent(select, uses, bits)
                    what = f"{uses} uses, {bits} bit, {count:.0f} tokens, {select}"
                    yield line(what, scores, bench.layers(round(count)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    for text in rows(chosen.samples, chosen.seeds):
        print(text, flush=True)
