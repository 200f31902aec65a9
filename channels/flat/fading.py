"""Flat channels: one complex gain for a block of symbols."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from channels.base import Channel, check_number
from channels.draws import complex_normal, generator
from channels.modem import modem

if TYPE_CHECKING:
    from torch import Tensor


_SLICE = 2**20  # symbols demapped at once
FLOOR = 1e-20  # power gain that counts as none; finite noise in float32 even at -150 dB


@dataclass(frozen=True, eq=False)
class FlatRealisation:
    """Gains (None: all one) and unit-variance noise of a flat channel, each [batch, n] complex64.

    ``pilots``: unit-variance noise of what the pilots of each symbol's block say, where there are pilots.
    """

    gains: Tensor | None
    noise: Tensor
    pilots: Tensor | None = None


class FlatChannel(Channel):
    """One complex gain h per block of ``coherence`` symbols (None: the whole row), known to the receiver.

    The receiver divides by h, so that y = x + sqrt(no) w / h with effective noise variance no / |h|^2; for
    one antenna this loses nothing against joint detection. A subclass says in :meth:`draw_gains` how h is
    distributed.
    """

    coherence: int | None = None

    @abstractmethod
    def draw_gains(self, blocks: int, seed: int) -> NDArray[np.complex64] | None:
        """The gains of ``blocks`` consecutive blocks, E|h|^2 = 1; None for no fading."""

    def realise(self, n: int, seeds: Sequence[int]) -> FlatRealisation:
        """Draw gains and noise, row by row."""
        import torch

        noise = np.empty((len(seeds), n), np.complex64)
        length = self.coherence or n
        gains = []
        for row, seed in enumerate(seeds):
            noise[row] = complex_normal(generator(seed, "noise"), n)
            h = self.draw_gains(-(-n // length), seed)
            if h is not None:
                gains.append(h)
        blocks = torch.from_numpy(np.stack(gains)) if gains else None
        if blocks is not None:  # a single gain is not written out
            blocks = blocks.expand(-1, n) if length >= n else blocks.repeat_interleave(length, 1)[:, :n]
        return FlatRealisation(blocks, torch.from_numpy(noise))

    def apply(self, x: Tensor, realisation: FlatRealisation, no: Tensor) -> tuple[Tensor, Tensor]:
        """y = x + sqrt(no) w / h, and no / |h|^2."""
        w = realisation.noise.to(x.device)
        if realisation.gains is None:
            return x + no.sqrt() * w, no.expand(x.shape).contiguous()
        return equalise(x, w, no.sqrt(), realisation.gains.to(x.device), no)

    def soft(self, x: Tensor, realisation: FlatRealisation, no: Tensor, bits: int) -> Tensor:
        """LLRs [batch, n * bits], slice by slice, so that a long payload's symbols are not in memory many times."""
        import torch

        llr = torch.empty(len(x), x.shape[1] * bits)
        fields = realisation.gains, realisation.noise, realisation.pilots
        for first in range(0, x.shape[1], _SLICE):
            part = slice(first, first + _SLICE)
            met = FlatRealisation(*(None if field is None else field[:, part] for field in fields))  # type: ignore[arg-type]
            llr[:, first * bits : (first + _SLICE) * bits] = modem(bits).demap(
                *self.apply(x[:, part], met, no)
            )
        return llr

    def capacity(self, n: int, realisation: FlatRealisation, no: Tensor) -> Tensor:
        """log2(1 + |h|^2 / no) of the true gains, whatever the receiver knows of them."""
        import torch

        h = realisation.gains
        power = torch.ones(len(no), n) if h is None else h.real.square() + h.imag.square()
        return torch.log1p(power / no) / math.log(2)


def equalise(x: Tensor, w: Tensor, scale: Tensor, h: Tensor, no: Tensor) -> tuple[Tensor, Tensor]:
    """Division by the gain ``h`` that the receiver knows: x + scale w / h, and no / |h|^2."""
    import torch

    # The floor keeps a gain of zero finite; P(|h|^2 < 1e-20) is 1e-20 for Rayleigh fading. Complex products are
    # written out because torch rounds them differently at the end of a tensor, so a batch split would show.
    power = (h.real.square() + h.imag.square()).clamp_min(FLOOR)
    scale = scale / power
    real = (w.real * h.real + w.imag * h.imag) * scale
    imag = (w.imag * h.real - w.real * h.imag) * scale
    return x + torch.complex(real, imag), no / power


class BlockFading(FlatChannel):
    """``coherence``: symbols that share one gain; None: the whole payload does."""

    def __init__(self, coherence: int | None = None) -> None:
        if coherence is not None:
            check_number(self.name, "coherence", coherence, 1, whole=True)
        self.coherence = coherence
