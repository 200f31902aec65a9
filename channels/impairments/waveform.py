"""Symbols of one row to time-domain samples and back: a single carrier, or OFDM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Waveform:
    """``group`` symbols share an OFDM symbol; 1: single carrier, where samples are symbols.

    Other users' symbols fill the last OFDM symbol of a row, so that all samples have the same power.
    """

    group: int

    def samples(self, n: int) -> int:
        """Time-domain samples of ``n`` symbols."""
        return -(-n // self.group) * self.group

    def to_time(self, symbols: Tensor, filler: Tensor) -> Tensor:
        """[samples] of [n] symbols, by a unitary inverse FFT; the first of ``filler`` fill the last OFDM symbol."""
        import torch

        n = len(symbols)
        padded = torch.cat([symbols, filler[: self.samples(n) - n]]).reshape(-1, self.group)
        return padded.flatten() if self.group == 1 else torch.fft.ifft(padded, norm="ortho").flatten()

    def to_symbols(self, samples: Tensor, n: int) -> Tensor:
        """The first ``n`` symbols of [samples], by a unitary FFT."""
        import torch

        if self.group == 1:
            return samples[:n]
        return torch.fft.fft(samples.reshape(-1, self.group), norm="ortho").flatten()[:n]

    def mean(self, values: Tensor) -> Tensor:
        """[samples]: mean over each OFDM symbol of [n] or [samples] values, those that are there."""
        import torch

        if self.group == 1:
            return values
        missing = self.samples(len(values)) - len(values)
        total = torch.nn.functional.pad(values, (0, missing)).reshape(-1, self.group).sum(dim=1)
        count = torch.full_like(total.real, self.group)
        count[-1] -= missing
        return (total / count).repeat_interleave(self.group)


def qpsk(rng: np.random.Generator, n: int) -> NDArray[np.complex64]:
    """[n] random QPSK symbols of power 1; the first of them do not depend on n."""
    return (1j ** rng.integers(0, 4, n) * np.exp(0.25j * np.pi)).astype(np.complex64)
