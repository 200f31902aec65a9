"""From single answers to the rows of an operating point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semcom import stats
from semcom.types import Kind, Query


@dataclass(frozen=True)
class Record:
    """One answer to one query, and what the message that it rests on cost."""

    query: Query
    index: int  # which query of its sample
    answer: str
    score: float
    kind: Kind  # what the receiver held; "nothing" is an outage
    sending: int  # which message; queries of one image share it unless the transmitter knows the question
    cost: Cost


@dataclass(frozen=True)
class Cost:
    """What one message cost."""

    payload_bits: int
    channel_uses: int
    pixels: int  # H * W of the original image


def summarise(records: Sequence[Record], metric: str, binary: bool) -> list[dict[str, Any]]:
    """The row over all records, and one for each question type when there are several."""
    types = sorted({r.query.type for r in records})
    parts = [("", records)]
    if len(types) > 1:
        parts += [(t, [r for r in records if r.query.type == t]) for t in types]
    return [
        {"question_type": name, "metric": metric, "applicable": True, **_scores(part, binary), **_costs(part)}
        for name, part in parts
    ]


def not_applicable(
    metric: str, samples: int, costs: Sequence[Cost], outages: Sequence[bool]
) -> dict[str, Any]:
    """The row of a task that cannot be done with what the system delivers: costs, but no score."""
    nothing = dict.fromkeys(("score", "ci_low", "ci_high"), np.nan)
    return {
        "question_type": "",
        "metric": metric,
        "applicable": False,
        "samples": samples,
        "queries": 0,
        **nothing,
        "outage": float(np.mean(outages)) if len(outages) else np.nan,
        **_means(costs),
    }


def _scores(records: Sequence[Record], binary: bool) -> dict[str, Any]:
    clusters = [r.query.sample for r in records]
    score, low, high = stats.interval([r.score for r in records], clusters, binary)
    return {
        "samples": len(set(clusters)),
        "queries": len(records),
        "score": score,
        "ci_low": low,
        "ci_high": high,
        "outage": float(np.mean([r.kind == "nothing" for r in records])),
    }


def _costs(records: Sequence[Record]) -> dict[str, float]:
    return _means(list({r.sending: r.cost for r in records}.values()))


def _means(costs: Sequence[Cost]) -> dict[str, float]:
    """Means over messages."""
    if not costs:
        return dict.fromkeys(("payload_bits", "channel_uses", "cbr", "bpp"), np.nan)
    return {
        "payload_bits": float(np.mean([c.payload_bits for c in costs])),
        "channel_uses": float(np.mean([c.channel_uses for c in costs])),
        "cbr": float(np.mean([c.channel_uses / (3 * c.pixels) for c in costs])),
        "bpp": float(np.mean([c.payload_bits / c.pixels for c in costs])),
    }
