"""Real numbers as complex channel symbols, without any bits (Bourtsoulatze et al., Deep JSCC, TCCN 2019)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]


def to_symbols(values: Real) -> Complex:
    """Pairs of reals of a flat array as one symbol each, scaled so that unit-variance reals give unit power.

    An odd one out is paired with 0.
    """
    flat = np.ravel(values).astype(np.float32)
    flat = np.append(flat, np.zeros(len(flat) % 2, np.float32))
    return ((flat[0::2] + 1j * flat[1::2]) / np.sqrt(2)).astype(np.complex64)


def to_reals(symbols: Complex, count: int) -> Real:
    """The inverse of :func:`to_symbols`, the first ``count`` reals."""
    flat = np.stack([symbols.real, symbols.imag], axis=-1).ravel()[:count]
    return (flat * np.sqrt(2)).astype(np.float32)


def unit_power(symbols: Complex) -> Complex:
    """The block scaled to mean power exactly 1; an all-zero block becomes all ones."""
    power = float(np.mean(np.abs(symbols.astype(np.complex128)) ** 2)) if len(symbols) else 0.0
    if not np.isfinite(power) or power <= 0:
        return np.ones(len(symbols), np.complex64)
    return (symbols / np.sqrt(power)).astype(np.complex64)


def clean(symbols: Complex, noise_var: Real | None) -> tuple[Complex, Real]:
    """Received symbols and noise variances without NaN or infinity.

    What is not finite carries no information: its symbol becomes 0 and its noise variance very large.
    Lengths are made equal.
    """
    noise = np.zeros(len(symbols), np.float32) if noise_var is None else np.asarray(noise_var, np.float32)
    n = min(len(symbols), len(noise))
    y, noise = np.asarray(symbols, np.complex64)[:n], np.maximum(noise[:n], 0)
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(noise) | ~np.isfinite(np.abs(y) ** 2) | (noise > 1e12)
    return np.where(bad, 0, y).astype(np.complex64), np.where(bad, 1e12, noise).astype(np.float32)


def lmmse(symbols: Complex, noise_var: Real) -> Complex:
    """The linear estimate of unit-power symbols with the least mean squared error: ``y / (1 + no)``."""
    return (symbols / (1 + noise_var)).astype(np.complex64)


def combine(symbols: Complex, noise_var: Real, length: int) -> tuple[Complex, Real]:
    """Maximal-ratio combining of a block of ``length`` symbols that was repeated.

    :returns: the block [length] and its noise variances; what is left after the last whole repetition is
        ignored.
    """
    times = len(symbols) // length
    y = symbols[: times * length].reshape(times, length).astype(np.complex128)
    weight = 1 / np.maximum(noise_var[: times * length].reshape(times, length).astype(np.float64), 1e-12)
    total = weight.sum(0)
    return ((weight * y).sum(0) / total).astype(np.complex64), (1 / total).astype(np.float32)
