"""Which visual tokens to keep: pure functions from [n, d] tokens to k of them, in raster order.

All work at the transmitter, before the air, and know nothing of the question. Positions are not sent: the
vision tower has added position embeddings to its features, and the receiver's language model numbers the
tokens anew.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from semcom.vlm.base import Array

Indices = NDArray[np.int64]


def random(count: int, keep: int, key: bytes) -> Indices:
    """``keep`` of ``count`` indices without replacement, ascending; seeded by ``key``, the image's hash."""
    generator = np.random.Generator(np.random.Philox(int.from_bytes(key[:16], "big")))
    return np.sort(generator.permutation(count)[:keep])


def uniform(count: int, keep: int) -> Indices:
    """``keep`` indices at an even stride, each in the middle of its share, ascending."""
    return ((2 * np.arange(keep) + 1) * count) // (2 * keep)


def divprune(tokens: Array, keep: int) -> Indices:
    """Greedy max-min diversity over cosine distance, ascending.   [Alvar et al., CVPR 2025, arXiv 2503.02175]

    First the token that is farthest from its nearest other one, then always the token that is farthest from
    its nearest chosen one (the lowest index where several are). In chordal distance sqrt(2 (1 - cos)) the
    least distance of the result is at least half of the best possible (Gonzalez 1985; Ravi et al. 1994).
    """
    x = tokens.astype(np.float64)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    distance = 1 - x @ x.T
    np.fill_diagonal(distance, np.inf)
    chosen = [int(np.argmax(distance.min(1)))]
    np.fill_diagonal(distance, -np.inf)  # a chosen token is never chosen again
    nearest = distance[chosen[0]].copy()
    while len(chosen) < min(keep, len(x)):
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, distance[chosen[-1]])
    return np.sort(np.array(chosen, np.int64))


def average_pool(tokens: Array, keep: int) -> Array:
    """Means of contiguous groups: at most ``keep``.

    A square grid of tokens is pooled to r x r or r x (r + 1) bins (adaptive average pooling); other numbers
    of tokens to ``keep`` runs in raster order.
    """
    count, side = len(tokens), isqrt(len(tokens))
    if keep >= count:
        return tokens
    if side * side != count:
        return np.stack([part.mean(0) for part in np.array_split(tokens, keep)])
    rows, columns = grid_of(keep, side, side)
    grid = tokens.reshape(side, side, -1)
    return np.stack([grid[r][:, c].mean((0, 1)) for r in _bins(side, rows) for c in _bins(side, columns)])


def grid_of(keep: int, rows: int, columns: int) -> tuple[int, int]:
    """The grid of at most ``keep`` cells that is square or one column wider, within ``rows`` x ``columns``."""
    side = isqrt(keep)
    return min(side, rows), min(side + 1 if side * (side + 1) <= keep else side, columns)


def _bins(length: int, bins: int) -> list[slice]:
    """Adaptive bins: from floor(i n / k) to ceil((i + 1) n / k)."""
    return [slice(i * length // bins, -(-(i + 1) * length // bins)) for i in range(bins)]


SELECTIONS: dict[str, Callable[[Array, int, bytes], Array]] = {
    "none": lambda tokens, keep, key: tokens,
    "random": lambda tokens, keep, key: tokens[random(len(tokens), keep, key)],
    "uniform": lambda tokens, keep, key: tokens[uniform(len(tokens), keep)],
    "average-pool": lambda tokens, keep, key: average_pool(tokens, keep),
    "divprune": lambda tokens, keep, key: tokens[divprune(tokens, keep)],
}
