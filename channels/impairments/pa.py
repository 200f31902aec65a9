"""Power amplifiers that saturate."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

from channels.base import check_number
from channels.impairments.base import Distorted, Hardware, register

if TYPE_CHECKING:
    from torch import Tensor


@register("pa", side="transmitter")
class PowerAmplifier(Hardware):
    """Power amplifier that saturates: Rapp's model, |x| -> |x| / (1 + (|x| / s)^2p)^(1/2p).

    The transmitter keeps the power of each row at what it was. The receiver knows the gain and the power of the
    distortion that Gaussian samples have (Bussgang, integrated numerically): exact for Gaussian symbols in long rows,
    and for OFDM up to the order of 1 / fft. QAM on a single carrier has lower peaks, so less distortion than counted.
    [Rapp 1991; AM/PM as in the modified Rapp model]

    :param backoff_db: mean input power below the saturation power s^2 [dB].
    :param smoothness: p; 2 to 3 for solid-state amplifiers, towards a soft limiter as it grows.
    :param ampm_deg: phase shift of strong samples [degrees]: ampm_deg r^4 / (1 + r^4), r = |x| / s.
    """

    def __init__(self, backoff_db: float = 6.0, smoothness: float = 2.0, ampm_deg: float = 0.0) -> None:
        check_number(self.name, "backoff_db", backoff_db, -20, 100)
        check_number(self.name, "smoothness", smoothness, 0.5, 1000)
        check_number(self.name, "ampm_deg", ampm_deg, -90, 90)
        self.backoff_db, self.smoothness = float(backoff_db), float(smoothness)
        self.ampm_deg = float(ampm_deg)

    def gain(self, power: Tensor) -> Tensor:
        """Complex gain of samples of instantaneous power |x|^2."""
        import torch

        # In logarithms, because r^2p overflows; the floor keeps the gradient finite where x is zero.
        log_r2 = power.clamp_min(1e-20).log() - self.backoff_db * math.log(10) / 10
        amplitude = (-torch.nn.functional.softplus(self.smoothness * log_r2) / (2 * self.smoothness)).exp()
        return torch.polar(amplitude, math.radians(self.ampm_deg) * torch.sigmoid(2 * log_r2))

    def distort(self, samples: Tensor, draw: Tensor | None, group: int) -> Distorted:
        """Amplify, at unchanged power of the row."""
        power = samples.real.square() + samples.imag.square()
        gain = self.gain(power)
        output = power * (gain.real.square() + gain.imag.square())
        scale = (power.mean() / output.mean().clamp_min(1e-30)).sqrt()
        known = self._bussgang
        return Distorted(samples * (gain * scale), known, known, 1 - abs(known) ** 2)

    @cached_property
    def _bussgang(self) -> complex:
        """E[f(x) conj(x)] / sqrt(E|f(x)|^2) of x ~ CN(0, 1)."""
        import torch

        r = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 12_500  # |x| up to 8
        gain, weight = self.gain(r.square()), 2 * r * (-r.square()).exp() / 12_500
        mean, power = (weight * r.square() * gain).sum(), (weight * (r * gain.abs()).square()).sum()
        return complex(mean / power.sqrt())
