"""The Entropic Student against picture codecs, and its distillation against training end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semcom import pretrained, stats, systems, tasks
from semcom.codecs.entropy import rounded
from semcom.data import language
from semcom.data.scenes import Scenes, truth
from semcom.systems.base import Models
from semcom.systems.split_computing.bottleneck import Bottleneck
from semcom.systems.split_computing.entropic_student import load
from semcom.training import entropic_student as recipe
from semcom.training import loop
from semcom.training.packing import caption_segment, pack, question_segment
from semcom.types import ReceivedPacket, Reception, Recovered
from semcom.vlm.llava import Llava

from .base import Claim, over_seeds, verdict

NAME = "entropic-student"
BUDGETS = (24, 48, 96, 192)  # bytes an image
CODECS = [(name, shrink) for name in ("jpeg", "webp", "hevc-intra") for shrink in (1, 2)]
TASKS = ("vqa", "classification", "captioning", "retrieval")
CLAIM = "more VQA accuracy than JPEG, WebP, HEVC at equal bytes"
CLOSE = 0.05  # of the ceiling
STEPS, QUESTIONS = 300, 5  # of the trainings that are compared
TASK_PRICES = (1e-2, 2e-5)  # of a bit at the start, in nats of an answer, when the task alone teaches

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Bytes:
    """A budget that is one packet of so many bytes."""

    room: int
    channel_uses: int = 0

    def packet_bytes(self, packets: int = 1, protection: str = "payload", beside: int = 0) -> int:
        return max(0, self.room - beside) // packets

    def symbols(self) -> int:
        return 0


class Bench:
    """Test scenes, and what is answered from whatever is held of them."""

    def __init__(self, samples: int) -> None:
        self.models = Models()
        self.data = Scenes("test", samples)
        self.drawn = self.data.batch(0, samples)
        self.images = [s.image for s in self.drawn]
        self.sizes = [(i.shape[0], i.shape[1]) for i in self.images]

    @cached_property
    def model(self) -> Llava:
        model = self.models.generative
        assert isinstance(model, Llava)
        return model

    @cached_property
    def asked(self) -> dict[str, tuple[tasks.Task, list[Any]]]:
        made = {name: tasks.create(name, self.models, self.data) for name in TASKS}
        return {name: (task, [q for s in self.drawn for q in task.queries(s)]) for name, task in made.items()}

    def scores(self, seen: Sequence[Recovered], name: str = "vqa") -> tuple[Scores, list[str]]:
        """One score for each query, and the image that it is about."""
        task, queries = self.asked[name]
        held = {s.id: one for s, one in zip(self.drawn, seen, strict=True)}
        answers = task.answer([held[q.sample] for q in queries], queries)
        return np.array([task.score(a, q) for a, q in zip(answers, queries, strict=True)]), [
            q.sample for q in queries
        ]

    def sent(self, system: systems.System, room: int) -> tuple[list[Recovered], float]:
        """What is recovered of each image through ``room`` bytes without errors; the mean of bytes that were sent."""
        messages = system.transmit(self.images, Bytes(room))
        received = [Reception(tuple(ReceivedPacket(p.payload, True) for p in m.packets)) for m in messages]
        return system.receive(received, self.sizes), float(np.mean([m.payload_bits / 8 for m in messages]))


def claims(samples: int, seeds: int, cache: Path) -> Iterator[Claim]:
    """Four claims: more accuracy per byte than codecs; than training end to end; several tasks; what it costs."""
    bench = Bench(samples)
    for room in BUDGETS:
        yield per_byte(bench, room)
    yield from distillation(bench, seeds, cache)
    for name in TASKS:
        yield of_the_ceiling(bench, name)
    yield from bits(bench)


def per_byte(bench: Bench, room: int) -> Claim:
    """Against the codec, and the size of its picture, that does best at that budget."""
    seen, spent = bench.sent(systems.create(NAME, bench.models), room)
    ours, names = bench.scores(seen)
    others = {}
    for codec, shrink in CODECS:
        pictures, _ = bench.sent(systems.create(codec, bench.models, shrink=shrink), room)
        others[codec if shrink == 1 else f"{codec} at 1/{shrink}"] = bench.scores(pictures)[0]
    best = max(others, key=lambda name: float(others[name].mean()))
    mean, low, high, _ = stats.paired_difference(ours, others[best], names)
    each = ", ".join(f"{name} {100 * s.mean():.1f}" for name, s in others.items())
    measured = (
        f"{room} bytes: VQA {100 * ours.mean():.1f} % ({spent:.0f} bytes sent) against {each}; best codec "
        f"{best}: {100 * mean:+.1f} points (n = {len(bench.images)} images, {len(ours)} questions)"
    )
    return Claim(NAME, CLAIM, measured, (low, high), verdict(low, high))


def of_the_ceiling(bench: Bench, name: str) -> Claim:
    """The same bytes, at the finest rate, for one of the tasks."""
    ours, names = bench.scores(bench.sent(systems.create(NAME, bench.models), 10**6)[0], name)
    ceiling, _ = bench.scores([Recovered(tokens=t) for t in bench.models.tokens(bench.images)], name)
    mean, low, high, _ = stats.paired_difference(ours, ceiling, names)
    measured = (
        f"{name}, finest rate: {100 * ours.mean():.1f} against {100 * ceiling.mean():.1f} % with all visual tokens, "
        f"{100 * mean:+.1f} points (n = {len(ours)})"
    )
    claim = f"one encoder serves several tasks: within {100 * CLOSE:.0f} points of the ceiling"
    return Claim(NAME, claim, measured, (low, high), verdict(low, high, -CLOSE))


def bits(bench: Bench) -> Iterator[Claim]:
    """Bytes grow with the rate; the coder needs what the densities predict, up to whole bytes."""
    net = load(NAME, bench.model.trunk, bench.model.fingerprint, bench.model.name)
    coded, predicted = [], []
    for rate in range(net.rates):
        sizes, estimates, _ = recipe.through(net, bench.model, bench.drawn, rate)
        coded.append(sizes)
        predicted.append(estimates)
    sizes_of = np.array(coded, np.float64)  # [rates, images]
    smallest = min(np.diff(sizes_of, axis=0), key=lambda step: float(step.mean()))
    low, high = spread(smallest)
    yield Claim(
        NAME,
        "bytes grow with the rate",
        f"mean bytes {', '.join(f'{m:.1f}' for m in sizes_of.mean(1))}; smallest step {smallest.mean():+.1f} bytes; "
        f"{100 * (np.diff(sizes_of, axis=0) > 0).mean():.1f} % of single images' steps grow (n = {len(bench.images)})",
        (low, high),
        verdict(low, high),
    )
    spare = 1.03 * np.array(predicted) + 1 - sizes_of  # bytes below the estimate, 3 % and the last byte
    tightest = min(spare, key=lambda row: float(row.mean()))
    low, high = spread(tightest)
    yield Claim(
        NAME,
        "coded bytes within 3 % and one byte of the estimate",
        f"{100 * (sizes_of.sum() / np.sum(predicted) - 1):+.2f} % over all rates, "
        f"{', '.join(f'{100 * (c.mean() / np.mean(p) - 1):+.1f}' for c, p in zip(sizes_of, predicted, strict=True))} "
        f"% at each; at the worst rate {tightest.mean():.2f} bytes to spare",
        (low, high),
        verdict(low, high),
    )


def spread(values: Scores) -> tuple[float, float]:
    """95 % interval of the mean of one number for each image."""
    half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()) + half


def distillation(bench: Bench, seeds: int, cache: Path) -> Iterator[Claim]:
    """Distilled, and taught by the task alone: same network, steps and seeds, at the bytes of the lowest two rates."""
    curves = [
        [curve(bench, trained(kind, seed, cache), samples=300) for seed in range(1, seeds + 1)]
        for kind in ("distilled", "end to end")
    ]
    for rate in (0, 1):
        differences, pairs = [], []
        for distilled, direct in zip(*curves, strict=True):
            room, mine = distilled[rate]
            size, accuracy = zip(*direct, strict=True)
            theirs = float(
                np.interp(np.log(room), np.log(size), accuracy)
            )  # below its smallest size: that one's
            differences.append(mine - theirs)
            pairs.append(f"{100 * mine:.1f} against {100 * theirs:.1f} at {room:.0f}")
        mean, low, high = over_seeds(differences)
        yield Claim(
            NAME,
            "more VQA accuracy than training end to end, at the lowest two rates",
            f"rate {rate}, % and bytes for each seed: {'; '.join(pairs)}; {100 * mean:+.1f} points "
            f"({STEPS} steps, {seeds} seeds)",
            (low, high),
            verdict(low, high),
        )


def curve(bench: Bench, net: Bottleneck, samples: int) -> list[tuple[float, float]]:
    """Mean coded bytes and VQA accuracy of each rate, in ascending order of bytes."""
    part = Bench(min(samples, len(bench.images)))
    points = []
    for rate in range(net.rates):
        sizes, _, seen = recipe.through(net, part.model, part.drawn, rate)
        points.append((float(np.mean(sizes)), float(part.scores([seen[s.id] for s in part.drawn])[0].mean())))
    return sorted(points)


def trained(kind: str, seed: int, cache: Path) -> Bottleneck:
    """A network after a short training, kept in ``cache``."""
    folder = cache / f"{kind.replace(' ', '-')}-{seed}-{STEPS}"
    model = recipe.opened("embedded")
    config = {
        "vlm": model.fingerprint,
        "split": recipe.SPLIT,
        "channels": recipe.CHANNELS,
        "rates": recipe.RATES,
        "hidden": recipe.HIDDEN,
    }
    if not (folder / "model.safetensors").exists():
        student = recipe.untrained(model, config, seed)
        if kind == "distilled":
            teacher = recipe.Teacher(model, recipe.SPLIT, True, list(loop.pool()[1][:256]))
            recipe.distil(folder, student, teacher, STEPS, seed)
        else:
            end_to_end(folder, student, model, STEPS, seed)
        pretrained.save(folder, student, config)
    return load(str(folder.absolute()), model.trunk, model.fingerprint, model.name)


def end_to_end(folder: Path, student: Bottleneck, model: Llava, steps: int, seed: int) -> None:
    """Teach by the answers of the frozen language model alone: cross-entropy + price * bits."""
    trunk, (scenes, images) = model.trunk, loop.pool()
    vocabulary = model.words.tokenizer.get_vocab()
    price = recipe.Prices(student, steps, TASK_PRICES)

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        drawn = rng.integers(0, len(images), recipe.BATCH)
        rate = torch.arange(recipe.BATCH) % student.rates
        segments = []
        for scene in (truth(scenes, int(i)) for i in drawn):
            asked = language.questions(scene, rng)
            chosen = rng.choice(len(asked), min(QUESTIONS, len(asked)), replace=False)
            segments.append([question_segment(asked[i], scene, vocabulary) for i in chosen])
            segments[-1].append(caption_segment(language.caption(scene), vocabulary))
        count = trunk.rows * trunk.columns
        p = pack([[vocabulary["<bos>"]] + [vocabulary["<image>"]] * count] * len(drawn), segments, ())
        with torch.autocast("cpu", torch.bfloat16):
            y = student.encode(trunk.normalised(list(images[drawn])), rate).float()
            state = student.decode(rounded(y), rate, trunk)
            visual = model.model.model.multi_modal_projector(trunk.visual_tokens(state, student.split))
            words = model.model.get_input_embeddings()(p.ids)
            x = torch.cat([words[:, :1], visual.to(words.dtype), words[:, 1 + count :]], 1)
            mask = torch.zeros(p.allowed.shape).masked_fill(~p.allowed, torch.finfo(torch.float32).min)[
                :, None
            ]
            out = model.model.model.language_model(
                inputs_embeds=x, attention_mask=mask, position_ids=p.position, use_cache=False
            )
            said = out.last_hidden_state[p.learn[:, 0], p.learn[:, 1]]
            logits = model.model.lm_head(said).float()
        wrong = (F.cross_entropy(logits, p.learn[:, 2], reduction="none") * p.weight).sum() / p.weight.sum()
        cost = price(step, y, rate)
        shown = {f"bytes {r}": price.bits[rate == r].mean().item() / 8 for r in range(student.rates)}
        shown["wrong"] = wrong.item()
        return wrong + cost.mean(), shown

    loop.learn(folder, student, loss, steps, recipe.RATE, seed)
    student.freeze()
    (folder / "checkpoint.pt").unlink()
