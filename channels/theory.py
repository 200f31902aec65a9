"""Closed forms that the simulation must meet. SNR is Es/N0 in dB, averaged over fading, throughout."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

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
    """Exact bit error rate of uncoded, Gray-labelled square QAM, decided for the nearest point.

    (Deciding each bit by its a-posteriori LLR makes fewer errors at low SNR: 2 % fewer of 64-QAM at 0 dB.)

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


@lru_cache(1)
def _nodes() -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss-Legendre quadrature, which take longer than what is integrated."""
    return np.polynomial.legendre.leggauss(400)


def _mean_erfc(c: float, mgf: MGF | None) -> float:
    from scipy import special

    if mgf is None:
        return float(special.erfc(np.sqrt(c)))
    nodes, weights = _nodes()
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


def awgn_dispersion(snr_db: ArrayLike) -> Floats:
    """(1 - 1 / (1 + snr)^2) (log2 e)^2, bit^2 per channel use of complex AWGN.

    Polyanskiy, Poor & Verdu, IEEE Trans. Inf. Theory 56(5), 2010, theorem 54, for two real uses at the same SNR.
    """
    g = snr(snr_db)
    return g * (g + 2) / (1 + g) ** 2 * math.log2(math.e) ** 2


def normal_approximation(bits: float, capacity: float, dispersion: float, n: int) -> float:
    """Least block error rate of ``bits`` information bits in ``n`` symbols, to the third order.

    Q((C + 1/2 log2 n - bits) / sqrt(V)) with capacity C [bit] and dispersion V [bit^2] summed over the n symbols.
    [Polyanskiy, Poor & Verdu 2010, sec. IV; over parallel Gaussian channels: Polyanskiy, thesis, 2010]
    """
    from scipy import special

    margin = capacity + 0.5 * np.log2(n) - bits
    if dispersion <= 0:  # no noise to average: what fits arrives
        return float(margin < 0)
    return float(special.ndtr(-margin / np.sqrt(dispersion)))


def mrc_mgf(mgf: MGF, antennas: int) -> MGF:
    """E exp(-s sum_l |h_l|^2) = mgf(s)^L: maximum-ratio combining of L independent antennas of that law."""
    return lambda s: mgf(s) ** antennas


def rayleigh_mrc_ber(snr_db: ArrayLike, antennas: int) -> Floats:
    """Bit error rate of QPSK with maximum-ratio combining of L Rayleigh antennas, SNR per antenna.

    ((1 - u) / 2)^L sum_k C(L - 1 + k, k) ((1 + u) / 2)^k, u = sqrt(g / (1 + g)), g = snr / 2 a bit.
    [Proakis & Salehi 2008, eq. 13.4-15]
    """
    from scipy import special

    g = snr(snr_db) / 2
    u = np.sqrt(g / (1 + g))
    terms = [special.comb(antennas - 1 + k, k) * ((1 + u) / 2) ** k for k in range(antennas)]
    return (0.5 / (1 + g) / (1 + u)) ** antennas * sum(terms)  # 1 - u = 1 / (1 + g) / (1 + u) does not cancel


def rayleigh_cdf(power: ArrayLike) -> Floats:
    """P(|h|^2 < power) = 1 - exp(-power) of Rayleigh fading."""
    return -np.expm1(-np.asarray(power, np.float64))


def nakagami_cdf(power: ArrayLike, m: float) -> Floats:
    """P(|h|^2 < power) of Nakagami-m fading: the incomplete gamma function P(m, m power); order of diversity m."""
    from scipy import special

    return special.gammainc(m, m * np.asarray(power, np.float64))


def rician_cdf(power: ArrayLike, k_db: float) -> Floats:
    """P(|h|^2 < power) = 1 - Q1(sqrt(2 K), sqrt(2 (K + 1) power)) of Rician fading, with Marcum's Q function."""
    from scipy import stats

    k = float(snr(k_db))
    return stats.ncx2.cdf(2 * (k + 1) * np.asarray(power, np.float64), 2, 2 * k)


def pilot_snr_db(snr_db: ArrayLike, pilots: int) -> Floats:
    """SNR at which perfect CSI is as good as the LMMSE estimate of a Rayleigh gain from ``pilots`` pilots [dB].

    With E|e|^2 = 1 / (1 + P snr), power 1 - E|e|^2 of the estimate meets noise E|e|^2 + 1 / snr, hence
    P snr^2 / (1 + (P + 1) snr).   [Hassibi & Hochwald, IEEE Trans. Inf. Theory 49(4), 2003, sec. II]
    """
    g = snr(snr_db)
    return 10 * np.log10(pilots * g**2 / (1 + (pilots + 1) * g))


def clarke_autocorrelation(doppler_hz: float, lag_s: ArrayLike) -> Floats:
    """E h(t) h*(t + lag) = J0(2 pi doppler lag) of the Jakes spectrum.   [Clarke 1968]"""
    from scipy import special

    return special.j0(2 * np.pi * doppler_hz * np.asarray(lag_s, np.float64))


def rayleigh_crossings(doppler_hz: float, level: ArrayLike) -> Floats:
    """Upward crossings a second of |h| = ``level`` (1: the root of the mean power), with the Jakes spectrum.

    sqrt(2 pi) doppler level exp(-level^2).   [Rice 1944; Jakes 1974, sec. 1.3]
    """
    rho = np.asarray(level, np.float64)
    return np.sqrt(2 * np.pi) * doppler_hz * rho * np.exp(-(rho**2))


def bsc_snr_db(p: ArrayLike) -> Floats:
    """SNR [dB] at which signs of QPSK are wrong with probability p = Q(sqrt(snr)), 0 < p < 1/2."""
    from scipy import special

    return 20 * np.log10(-special.ndtri(np.asarray(p, np.float64)))
