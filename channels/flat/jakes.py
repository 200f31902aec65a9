"""Flat Rayleigh fading that changes from symbol to symbol."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channels.base import check_number, register
from channels.draws import generator
from channels.flat.fading import FlatChannel

_PATHS = 128
_STEP = 32  # symbols are made in units of 32 x 32


@register("jakes", family="flat")
class Jakes(FlatChannel):
    """Rayleigh fading in time with the Jakes spectrum of a moving receiver, perfect CSI at each symbol.

    E h(t) h*(t + tau) = J0(2 pi doppler_hz tau) with ``doppler_hz`` = speed / wavelength and a symbol each
    1 / ``symbol_rate_khz`` ms; the gain stays flat.
    [Clarke, Bell Syst. Tech. J. 47(6), 1968; Jakes, Microwave Mobile Communications, 1974, sec. 1.2]
    """

    coherence = 1  # a gain for each symbol

    def __init__(self, doppler_hz: float = 100.0, symbol_rate_khz: float = 100.0) -> None:
        check_number(self.name, "symbol_rate_khz", symbol_rate_khz, 1e-3, 1e9)
        check_number(self.name, "doppler_hz", doppler_hz, 0, 500 * symbol_rate_khz)  # half a turn a symbol
        self.doppler_hz, self.symbol_rate_khz = float(doppler_hz), float(symbol_rate_khz)

    def draw_gains(self, blocks: int, seed: int) -> NDArray[np.complex64]:
        """One gain a symbol, see :func:`clarke`."""
        return clarke(blocks, self.doppler_hz / self.symbol_rate_khz / 1000, seed)


def clarke(n: int, doppler: float, seed: int) -> NDArray[np.complex64]:
    """[n] samples of the Jakes process, with ``doppler`` turns a sample at most; more begin like fewer.

    A sum of 128 paths of equal power and random phase, one from a random angle in each 128th of the circle, so that
    the autocorrelation is exactly J0 over realisations, and close to it in each long one. The envelope is Rayleigh
    up to the 128th part: P(|h|^2 < t) is within 0.001 of 1 - exp(-t), and E|h|^4 = 2 - 1/128.
    [after Zheng & Xiao, IEEE Trans. Commun. 51(6), 2003; Hoeher, IEEE Trans. Veh. Technol. 41(4), 1992]
    """
    phases = 2j * np.pi * generator(seed, "fading").random(_PATHS)
    angles = 2 * np.pi / _PATHS * (np.arange(_PATHS) + generator(seed, "angles").random(_PATHS))
    turns = 2j * np.pi * doppler * np.cos(angles)
    # exp(a + b) = exp(a) exp(b): symbol 32 i + k takes its phases from a coarse and a fine table. Tables of fixed
    # size, and einsum rather than BLAS, keep the rounding independent of n and of the number of threads.
    fine = np.exp(np.outer(np.arange(_STEP), turns))
    units = []
    for first in range(0, n, _STEP**2):
        coarse = np.exp(np.outer(first + _STEP * np.arange(_STEP), turns) + phases) / _PATHS**0.5
        units.append(np.einsum("ip,kp->ik", coarse, fine).reshape(-1))
    return np.concatenate(units)[:n].astype(np.complex64)
