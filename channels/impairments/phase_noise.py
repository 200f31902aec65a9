"""Phase noise of free-running oscillators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from channels.base import check_number
from channels.draws import generator
from channels.impairments.base import register
from channels.impairments.oscillator import Oscillator

if TYPE_CHECKING:
    from torch import Tensor


@register("phase-noise", side="transmitter")
class PhaseNoise(Oscillator):
    """Wiener phase noise: the phase walks at random, by a variance of 2 pi ``linewidth`` a symbol.

    k symbols after a pilot E e^{j phi} = exp(-pi linewidth k).   [Demir, Mehrotra & Roychowdhury 2000]

    :param linewidth: 3-dB width of the carriers' spectrum, both oscillators together, as a fraction of the symbol
        rate (of the sample rate with OFDM).
    :param block: symbols per pilot, single carrier only.
    """

    def __init__(self, linewidth: float = 1e-4, block: int = 64) -> None:
        check_number(self.name, "linewidth", linewidth, 0, 1)
        super().__init__(block)
        self.linewidth = float(linewidth)

    def draw(self, n: int, seed: int, stream: str) -> Tensor:
        """The phase's steps, [n] float32."""
        import torch

        steps = generator(seed, stream).standard_normal(n, np.float32)
        return torch.from_numpy(steps * np.float32((2 * np.pi * self.linewidth) ** 0.5))

    def phase(self, age: Tensor, draw: Tensor | None) -> Tensor:
        """Sum of the steps since the pilot."""
        assert draw is not None
        return draw.cumsum(dim=1)

    def mean(self, age: Tensor) -> Tensor:
        """exp(-pi linewidth k)."""
        import torch

        return (-np.pi * self.linewidth * age).exp().to(torch.complex128)
