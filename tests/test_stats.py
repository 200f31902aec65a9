from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from channels.errors import InputError
from semcom.stats import (
    clopper_pearson,
    clustered_interval,
    clustered_wilson,
    flips_for,
    holm,
    interval,
    paired_difference,
    wilson,
)
from semcom.sweep.plan import CHUNK
from semcom.sweep.rows import Column, scored
from semcom.sweep.run import FEWEST


@pytest.fixture
def seed() -> int:
    value = secrets.randbits(32)
    print("seed", value)
    return value


def beta_binomial(
    rng: np.random.Generator, p: float, correlation: float, clusters: int, size: int
) -> np.ndarray:
    """``[clusters, size]`` binary scores with that mean and correlation within a cluster."""
    a = p * (1 - correlation) / correlation
    q = rng.beta(a, a * (1 - p) / p, clusters)
    return (rng.random((clusters, size)) < q[:, None]).astype(float)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3 (score, without continuity correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_against_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # the same table, method 5 (Clopper-Pearson)
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0.0000, 0.1684),
        (1, 29, 0.0009, 0.1776),
    ],
)
def test_clopper_pearson_against_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert clopper_pearson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_symmetric_and_keeps_the_edges() -> None:
    for n, k in itertools.product((1, 7, 1000), (0.0, 0.3, 1.0)):
        low, high = wilson(k * n, n)
        assert 0 <= low <= k <= high <= 1
        assert wilson(n - k * n, n) == pytest.approx((1 - high, 1 - low))
    assert wilson(0, 50)[0] == 0.0
    assert wilson(50, 50)[1] == 1.0
    assert wilson(3, 9, 0.5)[1] < wilson(3, 9, 0.99)[1]


@pytest.mark.parametrize("p", [0.02, 0.5, 0.98])
def test_exact_coverage_of_wilson(p: float) -> None:
    """Summed over the binomial distribution instead of drawn from it; every multiple of 100 images, as chunks have."""
    for n in [*range(190, 1000, 30), *range(100, 3001, 100)]:
        k = np.arange(n + 1)
        low, high = np.array([wilson(int(successes), n) for successes in k]).T
        mass = scipy.stats.binom.pmf(k, n, p)
        assert 0.93 <= mass[(low <= p) & (p <= high)].sum() <= 0.97, n
    # with 50 images nobody can: the sum over 0, ... 2 successes is too little, over 0, ... 3 too much
    rare = scipy.stats.binom.cdf([2, 3], 50, 0.02)
    assert rare[0] < 0.93 and rare[1] > 0.97


def test_interval_of_single_scores_is_wilson() -> None:
    scores = [1, 0, 1, 1, 0, 1, 1]
    assert interval(scores, list("abcdefg"), binary=True) == (5 / 7, *wilson(5, 7))


@pytest.mark.parametrize("p", [0.02, 0.5, 0.98])
def test_ignoring_the_clusters_would_not_cover(p: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(200), 4).tolist()
    covered = naive = 0
    for _ in range(2000):
        scores = beta_binomial(rng, p, 0.3, 200, 4).ravel()
        _, low, high = interval(scores, names, binary=True)
        covered += low <= p <= high
        low, high = wilson(scores.sum(), scores.size)
        naive += low <= p <= high
    assert 0.93 <= covered / 2000 <= 0.975
    assert naive / 2000 < 0.9  # what ignoring the clusters would give


def shown(scores: np.ndarray, names: list[int]) -> tuple[float, float]:
    """The interval of a point as it stands in results and reports."""
    column = Column(samples=list(map(str, names)), scores=scores.tolist(), lost=[False] * scores.size)
    row = scored(column, binary=True)
    return row["ci_low"], row["ci_high"]


def coverage(draw: Callable[[np.random.Generator], np.ndarray], p: float, experiments: int = 2000) -> float:
    """How often the interval shown holds ``p``; draws are ``[images, answers]``. The seed is fixed: the bounds of 93
    and 97 % are those of the method, and repeating 2,000 experiments moves a coverage by 0.5 %."""
    rng = np.random.default_rng(20261124)
    covered = 0
    for _ in range(experiments):
        scores = draw(rng)
        low, high = shown(scores.ravel(), np.repeat(np.arange(len(scores)), scores.shape[1]).tolist())
        covered += low <= p <= high
    return covered / experiments


@pytest.mark.parametrize("p", [0.02, 0.5, 0.98])
@pytest.mark.parametrize(
    ("images", "answers", "correlation"), [(100, 1, 0), (400, 1, 0), (200, 4, 0.3), (400, 8, 0.1)]
)
def test_coverage_of_what_is_shown(p: float, images: int, answers: int, correlation: float) -> None:
    def draw(rng: np.random.Generator) -> np.ndarray:
        if not correlation:
            return (rng.random((images, answers)) < p).astype(float)
        return beta_binomial(rng, p, correlation, images, answers)

    assert 0.93 <= coverage(draw, p) <= 0.97


@pytest.mark.parametrize("p", [0.02, 0.5, 0.98])
def test_coverage_of_what_is_shown_for_graded_scores(p: float) -> None:
    """Scores of 0, 1/4, ... 1 on 200 images, as an F1 of captions has them."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        return rng.binomial(4, rng.beta(2 * p, 2 * (1 - p), (200, 1))) / 4

    assert 0.93 <= coverage(draw, p) <= 0.97


@pytest.mark.parametrize("p", [0.02, 0.5, 0.98])
def test_coverage_with_adaptive_stopping(p: float) -> None:
    """Sampling in chunks of 100, from the third on until half the interval is 0.02 or less, as ``sweep.precision``
    does."""
    assert (CHUNK, FEWEST) == (100, 3)

    def draw(rng: np.random.Generator) -> np.ndarray:
        scores = (rng.random((10_000, 1)) < p).astype(float)
        for n in range(300, 10_001, 100):
            low, high = wilson(scores[:n].sum(), n)
            if (high - low) / 2 <= 0.02:
                break
        return scores[:n]

    assert 0.93 <= coverage(draw, p) <= 0.97


@pytest.mark.parametrize(
    ("p", "correlation", "clusters", "size"), [(0.02, 0.05, 60, 6), (0.9, 0.6, 60, 6), (0.5, 0.1, 30, 3)]
)
def test_coverage_is_never_far_below_the_level(
    p: float, correlation: float, clusters: int, size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(clusters), size).tolist()
    covered = 0
    for _ in range(1000):
        low, high = clustered_wilson(beta_binomial(rng, p, correlation, clusters, size).ravel(), names)
        covered += low <= p <= high
    assert covered / 1000 >= 0.91


def test_coverage_of_the_bootstrap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(60), 3).tolist()
    covered = 0
    for trial in range(300):
        image = rng.beta(6, 2, 60)  # mean 0.75
        scores = np.clip(
            np.repeat(image, 3) + rng.uniform(-0.05, 0.05, 180) * np.minimum(image, 1 - image).repeat(3), 0, 1
        )
        _, low, high = interval(scores, names, binary=False, seed=trial)
        covered += low <= 0.75 <= high
    assert 0.88 <= covered / 300 <= 0.995


def test_clusters_of_equal_scores_count_as_one_trial_each() -> None:
    names = np.repeat(np.arange(40), 5).tolist()
    repeated = np.repeat(np.arange(40) % 2, 5)
    low, high = clustered_wilson(repeated, names)
    assert (low, high) == pytest.approx(wilson(20, 40), abs=0.01)
    for value in (0, 1):  # nothing is known of the correlation
        assert clustered_wilson(np.full(200, value), names) == pytest.approx(
            wilson(40 * value, 40), abs=0.012
        )
        assert clustered_interval(np.full(200, value), names) == wilson(40 * value, 40)


def test_one_cluster_says_almost_nothing() -> None:
    assert clustered_wilson([1, 1, 1, 1], ["a"] * 4) == wilson(1, 1)


def test_order_and_names_do_not_matter_and_seeds_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"image-{i}" for i in rng.integers(0, 30, 200)]
    scores = rng.random(200)
    binary = (scores > 0.5).astype(float)
    order = rng.permutation(200)
    shuffled = [names[i] for i in order]
    assert interval(binary[order], shuffled, True) == pytest.approx(interval(binary, names, True))
    assert interval(scores, names, False, seed=1) == interval(scores, names, False, seed=1)
    assert interval(scores, names, False, seed=1) != interval(scores, names, False, seed=2)
    # A flag alone does not make scores binary.
    assert interval(scores, names, True, seed=1) == interval(scores, names, False, seed=1)


def test_many_clusters_are_resampled_in_bounded_memory() -> None:
    scores = np.linspace(0, 1, 20_000)
    low, high = clustered_interval(scores, range(20_000))
    half = 1.96 * np.sqrt(1 / 12 / 20_000)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=half / 10)


def test_sign_flip_against_all_flips_by_hand() -> None:
    a, b = [1, 1, 1, 0], [0, 0, 0, 0]
    difference, low, high, p = paired_difference(a, b, list("wxyz"))
    # Sums 1, 1, 1, 0: 16 flips, of which |sum| = 3 for the two signs of the first three, times two for the last.
    assert (difference, p) == (0.75, 4 / 16)
    assert low <= 0.75 <= high
    assert paired_difference(b, a, list("wxyz"))[0::3] == (-0.75, 4 / 16)


def test_holm_by_hand() -> None:
    # Holm 1979: the smallest of four times 4, the next times 3, ..., never decreasing, never above 1
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0
    with pytest.raises(InputError, match="p-values"):
        holm([0.5, 1.2])


def test_holm_keeps_the_rate_of_any_false_alarm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    alarms = [bool((holm(rng.random(20)) <= 0.05).any()) for _ in range(2000)]
    assert np.mean(alarms) <= 0.05 + 4.5 * np.sqrt(0.05 * 0.95 / 2000)


def test_enough_flips_for_many_comparisons() -> None:
    """The smallest p that flips can give survives the correction."""
    for number in (1, 100, 2000):
        least = 1 / (1 + flips_for(number))
        assert holm([least] + [1.0] * (number - 1))[0] <= 0.05
    a, b = np.ones(40), np.zeros(40)
    assert paired_difference(a, b, range(40), flips=99)[3] == 1 / 100


def test_clustered_differences_are_no_independent_evidence() -> None:
    a, b = np.ones(40), np.zeros(40)
    assert paired_difference(a, b, ["same"] * 40)[3] == 1.0
    assert paired_difference(a, b, np.repeat([1, 2, 3, 4], 10).tolist())[3] == 2 / 16
    assert paired_difference(a, b, list(range(40)))[3] == pytest.approx(1 / 10_001)


def test_p_is_uniform_when_there_is_no_difference(seed: int) -> None:
    """Of right and wrong answers it is conservative: equal differences are common, and count as extreme."""
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(25), 4).tolist()
    for binary, least in ((False, 0.5), (True, 0.38)):
        ps, covered = [], 0
        for trial in range(300):
            image, noise = rng.random(25).repeat(4), rng.random((2, 100))
            a, b = (noise < image).astype(float) if binary else (image + noise) / 2
            _, low, high, p = paired_difference(a, b, names, seed=trial)
            ps.append(p)
            covered += low <= 0 <= high
        assert np.mean(np.array(ps) <= 0.05) <= 0.05 + 5 * (0.05 * 0.95 / 300) ** 0.5
        deviation = 0.5 / 300**0.5
        assert least - 5 * deviation <= np.mean(np.array(ps) <= 0.5) <= 0.5 + 5 * deviation
        assert covered / 300 >= 0.87


def test_equal_systems_differ_by_nothing_but_not_with_certainty() -> None:
    difference, low, high, p = paired_difference([1, 0, 1], [1, 0, 1], list("abc"))
    assert (difference, p) == (0.0, 1.0)
    assert (low, high) == (-wilson(0, 3)[1], wilson(0, 3)[1])


@pytest.mark.parametrize(
    ("scores", "clusters", "message"),
    [
        ([], [], "no scores"),
        ([1, 0], ["a"], "2 scores but 1 cluster"),
        ([0.5, float("nan")], ["a", "b"], "from 0 to 1; found nan"),
        ([0.5, 1.5], ["a", "b"], r"found 1\.5"),
    ],
)
def test_wrong_scores(scores: list[float], clusters: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        interval(scores, clusters, binary=False)


def test_wrong_counts() -> None:
    for successes, n in ((3, 2), (-1, 2), (0, 0), (float("nan"), 2)):
        with pytest.raises(InputError, match="successes"):
            wilson(successes, n)
    with pytest.raises(InputError, match="level is 95"):
        wilson(1, 2, level=95)
    with pytest.raises(InputError, match="as many"):
        paired_difference([1], [1, 0], ["a"])
