"""Token selections against naive implementations and known guarantees."""

from itertools import combinations

import numpy as np
import pytest

from semcom.systems.token_compression.selection import SELECTIONS, average_pool, divprune, random, uniform
from semcom.vlm.base import Array

KEY = bytes(range(16))


def naive_divprune(tokens: Array, keep: int) -> list[int]:
    """Word for word: the paper's greedy rule with loops only."""

    def distance(i: int, j: int) -> float:
        a, b = tokens[i].astype(float), tokens[j].astype(float)
        return float(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    n = len(tokens)
    lonely = [min(distance(i, j) for j in range(n) if j != i) for i in range(n)]
    chosen = [int(np.argmax(lonely))]
    while len(chosen) < keep:
        rest = [i for i in range(n) if i not in chosen]
        chosen.append(max(rest, key=lambda i: (min(distance(i, j) for j in chosen), -i)))
    return sorted(chosen)


def chordal(tokens: Array, subset: tuple[int, ...]) -> float:
    """Least pairwise chordal distance."""
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    return min(float(np.linalg.norm(unit[i] - unit[j])) for i, j in combinations(subset, 2))


def fresh() -> tuple[int, np.random.Generator]:
    seed = int(np.random.default_rng().integers(2**32))
    return seed, np.random.default_rng(seed)


def test_divprune_equals_the_naive_rule() -> None:
    seed, rng = fresh()
    for trial in range(25):
        n = int(rng.integers(2, 20))
        tokens = rng.normal(size=(n, int(rng.integers(2, 9)))).astype(np.float32)
        for keep in range(1, n + 1):
            assert divprune(tokens, keep).tolist() == naive_divprune(tokens, keep), (seed, trial, keep)


def test_divprune_is_at_least_half_as_diverse_as_the_best_subset() -> None:
    seed, rng = fresh()
    worst = 1.0
    for _ in range(60):
        tokens = rng.normal(size=(9, 3)).astype(np.float32)
        best = max(chordal(tokens, subset) for subset in combinations(range(9), 4))
        worst = min(worst, chordal(tokens, tuple(divprune(tokens, 4))) / best)
    assert worst >= 0.5, (seed, worst)


def test_divprune_finds_rare_tokens() -> None:
    rng = np.random.default_rng(8)
    background = rng.normal(size=8) + 0.05 * rng.normal(size=(60, 8))
    rare = rng.normal(size=(4, 8))
    tokens = np.concatenate([background, rare]).astype(np.float32)
    assert {60, 61, 62, 63} <= set(divprune(tokens, 6).tolist())


@pytest.mark.parametrize("tokens", [np.zeros((5, 3), np.float32), np.ones((5, 3), np.float32)])
def test_divprune_of_equal_tokens_still_keeps_different_ones(tokens: Array) -> None:
    assert len(set(divprune(tokens, 3).tolist())) == 3
    assert divprune(tokens[:1], 3).tolist() == [0]


def test_uniform_is_centred_and_even() -> None:
    assert uniform(16, 4).tolist() == [2, 6, 10, 14] and uniform(5, 5).tolist() == [0, 1, 2, 3, 4]
    for n, keep in ((64, 7), (576, 56), (10, 9)):
        gaps = np.diff(uniform(n, keep))
        assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1


def test_random_depends_on_the_key_alone_and_is_fair() -> None:
    assert random(64, 8, KEY).tolist() == random(64, 8, KEY).tolist()
    assert random(64, 8, KEY).tolist() != random(64, 8, KEY[::-1]).tolist()
    drawn = np.concatenate([random(16, 4, i.to_bytes(16, "big")) for i in range(2000)])
    counts = np.bincount(drawn, minlength=16)  # each expected 500 times, deviation about 19
    assert len(counts) == 16 and np.abs(counts - 500).max() < 100


def test_average_pool() -> None:
    grid = np.arange(16, dtype=np.float32).reshape(16, 1)
    assert average_pool(grid, 4).ravel().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert average_pool(grid, 1).ravel().tolist() == [7.5]
    assert len(average_pool(grid, 7)) == 6 and len(average_pool(grid, 9)) == 9
    assert average_pool(grid, 16) is grid and average_pool(grid, 99) is grid
    assert average_pool(np.arange(6, dtype=np.float32)[:, None], 2).ravel().tolist() == [1.0, 4.0]
    # Adaptive pooling by its definition: a bin holds every cell that its real interval overlaps.
    tokens = np.random.default_rng(3).normal(size=(49, 5)).astype(np.float32)
    rows, columns = 3, 4
    for index, pooled in enumerate(average_pool(tokens, rows * columns)):
        i, j = divmod(index, columns)
        cells = [
            tokens[7 * r + c]
            for r in range(7)
            for c in range(7)
            if 7 * i < rows * (r + 1) and rows * r < 7 * (i + 1)
            if 7 * j < columns * (c + 1) and columns * c < 7 * (j + 1)
        ]
        np.testing.assert_allclose(pooled, np.mean(cells, axis=0), atol=1e-5)


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("count", [1, 9, 12, 16])
def test_every_selection_keeps_at_most_k(name: str, count: int) -> None:
    tokens = np.random.default_rng(2).normal(size=(count, 4)).astype(np.float32)
    for keep in range(1, count + 1):
        kept = SELECTIONS[name](tokens, keep, KEY)
        assert 1 <= len(kept) <= (count if name == "none" else keep) and kept.shape[1] == 4
        if name not in ("none", "average-pool"):  # rows of the original, in raster order, none twice
            where = [int(np.flatnonzero((tokens == row).all(1))[0]) for row in kept]
            assert where == sorted(set(where)) and len(where) == keep
