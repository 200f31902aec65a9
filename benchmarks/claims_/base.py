"""One line of the claims table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HOLDS, FAILS, OPEN = "holds", "does not hold", "inconclusive"


@dataclass(frozen=True)
class Claim:
    """What a paper claims and what was measured here."""

    system: str
    claim: str
    measured: str  # in words, with units, the setting and n
    interval: tuple[float, float] | None  # 95 %, of the quantity that decides
    verdict: str


def verdict(low: float, high: float, at_least: float = 0.0) -> str:
    """The claim is that a quantity is at least ``at_least``: decided by its 95 % interval alone."""
    return HOLDS if low >= at_least else FAILS if high < at_least else OPEN


def over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval (Student's t) of one number for each training seed."""
    from scipy import stats

    x = np.asarray(values, np.float64)
    half = float(stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5) if len(x) > 1 else np.inf
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)
