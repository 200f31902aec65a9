"""Carrier frequency offset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from channels.base import check_number
from channels.impairments.base import register
from channels.impairments.oscillator import Oscillator

if TYPE_CHECKING:
    from torch import Tensor


@register("cfo", side="transmitter")
class CFO(Oscillator):
    """Carrier frequency offset: the phase turns by 2 pi ``offset`` a symbol, from each pilot on.

    :param offset: what synchronisation left, as a fraction of the symbol rate (of the sample rate with OFDM,
        where the offset in subcarriers is eps = offset * fft and |J_0|^2 is about sinc^2(eps)).
    :param block: symbols per pilot, single carrier only: the phase of the k-th of them is 2 pi offset k, k >= 1.
    """

    def __init__(self, offset: float = 1e-4, block: int = 64) -> None:
        check_number(self.name, "offset", offset, -0.5, 0.5)
        super().__init__(block)
        self.offset = float(offset)

    def phase(self, age: Tensor, draw: Tensor | None) -> Tensor:
        """2 pi offset k."""
        return 2 * np.pi * self.offset * age

    def mean(self, age: Tensor) -> Tensor:
        """e^{j phi}: nothing is random."""
        import torch

        return torch.polar(torch.ones_like(age), self.phase(age, None))
