"""Scores that the cards print: on unseen scenes of every split, with 95 % intervals and the blind score beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semcom import stats, tasks
from semcom.data.language import QUESTION_TYPES
from semcom.data.scenes import Scenes
from semcom.systems.base import Models
from semcom.types import Recovered, Sample
from semcom.vlm.load import load_dual_encoder, load_generative

SPLITS = ("test", "test-compositional", "test-crowded", "test-texture")
SAMPLES = 1000

Scores = dict[str, Any]
View = Callable[[Sample], Recovered]


def an_image(sample: Sample) -> Recovered:
    """The original picture."""
    return Recovered(image=sample.image)


def its_caption(sample: Sample) -> Recovered:
    """The true standard caption, without the picture."""
    return Recovered(text=sample.captions[0])


def nothing(sample: Sample) -> Recovered:
    """A blind receiver."""
    return Recovered()


def score(
    task: tasks.Task, samples: list[Sample], view: View, only: set[tuple[str, str]] | None = None
) -> Scores:
    """Mean score with its interval, and the same for each question type where there are several.

    ``only``: the (sample id, question) pairs to ask; all when None.
    """
    asked = [(s, q) for s in samples for q in task.queries(s) if only is None or (q.sample, q.text) in only]
    answers = task.answer([view(s) for s, _ in asked], [q for _, q in asked])
    scores = [task.score(a, q) for a, (_, q) in zip(answers, asked, strict=True)]
    result = _interval(scores, [s.id for s, _ in asked], task.binary)
    kinds = [q.type for _, q in asked]
    if len(set(kinds)) > 1:
        result["by type"] = {}
        for kind in (k for k in QUESTION_TYPES if k in kinds):
            rows = [i for i, k in enumerate(kinds) if k == kind]
            result["by type"][kind] = _interval(
                [scores[i] for i in rows], [asked[i][0].id for i in rows], task.binary
            )
    return result


def score_seen(
    task: tasks.Task,
    samples: list[Sample],
    seen: Sequence[Recovered],
    only: set[tuple[str, str]] | None = None,
) -> Scores:
    """Mean score with its interval from what was recovered of each sample; ``only`` as for :func:`score`."""
    of = {sample.id: one for sample, one in zip(samples, seen, strict=True)}
    row = score(task, samples, lambda sample: of[sample.id], only)
    row.pop("by type", None)
    return row


def _interval(scores: list[float], clusters: list[str], binary: bool) -> Scores:
    mean, low, high = stats.interval(scores, clusters, binary)
    return {"score": round(mean, 4), "95 % interval": [round(low, 4), round(high, 4)], "n": len(scores)}


def score_dual_encoder(folder: Path) -> Scores:
    """Zero-shot classification and retrieval among 100, on every split."""
    models = Models(dual=load_dual_encoder(str(folder)))
    card: Scores = {}
    for split in SPLITS:
        data = Scenes(split, SAMPLES)
        drawn = data.batch(0, SAMPLES)
        for name in ("classification", "retrieval"):
            task = tasks.create(name, models, data)
            card.setdefault(name, {})[split] = score(task, drawn, an_image)
    card["chance"] = {"classification": round(1 / 48, 4), "retrieval": 0.01}
    return card


def score_generative(folder: Path, dual: Path) -> Scores:
    """VQA by type, captions, answers from the true caption alone; the blind score beside each."""
    models = Models(dual=load_dual_encoder(str(dual)), generative=load_generative(str(folder)))
    card: Scores = {}
    for split in SPLITS:
        data = Scenes(split, SAMPLES)
        drawn = data.batch(0, SAMPLES)
        known = {(s.id, q.text) for s in drawn for q in s.questions if q.in_caption}
        vqa, captioning = tasks.create("vqa", models, data), tasks.create("captioning", models, data)
        rows = {
            "vqa": score(vqa, drawn, an_image),
            "vqa, blind": score(vqa, drawn, nothing),
            "vqa, true caption alone, questions it determines": score(vqa, drawn, its_caption, known),
            "caption attribute F1": score(captioning, drawn, an_image),
            "caption attribute F1, blind": score(captioning, drawn, nothing),
        }
        for name, row in rows.items():
            card.setdefault(name, {})[split] = row
    return card
