"""From single answers to the rows of an operating point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from semcom import stats
from semcom.types import Kind

COSTS = ("payload_bits", "channel_uses", "cbr", "bpp")


class Asked(NamedTuple):
    """One query of the data."""

    id: int
    task: str
    sample: str
    nth: int  # which query of its sample
    type: str
    text: str
    truth: str  # for people
    truths: str  # JSON list
    number: int  # of its sample in the data
    pixels: int  # H * W of the original image


class Record(NamedTuple):
    """One answer to one query, and what the message that it rests on cost."""

    query: int  # its id
    score: float
    answer: str
    kind: Kind  # what the receiver held; "nothing" is an outage
    payload_bits: int
    channel_uses: int


class Cost(NamedTuple):
    """What one message cost."""

    payload_bits: int
    channel_uses: int
    pixels: int  # H * W of the original image


def query_id(task: int, number: int, index: int) -> int:
    """Of a query: it follows from the data alone, and orders the queries of a task as the data does.

    :param task: its place in the scenario; :param number: of the sample; :param index: of the query of that sample
    """
    return task << 48 | number << 16 | index


@dataclass
class Column:
    """All answers of one task at one operating point, in the order of the data."""

    samples: list[str] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)  # of the query within its sample
    types: list[str] = field(default_factory=list)
    truths: list[tuple[str, ...]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    lost: list[bool] = field(default_factory=list)
    payload_bits: list[int] = field(default_factory=list)
    channel_uses: list[int] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)

    @classmethod
    def together(cls, columns: Sequence[Column]) -> Column:
        """Several columns as one."""
        parts = zip(*(vars(column).values() for column in columns), strict=True)
        return cls(*([value for part in same for value in part] for same in parts))

    def only(self, kind: str) -> Column:
        """The answers to questions of one type."""
        keep = [i for i, t in enumerate(self.types) if t == kind]
        return Column(*([values[i] for i in keep] for values in vars(self).values()))


def summarise(column: Column, metric: str, binary: bool, each: bool = False) -> list[dict[str, Any]]:
    """The row over all answers, and one for each question type when there are several.

    :param each: whether every query had a message of its own (the transmitter knows the question); otherwise the
        queries of one image share one.
    """
    types = sorted(set(column.types))
    parts = [("", column)]
    if len(types) > 1:
        parts += [(kind, column.only(kind)) for kind in types]
    return [
        {
            "question_type": name,
            "metric": metric,
            "applicable": True,
            **scored(part, binary),
            **_costs(part, each),
        }
        for name, part in parts
    ]


def not_applicable(metric: str, sums: Sequence[float], samples: int) -> dict[str, Any]:
    """The row of a task that cannot be done with what the system delivers: costs, but no score.

    :param sums: over messages, as :meth:`semcom.sweep.part.Answers.sums`.
    """
    count, *totals = sums
    means = [total / count if count else np.nan for total in totals]
    return {
        "question_type": "",
        "metric": metric,
        "applicable": False,
        "samples": samples,
        "queries": 0,
        **dict.fromkeys(("score", "ci_low", "ci_high"), np.nan),
        **dict(zip((*COSTS, "outage"), means, strict=True)),
    }


def scored(column: Column, binary: bool) -> dict[str, Any]:
    """Mean score with its 95 % interval, counts, and the share of outages."""
    score, low, high = stats.interval(column.scores, column.samples, binary)
    return {
        "samples": len(set(column.samples)),
        "queries": len(column.scores),
        "score": score,
        "ci_low": low,
        "ci_high": high,
        "outage": float(np.mean(column.lost)),
    }


def _costs(column: Column, each: bool) -> dict[str, float]:
    """Means over messages."""
    bits, uses, pixels = (np.asarray(x) for x in (column.payload_bits, column.channel_uses, column.pixels))
    if not each:
        one = list({sample: i for i, sample in enumerate(column.samples)}.values())
        bits, uses, pixels = bits[one], uses[one], pixels[one]
    return {
        "payload_bits": float(np.mean(bits)),
        "channel_uses": float(np.mean(uses)),
        "cbr": float(np.mean(uses / (3 * pixels))),
        "bpp": float(np.mean(bits / pixels)),
    }
