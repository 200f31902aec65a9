"""Packets that arrive or do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from channels.base import check_number, register
from channels.draws import generator
from channels.flat.fading import FLOOR, BlockFading

if TYPE_CHECKING:
    from torch import Tensor


@register("erasure", family="erasure")
class Erasure(BlockFading):
    """Packet erasure: each ``coherence`` symbols are lost with probability ``loss``; the rest sees AWGN.

    The receiver knows which are lost: they arrive 200 dB down, so that their noise variance is finite but tells
    nothing. The SNR is that of what arrives. Capacity: (1 - loss) log2(1 + snr) bit per channel use.
    [Elias 1955, on the erasure of bits]
    """

    def __init__(self, loss: float = 0.1, coherence: int | None = None) -> None:
        super().__init__(coherence)
        check_number(self.name, "loss", loss, 0, 1)
        self.loss = float(loss)

    def draw_gains(self, blocks: int, seed: int) -> NDArray[np.complex64]:
        """1, or -200 dB for what is lost."""
        lost = generator(seed, "fading").random(blocks) < self.loss
        return np.where(lost, FLOOR**0.5, 1).astype(np.complex64)

    def gain(self, n: int, seeds: Sequence[int]) -> Tensor:
        """One: the power gain of what arrives, of which the SNR speaks."""
        import torch

        return torch.ones(len(seeds))
