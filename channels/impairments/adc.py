"""Analog-to-digital converters of few bits."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from channels.base import check_number
from channels.impairments.base import Distorted, Hardware, register

if TYPE_CHECKING:
    from torch import Tensor


@register("adc", side="receiver")
class ADC(Hardware):
    """Analog-to-digital conversion: a uniform mid-rise quantiser of ``bits`` per real dimension, behind an ideal AGC.

    The receiver knows the gain and the power of the distortion that Gaussian samples have (Bussgang, closed form):
    exact for Gaussian symbols, close for OFDM and wherever noise dominates; QAM on a single carrier has lower
    peaks. The gradient is that of the linear part: 1 from x to y ("straight through").
    [Max 1960; Mezghani & Nossek 2012]

    :param bits: bits per real dimension.
    :param clip_db: clipping level over the rms value of a real dimension [dB]; None: the level of least mean squared
        error for Gaussian samples.
    """

    def __init__(self, bits: int = 6, clip_db: float | None = None) -> None:
        check_number(self.name, "bits", bits, 1, 16, whole=True)
        if clip_db is not None:
            check_number(self.name, "clip_db", clip_db, -20, 40)
        self.bits, self.clip_db = bits, clip_db if clip_db is None else float(clip_db)

    def quantise(self, samples: Tensor) -> Tensor:
        """Quantise complex samples of mean power 1."""
        import torch

        step = 2 * self._clip() / 2**self.bits / 2**0.5  # the rms value of a dimension is 1 / sqrt(2)
        cells = (torch.view_as_real(samples) / step).floor()
        cells = cells.clamp(-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1)
        return torch.view_as_complex((cells + 0.5) * step)

    def distort(self, samples: Tensor, draw: Tensor | None, group: int) -> Distorted:
        """Quantise."""
        gain, power = gaussian_moments(self.bits, self._clip())
        linear = gain * samples
        quantised = linear + (self.quantise(samples.detach()) - linear.detach())
        return Distorted(quantised, gain, gain, power - gain**2)

    def _clip(self) -> float:
        return best_clip(self.bits) if self.clip_db is None else 10 ** (self.clip_db / 20)


@lru_cache
def gaussian_moments(bits: int, clip: float) -> tuple[float, float]:
    """E[q(u) u] and E[q(u)^2] of u ~ N(0, 1) and a quantiser of 2^bits equal cells in [-clip, clip].

    The first is the mean slope, the steps' heights times the density of u there.
    """
    from scipy import special

    edges = np.linspace(-clip, clip, 2**bits + 1)
    step = 2 * clip / 2**bits
    inner = edges[1:-1]
    gain = step * np.exp(-(inner**2) / 2).sum() / (2 * np.pi) ** 0.5
    probability = np.diff(special.ndtr(inner), prepend=0, append=1)
    return float(gain), float(probability @ (edges[:-1] + step / 2) ** 2)


@lru_cache
def best_clip(bits: int) -> float:
    """The clipping level of least mean squared error, in units of the standard deviation of Gaussian samples."""
    from scipy import optimize

    def error(clip: float) -> float:
        gain, power = gaussian_moments.__wrapped__(bits, clip)
        return 1 - 2 * gain + power

    return float(
        optimize.minimize_scalar(error, bounds=(0.5, 8), method="bounded", options={"xatol": 1e-6}).x
    )
