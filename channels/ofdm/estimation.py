"""What the receiver makes of the pilots: least squares, then linear interpolation over frequency and time."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from channels.ofdm.grid import DATA, PILOTS, Grid

if TYPE_CHECKING:
    from torch import Tensor


def estimate(grid: Grid, h: Tensor, noise: Tensor, no: Tensor) -> tuple[Tensor, Tensor]:
    """Channel estimates at the data of a slot, and the variance of their error.

    Each stream sends pilots of power 1 on its own comb of subcarriers, where the receiver finds h + w; both are
    interpolated (as Sionna's LSChannelEstimator with "lin"; positions are frequencies, DC counted). The error's
    variance v has two parts. The noise part is known exactly: no times the squared weights. The interpolation error
    is not; the receiver is given its mean power in each OFDM symbol, and p, that of each stream in the slot, as from
    long observation. The estimate is then scaled by p / (p + v), which makes it uncorrelated with what is left of
    its error, p v / (p + v): that is noise to the receiver.   [Hassibi & Hochwald 2003, sec. II]

    :param h: [14, used, M, K] complex64, the true channel of a slot; K is ``grid.combs``.
    :param noise: [14, used, M] complex64, unit variance.
    :param no: [] float32, noise variance.
    :returns: [data, M, K] complex64, and [data, K] float32.
    """
    import torch

    estimates, variances = [], []
    for comb in range(grid.combs):
        frequency, time, weight = _maps(grid, comb)
        pilots = torch.stack([h[..., comb], no.sqrt() * noise])[:, list(PILOTS), comb :: grid.combs]
        over_frequency = frequency @ pilots  # [h and noise, pilot symbols, used, M]
        exact, error = torch.einsum("tp,apfm->atfm", time, over_frequency)
        true = h[list(DATA), ..., comb]
        power, mismatch = _power(true).mean(), _power(exact - true).mean((1, 2))
        variance = (no * weight + mismatch[:, None]).flatten()
        scale = power / (power + variance)
        estimates.append((exact + error).flatten(0, 1) * scale[:, None])
        variances.append(variance * scale)
    return torch.stack(estimates, dim=-1), torch.stack(variances, dim=-1)


def _power(a: Tensor) -> Tensor:
    return a.real.square() + a.imag.square()


@lru_cache(512)
def _maps(grid: Grid, comb: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights over frequency [used, pilots] and time [data symbols, pilot symbols], and the sums of their squares."""
    import torch

    frequency, time = grid.over_frequency(comb), grid.over_time
    weight = (time**2).sum(1)[:, None] * (frequency**2).sum(1)
    return (
        torch.from_numpy(frequency).to(torch.complex64),
        torch.from_numpy(time).to(torch.complex64),
        torch.from_numpy(weight).float(),
    )
