"""Whether a count agrees with a probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


def tails(errors: ArrayLike, blocks: int, p: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(at most) and P(at least) so many ``errors`` of ``blocks`` at probability ``p``, exactly.

    No interval by a normal law: at p = 0.99997 it calls 999 of 1,000 impossible, which 3 of 100 seeds have.
    """
    return stats.binom.cdf(errors, blocks, p), stats.binom.sf(np.asarray(errors) - 1, blocks, p)
