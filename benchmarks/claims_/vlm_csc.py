"""VLM-CSC: one noise-aware model for all SNRs, a memory against forgetting, and few channel uses at low SNR.

Each is the paper's claim (Jiang et al., IEEE TWC 2025: figures 9, 8 and 10) in a setting that fits on one CPU thread.
The first has the control that the paper lacks: a model without noise attention that is trained at all SNRs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from claims_.base import Claim, over_seeds, verdict
from semcom import data, pretrained, stats, systems, tasks
from semcom.link import Link, derive_seed
from semcom.systems.base import Models
from semcom.systems.semantic.text_jscc import TextJSCC
from semcom.training import vlm_csc
from semcom.training.caption_model import captions
from semcom.training.memory import Memory
from semcom.types import Recovered

SYSTEM = "vlm-csc"

# Noise attention: captions of at most three objects, one symbol a word.
TEST_DB = (0, 2, 4, 6, 8, 10)
FIXED_DB = (0, 5, 10)
LENGTH, STEPS, BATCH, FRESH = 21, 800, 32, 1000

# Memory: what the paper does with three sets of photographs, with three sets of words.
WORDS = (
    (
        "dog cat horse cow sheep rabbit fox bear wolf goat",
        "brown furry small shy hungry sleepy wild tame",
        "meadow barn forest burrow stable hill",
    ),
    (
        "car bus truck tram bicycle van taxi ferry train scooter",
        "parked shiny rusty electric crowded empty fast slow",
        "street harbour tunnel bridge station garage",
    ),
    (
        "rose tulip lily orchid daisy poppy violet iris lotus fern",
        "pink fragrant wilted fresh tall blooming thorny pale",
        "vase garden balcony pond window greenhouse",
    ),
)
SAMPLES, EACH, FADING_DB = 500, 200, 8.0  # sentences of a data set, steps on each, SNR over Rayleigh fading

# Low SNR
LOW_DB, USES = 0.0, 40
PICTURE_USES = (160, 640, 1280, 2560)
PICTURES = ("jpeg", "webp")
BITS_USES = (80, 160)  # of the caption as bits, beside those of the analog one
MCS = (("qpsk", 0.2), ("qpsk", 1 / 3), ("qpsk", 0.5), ("qam16", 1 / 3))


def claims(samples: int, seeds: int, cache: Path) -> Iterator[Claim]:
    """The three claims; trainings are kept in ``cache``."""
    yield from noise_attention(seeds, cache)
    yield from memory(seeds)
    yield from low_snr(min(samples, 60))


def noise_attention(seeds: int, cache: Path) -> Iterator[Claim]:
    """Figure 9: one model with NAM against models of one SNR each, and against the control."""
    short = [text for text in captions("train", 20_000) if len(text.split()) <= LENGTH]
    fresh = [text for text in captions("test", 2 * FRESH) if len(text.split()) <= LENGTH][:FRESH]
    accuracy: dict[str, list[list[float]]] = {}
    for seed in range(1, seeds + 1):
        settings = {"NAM": (True, (0.0, 10.0)), "control": (False, (0.0, 10.0))}
        settings |= {f"{snr} dB": (False, (float(snr), float(snr))) for snr in FIXED_DB}
        for name, (attention, snr_db) in settings.items():
            codec = _trained(cache / f"{name.replace(' ', '-')}-{seed}", short, attention, snr_db, seed)
            ids = vlm_csc.numbers(codec, fresh)
            hits = [vlm_csc.right(codec, ids, "awgn", snr)[0].mean() for snr in TEST_DB]
            accuracy.setdefault(name, []).append([float(x) for x in hits])
    found = {name: np.array(values) for name, values in accuracy.items()}  # [seeds, SNRs]
    shown = "; ".join(f"{name} " + " ".join(f"{x:.3f}" for x in v.mean(0)) for name, v in found.items())
    margins = np.stack([found["NAM"] - found[f"{snr} dB"] for snr in FIXED_DB])  # [fixed, seeds, SNRs]
    mean, low, high = over_seeds(margins.min((0, 2)).tolist())
    setting = f"content words right at {', '.join(map(str, TEST_DB))} dB: {shown}; {seeds} seeds, n = {FRESH}"
    yield Claim(
        SYSTEM,
        "one model with NAM is at least as good as each fixed-SNR model at every SNR (to 0.01)",
        f"worst of all differences {mean:+.3f}; {setting}",
        (low, high),
        verdict(low, high, -0.01),
    )
    mean, low, high = over_seeds((found["NAM"] - found["control"]).mean(1).tolist())
    yield Claim(
        SYSTEM,
        "NAM is better than no NAM trained at all SNRs alike (the control that the paper lacks)",
        f"mean over SNRs {mean:+.4f}; {seeds} seeds",
        (low, high),
        verdict(low, high),
    )


def _trained(
    folder: Path, sentences: list[str], attention: bool, snr_db: tuple[float, float], seed: int
) -> TextJSCC:
    """A short training, or what an earlier one left in ``folder``."""
    if not (folder / "config.json").is_file():
        words = vlm_csc.vocabulary(sentences)
        config = {"words": words, "length": LENGTH, "symbols": 1, "width": 64, "attention": attention}
        torch.manual_seed(seed)
        codec = TextJSCC(**config)  # type: ignore[arg-type]
        ids = vlm_csc.numbers(codec, sentences)
        vlm_csc.fit(folder, codec, ids, STEPS, snr_db, ("awgn",), feedback=1.0, batch=BATCH, seed=seed)
        pretrained.save(folder, codec, config)
        (folder / "checkpoint.pt").unlink()
    return pretrained.load(folder, lambda config: TextJSCC(**config))


def memory(seeds: int) -> Iterator[Claim]:
    """Figure 8: the first data set after training on two more, with and without MED."""
    kept: dict[bool, list[float]] = {True: [], False: []}
    first: dict[bool, list[float]] = {True: [], False: []}
    stored = []
    for seed in range(1, seeds + 1):
        for use in (True, False):
            before, after, share = one_after_another(use, seed)
            first[use].append(before)
            kept[use].append(after / before)
            stored += [share] if use else []
    setting = f"Rayleigh at {FADING_DB:g} dB, disjoint words, {seeds} seeds"
    mean, low, high = over_seeds(kept[True])
    yield Claim(
        SYSTEM,
        "with MED the first data set is remembered after two more (at least 0.9 of its accuracy)",
        f"{mean:.1%} of {np.mean(first[True]):.3f} left; the memory holds {np.mean(stored):.0%} of all samples; "
        f"{setting}",
        (low, high),
        verdict(low, high, 0.9),
    )
    mean, low, high = over_seeds(kept[False])
    yield Claim(
        SYSTEM,
        "without MED it is forgotten (at most 0.3 of its accuracy is left)",
        f"{mean:.1%} of {np.mean(first[False]):.3f} left; {setting}",
        (low, high),
        verdict(-high, -low, -0.3),
    )


def one_after_another(use: bool, seed: int) -> tuple[float, float, float]:
    """Accuracy on the first data set after it and after all three; share of all samples in the memory."""
    words = sorted(
        {w for parts in WORDS for part in parts for w in part.split()} | {"a", "and", "near", "the", "."}
    )
    torch.manual_seed(seed)
    codec = TextJSCC(words, length=10, symbols=2)
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(codec.parameters(), 2e-3)

    def features(ids: torch.Tensor) -> torch.Tensor:
        return codec.meaning(ids, torch.full((len(ids), 1), FADING_DB)).mean(1)

    kept = Memory(features, short=SAMPLES // 2, long=400, seed=seed)
    content = frozenset(word for part in WORDS[0] for word in part.split())
    test = vlm_csc.numbers(codec, _sentences(0, 500, np.random.default_rng(1000 + seed)))
    scores = []
    for number in range(len(WORDS)):
        ids = vlm_csc.numbers(codec, _sentences(number, SAMPLES, rng))
        for _ in range(EACH):
            batch = ids[torch.from_numpy(rng.integers(SAMPLES, size=64))]
            old = kept.replay(32, rng) if use else None
            if old is not None:
                batch = torch.cat([batch[:32], old])
            snr = np.full(64, FADING_DB)
            seeds = rng.integers(2**63, size=64).tolist()
            loss = vlm_csc.cross_entropy(vlm_csc.through(codec, batch, "rayleigh", snr, snr, seeds), batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
            optimizer.step()
        kept.observe(ids)
        hits, _ = vlm_csc.right(codec, test, "rayleigh", FADING_DB, seed=seed, words=content)
        scores.append(float(hits.mean()))
    return scores[0], scores[-1], len(kept.long_term) / (SAMPLES * len(WORDS))


def _sentences(number: int, count: int, rng: np.random.Generator) -> list[str]:
    things, kinds, places = (part.split() for part in WORDS[number])

    def one(words: list[str]) -> str:
        return words[int(rng.integers(len(words)))]

    return [
        f"a {one(kinds)} {one(things)} and a {one(kinds)} {one(things)} near the {one(places)} ."
        for _ in range(count)
    ]


def low_snr(samples: int) -> Iterator[Claim]:
    """Figure 10, at bandwidths that are stated: answers from few symbols against pictures with many more."""
    bench = _Bench(samples)
    ours = {name: bench.scores(name, USES, "qpsk", 0.5) for name in ("vlm-csc-text", "vlm-csc")}
    best = {uses: bench.best(PICTURES, uses) for uses in PICTURE_USES}
    shown = ", ".join(f"{uses} uses {x.mean():.3f} ({name})" for uses, (name, x) in best.items())
    setting = f"n = {samples} images, {len(bench.queries)} questions, AWGN"
    for name, scores in ours.items():
        for uses in PICTURE_USES:
            mean, low, high, _ = stats.paired_difference(scores, best[uses][1], bench.names)
            yield Claim(
                name,
                f"more VQA accuracy at {LOW_DB:g} dB than pictures with {uses // USES} times its channel uses",
                f"{scores.mean():.3f} at {USES} uses, {100 * mean:+.1f} points; best pictures: {shown}; {setting}",
                (low, high),
                verdict(low, high),
            )
        for uses in (USES, *BITS_USES):  # what the paper does not compare with: the same caption as bits
            digital, theirs = bench.best(("caption-text",), uses)
            mean, low, high, _ = stats.paired_difference(scores, theirs, bench.names)
            yield Claim(
                name,
                f"more VQA accuracy at {LOW_DB:g} dB than the caption as bits with {uses / USES:g} times its uses",
                f"{scores.mean():.3f} at {USES} uses against {theirs.mean():.3f} at {uses} ({digital}), "
                f"{100 * mean:+.1f} points; {setting}",
                (low, high),
                verdict(low, high),
            )


class _Bench:
    """Test scenes with all their questions, over AWGN at LOW_DB."""

    def __init__(self, samples: int) -> None:
        self.models = Models()
        self.data = data.load("scenes", split="test", samples=samples)
        self.samples = [self.data[i] for i in range(samples)]
        self.task = tasks.create("vqa", self.models, self.data)
        self.queries = [q for sample in self.samples for q in self.task.queries(sample)]
        self.names = [q.sample for q in self.queries]

    def scores(self, name: str, uses: int, modulation: str, rate: float) -> NDArray[np.float64]:
        """One score for each question, with the same fading and noise for all systems."""
        system = systems.create(name, self.models)
        link = Link("awgn", modulation=modulation, code_rate=rate)
        images = [sample.image for sample in self.samples]
        messages = system.transmit(images, link.budget(uses))
        received = link.send(messages, LOW_DB, [derive_seed("vlm-csc", i) for i in range(len(images))])
        seen = system.receive(received, [(i.shape[0], i.shape[1]) for i in images])
        held: dict[str, Recovered] = dict(zip((s.id for s in self.samples), seen, strict=True))
        answers = self.task.answer([held[q.sample] for q in self.queries], self.queries)
        return np.array([self.task.score(a, q) for a, q in zip(answers, self.queries, strict=True)])

    def best(self, names: Sequence[str], uses: int) -> tuple[str, NDArray[np.float64]]:
        """The system and MCS that answer most at that many channel uses, and their scores."""
        rows = {
            f"{name} {modulation} {rate:.2f}": self.scores(name, uses, modulation, rate)
            for name in names
            for modulation, rate in MCS
        }
        return max(rows.items(), key=lambda row: float(row[1].mean()))
