"""The memory of VLM-CSC: its similarity by brute force, its rules, its bounds."""

from __future__ import annotations

import math
import secrets
from typing import Any

import numpy as np
import pytest
import torch

from channels.errors import InputError
from semcom.training.memory import Memory


@pytest.fixture
def rng() -> np.random.Generator:
    """Fresh random input; a failure shows the seed."""
    seed = secrets.randbelow(2**31)
    print(f"seed {seed}")
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def memory(**options: Any) -> Memory:
    return Memory(lambda x: x, **({"short": 10, "long": 30} | options))


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.sqrt(sum((float(p) - float(q)) ** 2 for p, q in zip(a, b, strict=True)))


def test_similarity_by_brute_force(rng: np.random.Generator) -> None:
    kept = memory(tau=1.5)
    kept.observe(torch.randn(10, 4))
    kept.observe(2 * torch.randn(7, 4))
    assert len(kept.long_term) == 10 and len(kept.short_term) == 7
    for sample, got in zip(kept.short_term, kept.similarity(), strict=True):
        all_ = [math.exp(-(distance(sample, other) ** 2) / (2 * 1.5**2)) for other in kept.long_term]
        assert got == pytest.approx(sum(all_) / len(all_), rel=1e-5)


def test_tau_may_be_the_median_distance(rng: np.random.Generator) -> None:
    kept = memory(tau="median")
    kept.observe(50 * torch.randn(17, 3))
    pairs = torch.tensor([[distance(a, b) for b in kept.long_term] for a in kept.short_term])
    tau = float(pairs.median())
    expected = torch.exp(-(pairs**2) / (2 * tau**2)).mean(1)
    np.testing.assert_allclose(kept.similarity(), expected, rtol=1e-4)
    same = memory(tau="median")
    same.observe(torch.ones(15, 3))  # all distances 0
    assert (same.similarity() == 1).all()


def test_the_two_rules_and_the_quantile(rng: np.random.Generator) -> None:
    for rule, sign in (("novel", 1), ("paper", -1)):
        kept = memory(rule=rule, quantile=0.4, tau=1.0)
        kept.observe(torch.randn(15, 2))
        by_similarity = np.argsort(sign * kept.similarity(), kind="stable")[:2].tolist()  # 0.4 x 5
        assert sorted(kept.selected()) == sorted(by_similarity)


def test_the_two_rules_and_a_threshold(rng: np.random.Generator) -> None:
    near, far = torch.zeros(3, 2), torch.full((3, 2), 100.0)
    for rule, expected in (("novel", {3, 4, 5}), ("paper", {0, 1, 2})):
        kept = memory(rule=rule, quantile=None, threshold=0.5, tau=1.0)
        kept.observe(torch.zeros(10, 2))
        kept.observe(torch.cat([near, far]))
        assert set(kept.selected()) == expected


def test_the_first_fill_is_kept_whole_and_the_bound_holds(rng: np.random.Generator) -> None:
    kept = memory(long=8, quantile=1.0)
    kept.observe(torch.randn(10, 2))
    assert len(kept.long_term) == 8 and kept.arrivals == 10 and not kept.short_term
    kept.observe(torch.randn(95, 2))
    assert len(kept.long_term) == 8 and kept.arrivals == 100 and len(kept.short_term) == 5


def test_a_full_memory_is_a_fair_reservoir(rng: np.random.Generator) -> None:
    """Every arrival is equally likely to be in it: each of 40 in about long / arrivals of the trials."""
    counts, trials = np.zeros(40), 600
    for trial in range(trials):
        kept = memory(long=8, quantile=1.0, seed=int(rng.integers(2**31)) + trial)
        kept.observe(torch.arange(40.0)[:, None])
        counts[[int(x) for x in kept.long_term]] += 1
    expected = trials * 8 / 40
    chi2 = float(((counts - expected) ** 2 / (expected * 0.8)).sum())
    assert chi2 < 90  # 39 degrees of freedom: exceeded about once in 10^5 runs


def test_replay_draws_from_the_long_term_memory(rng: np.random.Generator) -> None:
    kept = memory()
    assert kept.replay(5, rng) is None
    kept.observe(torch.arange(17.0)[:, None])
    drawn = kept.replay(500, rng)
    assert drawn is not None and drawn.shape == (500, 1)
    assert set(drawn.ravel().tolist()) == {float(x) for x in kept.long_term}


def test_samples_are_copied(rng: np.random.Generator) -> None:
    kept, samples = memory(), torch.ones(4, 2)
    kept.observe(samples)
    samples += 1
    assert all((sample == 1).all() for sample in kept.short_term)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rule": "novell"}, "Did you mean 'novel'"),
        ({"quantile": 1.5}, "quantile"),
        ({"threshold": -0.1}, "threshold"),
        ({"tau": "mean"}, "median"),
        ({"tau": 0}, "tau"),
        ({"short": 0}, "short"),
        ({"long": 2.5}, "long"),
    ],
)
def test_wrong_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        memory(**options)
