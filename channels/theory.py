"""Closed forms that the simulation must meet. SNR is Es/N0 in dB, averaged over fading, throughout."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
MGF = Callable[[Floats], Floats]


def snr(snr_db: ArrayLike) -> Floats:
    """dB to ratio."""
    return 10 ** (np.asarray(snr_db, np.float64) / 10)


def rayleigh_mgf() -> MGF:
    """E exp(-s |h|^2) = 1 / (1 + s) for Rayleigh fading."""
    return lambda s: 1 / (1 + s)


def rician_mgf(k_db: float) -> MGF:
    """E exp(-s |h|^2) for Rician fading.   [Simon & Alouini 2005, table 2.2]"""
    k = float(snr(k_db))
    return lambda s: (1 + k) / (1 + k + s) * np.exp(-k * s / (1 + k + s))


def nakagami_mgf(m: float) -> MGF:
    """E exp(-s |h|^2) = (1 + s / m)^-m for Nakagami-m fading."""
    return lambda s: (1 + s / m) ** -m


def qam_ber(bits_per_symbol: int, snr_db: float, mgf: MGF | None = None) -> float:
    """Exact bit error rate of uncoded, Gray-labelled square QAM with hard decisions.

    AWGN: Cho & Yoon, IEEE Trans. Commun. 50(7), 2002, eq. 16. Fading (``mgf`` of |h|^2 given): each of its terms
    averaged with Craig's form, E erfc(sqrt(c |h|^2)) = 2/pi int_0^{pi/2} MGF(c / sin^2 t) dt.
    """
    axis, order = bits_per_symbol // 2, 2**bits_per_symbol
    levels = 2**axis
    total = 0.0
    for bit in range(1, axis + 1):
        for i in range(levels - levels // 2**bit):
            shift = i * 2 ** (bit - 1) / levels
            weight = (-1) ** int(shift) * (2 ** (bit - 1) - int(shift + 0.5))
            total += weight * _mean_erfc((2 * i + 1) ** 2 * 1.5 * float(snr(snr_db)) / (order - 1), mgf)
    return total / levels / axis


def _mean_erfc(c: float, mgf: MGF | None) -> float:
    from scipy import special

    if mgf is None:
        return float(special.erfc(np.sqrt(c)))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    angle = (nodes + 1) * np.pi / 4
    return float(weights @ mgf(c / np.sin(angle) ** 2)) / 2


def awgn_capacity(snr_db: ArrayLike) -> Floats:
    """log2(1 + snr), bit per channel use.   [Shannon 1948]"""
    return np.log2(1 + snr(snr_db))


def rayleigh_capacity(snr_db: ArrayLike) -> Floats:
    """Ergodic capacity E log2(1 + snr |h|^2) = exp(1 / snr) E1(1 / snr) / ln 2 with CSI at the receiver alone."""
    from scipy import special

    inverse = 1 / snr(snr_db)
    return np.exp(inverse) * special.exp1(inverse) / np.log(2)


def rayleigh_outage(snr_db: ArrayLike, rate: ArrayLike) -> Floats:
    """P(log2(1 + snr |h|^2) < rate) = 1 - exp(-(2^rate - 1) / snr); rate in bit per channel use."""
    return -np.expm1(-(2 ** np.asarray(rate, np.float64) - 1) / snr(snr_db))
