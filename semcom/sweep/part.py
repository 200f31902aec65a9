"""What comes back from one unit of work: single answers with their costs, or why there are none."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from channels.errors import InputError
from semcom.sweep.plan import Job, Point
from semcom.sweep.rows import Asked, Cost, Record


@dataclass
class Answers:
    """All answers at one operating point from one chunk of images; a cost and an outage for each message sent."""

    point: Point
    records: list[Record] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    outages: list[bool] = field(default_factory=list)
    sums: tuple[float, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """For the way to another process: columns, which are packed and unpacked several times as fast as records."""
        return {**vars(self), "records": list(zip(*self.records, strict=True))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        records = [Record._make(values) for values in zip(*state["records"], strict=True)]
        vars(self).update(state, records=records)

    def close(self) -> None:
        """Sum up what the messages cost; the sums alone travel: how many messages, and over them payload bits, channel
        uses, CBR, bpp and outages."""
        self.sums = (
            len(self.costs),
            float(np.sum([c.payload_bits for c in self.costs])),
            float(np.sum([c.channel_uses for c in self.costs])),
            float(np.sum([c.channel_uses / (3 * c.pixels) for c in self.costs])),
            float(np.sum([c.payload_bits / c.pixels for c in self.costs])),
            float(np.sum(self.outages)),
        )
        self.costs, self.outages = [], []


@dataclass
class Part:
    """A finished job. ``encoded`` and ``reused``: messages that were computed, or came from the cache on disk.

    ``failures``: of the points at which the receiver or a task failed; they are not among the ``answers``.
    """

    job: Job
    answers: list[Answers]
    asked: list[Asked] = field(default_factory=list)  # the queries of the chunk that are answered
    failures: list[Failure] = field(default_factory=list)
    encoded: int = 0
    reused: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Failure:
    """A job that could not be done at some of its points: a fault of the system under test, not of the sweep."""

    job: Job
    points: tuple[int, ...]  # ids; all of the job where nothing could be transmitted, or no time was left
    kind: str  # "exception", "bad input", "out of memory", "time-out", "worker died"
    error: str  # one line
    trace: str = ""

    @classmethod
    def of(cls, job: Job, error: BaseException, points: Sequence[int] | None = None) -> Failure:
        """From what was raised, at all points of the job or at some."""
        lost = job.points if points is None else tuple(points)
        text = " ".join(str(error).split())[:300]
        kind = "exception"
        if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate" in text:
            kind = "out of memory"
        elif isinstance(error, OutOfTime):
            kind = "time-out"
        elif isinstance(error, InputError):
            return cls(job, lost, "bad input", str(error), "".join(traceback.format_exception(error)))
        shown = f"{type(error).__name__}: {text}" if text else type(error).__name__
        return cls(job, lost, kind, shown, "".join(traceback.format_exception(error)))


class OutOfTime(Exception):
    """A chunk took longer than its time limit."""
