"""Analog mapping, power, LMMSE and maximal-ratio combining against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcom.codecs.analog import clean, combine, lmmse, to_reals, to_symbols, unit_power


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=41))
@settings(deadline=None, max_examples=60)
def test_reals_return(values: list[float]) -> None:
    x = np.array(values, np.float32)
    s = to_symbols(x)
    assert len(s) == -(-len(x) // 2)
    np.testing.assert_allclose(to_reals(s, len(x)), x, rtol=1e-5, atol=1e-5)


def test_power() -> None:
    rng = np.random.default_rng(2)
    assert np.mean(np.abs(to_symbols(rng.normal(size=100_000).astype(np.float32))) ** 2) == pytest.approx(
        1, rel=0.02
    )
    for block in (to_symbols(rng.normal(3, 9, 11).astype(np.float32)), np.zeros(5, np.complex64)):
        assert np.mean(np.abs(unit_power(block)) ** 2) == pytest.approx(1, abs=1e-6)


def noise(rng: np.random.Generator, variance: np.ndarray) -> np.ndarray:
    return np.sqrt(variance / 2) * (rng.normal(size=variance.shape) + 1j * rng.normal(size=variance.shape))


def test_lmmse_reaches_its_error() -> None:
    rng = np.random.default_rng(3)
    variance = np.full(200_000, 0.5)
    s = noise(rng, np.ones(200_000))
    estimate = lmmse((s + noise(rng, variance)).astype(np.complex64), variance.astype(np.float32))
    assert np.mean(np.abs(estimate - s) ** 2) == pytest.approx(0.5 / 1.5, rel=0.02)


def test_combining_adds_signal_to_noise_ratios() -> None:
    rng = np.random.default_rng(4)
    variance = np.array([0.1, 0.4, 5.0])[:, None] * np.ones((3, 50_000))
    s = noise(rng, np.ones(50_000))
    y = (s + noise(rng, variance)).astype(np.complex64).ravel()
    rest = np.ones(7, np.complex64)  # less than one repetition: ignored
    y, no = np.concatenate([y, rest]), np.concatenate([variance.ravel(), np.ones(7)]).astype(np.float32)
    block, left = combine(y, no, 50_000)
    expected = 1 / (1 / 0.1 + 1 / 0.4 + 1 / 5.0)
    np.testing.assert_allclose(left, expected, rtol=1e-5)
    assert np.mean(np.abs(block - s) ** 2) == pytest.approx(expected, rel=0.03)


def test_cleaning_removes_what_is_not_finite() -> None:
    y = np.array([1, np.nan, np.inf, 1e30, 2, 3], np.complex64)
    no = np.array([0.1, 0.1, 0.1, 0.1, np.inf, -1], np.float32)
    symbols, variance = clean(y, no)
    assert symbols.tolist() == [1, 0, 0, 0, 0, 3] and variance[0] == np.float32(0.1) and variance[5] == 0
    assert (variance[1:5] >= 1e11).all() and np.isfinite(lmmse(symbols, variance)).all()
    assert np.isfinite(combine(symbols, variance, 3)[0]).all()
    assert len(clean(y, no[:2])[0]) == 2
