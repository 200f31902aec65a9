"""The differentiable link of the recipes: latents at unit power through a channel, with an SNR of its own for each row.

>>> air = Air("rayleigh")
>>> snr_db = draw_snr(rng, len(latents), 0, 20)  # also what an adaptive encoder is told
>>> values, noise_var = air(latents, snr_db, rng)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import channels
from channels.errors import InputError


class Received(NamedTuple):
    """What arrived: the sent values plus noise, and how much noise.

    ``values`` [batch, n] are reals or complex symbols as the latents were; before the noise, those that were sent have
    mean square 1. ``noise_var`` [batch, n] is the noise variance of each in the same units (those of
    :mod:`semcom.codecs.analog`), so that 1 / ``noise_var`` is the SNR of a symbol and of each of its reals alike.
    """

    values: Tensor
    noise_var: Tensor


class Air:
    """A radio channel to train through: latents [batch, n] in, noisy latents out, gradients back.

    SNR = Es/N0 of complex symbols, which have mean power 1 in each row; the noise is CN(0, 1/SNR). This is what
    ``channels.AnalogLink`` does to a message. Two real latents share one symbol.

    :param channel: one of :func:`channels.available` that carries analog symbols and gradients.
    :param options: of that channel.
    """

    def __init__(self, channel: str = "awgn", **options: Any) -> None:
        self.channel = channels.create(channel, **options)
        if not self.channel.differentiable or self.channel.modulations is not None:
            raise InputError(f"channel: {channel!r} does not carry analog symbols with gradients")

    def __call__(
        self, latents: Tensor, snr_db: Tensor, rng: np.random.Generator, kept: Tensor | None = None
    ) -> Received:
        """Send latents, each row over its own realisation of the channel.

        :param latents: [batch, n], complex, or real with n even; of any scale.
        :param snr_db: [batch], Es/N0 of each row.
        :param rng: seeds fading and noise.
        :param kept: [batch], how many symbols of each row are sent, the first ones. The others are neither sent nor
            counted in the power; they arrive as 0. All are sent when left out.
        """
        real = not latents.is_complex()
        if real and latents.shape[1] % 2:
            raise InputError(f"latents: {latents.shape[1]} reals in a row do not pair into symbols")
        x = torch.view_as_complex(latents.float().unflatten(1, (-1, 2)).contiguous()) if real else latents
        count = torch.full(x.shape[:1], x.shape[1]) if kept is None else kept
        count = count[:, None].to(x.device)
        sent = torch.arange(x.shape[1], device=x.device) < count
        seeds = rng.integers(2**63, size=len(x)).tolist()
        y, noise_var = self.channel(
            unit_power(x * sent, count), snr_db.detach().cpu().numpy(), seeds, power="trust"
        )
        y = y * sent
        if real:
            return Received(torch.view_as_real(y).flatten(1) * 2**0.5, noise_var.repeat_interleave(2, 1))
        return Received(y, noise_var)


def unit_power(x: Tensor, count: Tensor) -> Tensor:
    """Rows of symbols [batch, n] scaled to mean power 1 over ``count`` [batch, 1] symbols, beyond which they are 0."""
    energy = (x.real.square() + x.imag.square()).sum(1, keepdim=True)
    return x * (count / energy.clamp_min(1e-20)).sqrt()


def draw_snr(rng: np.random.Generator, batch: int, low: float, high: float) -> Tensor:
    """[batch] SNRs in dB, uniform from ``low`` to ``high``."""
    return torch.from_numpy(rng.uniform(low, high, batch)).float()
