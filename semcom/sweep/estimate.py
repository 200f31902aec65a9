"""What a run would take, before it is started: points, messages to encode, and time and disk from a short trial."""

from __future__ import annotations

import time
from dataclasses import dataclass

from channels.threads import single_thread
from semcom.scenario import Scenario
from semcom.sweep.engine import Engine
from semcom.sweep.plan import Group, Job
from semcom.types import Dataset, Sample

BYTES = 40  # of the results file for each answer beside its text, measured
IMAGES = 8  # of the trial


@dataclass(frozen=True)
class Estimate:
    """``seconds`` of one worker, and ``bytes`` of the results file, are rough; all else is exact (an upper bound where
    ``precision`` may stop a point early)."""

    points: int
    groups: int
    chunks: int
    images: int
    encodes: int
    answers: int
    bytes: int
    seconds: float
    precision: float | None

    def lines(self, workers: int = 1) -> list[str]:
        """For people."""
        most = "" if self.precision is None else f"at most (every point until +-{self.precision:g}): "
        return [
            f"{self.points:,} points in {self.groups:,} groups (system, link, budget), {self.images:,} images",
            f"{most}{self.groups * self.chunks:,} jobs, {self.encodes:,} messages to encode, {self.answers:,} answers",
            f"about {_size(self.bytes)} on disk",
            f"about {_duration(self.seconds / workers)} on {workers} worker{'s' if workers > 1 else ''}, "
            f"nothing cached (from a trial with {min(IMAGES, self.images)} images)",
        ]


class _First:
    """The first samples of a data set."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        self.name, self.labels = dataset.name, dataset.labels
        self._dataset, self._count = dataset, min(count, len(dataset))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        return self._dataset[index]


def estimate(scenario: Scenario, device: str = "cpu") -> Estimate:
    """Of a scenario. The trial sends a few images through every system, at the points of its middle group."""
    with single_thread():
        engine = Engine(scenario, device)
        images, chunks = len(engine.dataset), engine.chunks
        engine.dataset = _First(engine.dataset, IMAGES)
        asked = {name: sum(map(len, queries)) for name, queries in engine.chunk(0).queries.items()}
        shown = len(engine.dataset)
        seconds, encodes, answers, size = 0.0, 0.0, 0.0, 0.0
        for label in dict.fromkeys(group.system.label for group in engine.groups):
            groups = [group for group in engine.groups if group.system.label == label]
            each = sum(asked[name] for name in engine.applicable(groups[0])) / shown
            expected = each * images * sum(len(group.points) for group in groups)
            spent, text = _trial(engine, groups[len(groups) // 2])
            seconds += len(groups) * spent * images / shown
            answers, size = answers + expected, size + expected * (BYTES + text)
            if groups[0].link is not None:
                encodes += images * len(groups) * (each if engine.systems[label].needs_query else 1)
    points = sum(len(group.points) for group in engine.groups)
    return Estimate(
        points,
        len(engine.groups),
        chunks,
        images,
        round(encodes),
        round(answers),
        round(size),
        seconds,
        scenario.precision,
    )


def _trial(engine: Engine, group: Group) -> tuple[float, float]:
    """Seconds of the trial's images at all points of a group, the second time, when models are loaded; and bytes of the
    text of an answer."""
    for _ in range(2):
        start = time.perf_counter()
        engine.forget()
        part = engine.run(Job(0, 0, group.index, tuple(p.id for p in group.points)))
        seconds = time.perf_counter() - start
    texts = [record.answer for answers in part.answers for record in answers.records]
    return seconds, len("".join(texts).encode("utf-8", "replace")) / max(1, len(texts))


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
