"""Flat Rician block fading: a line of sight and scatter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channels.base import check_number, register
from channels.draws import complex_normal, generator
from channels.flat.csi import PilotFading


@register("rician", family="flat")
class Rician(PilotFading):
    """Rician block fading: a line of sight ``k_db`` [dB] above the scattered power.

    h = sqrt(K / (K + 1)) + sqrt(1 / (K + 1)) CN(0, 1), K = 10^(k_db / 10).
    [Tse & Viswanath 2005, sec. 2.4.2]
    """

    def __init__(
        self,
        k_db: float = 6.0,
        coherence: int | None = None,
        csi: str = "perfect",
        pilots: int | None = None,
    ) -> None:
        check_number(self.name, "k_db", k_db, -100, 100)
        self.k_db = float(k_db)
        super().__init__(coherence, csi, pilots)

    @property
    def mean(self) -> float:
        """sqrt(K / (K + 1)), the line of sight."""
        k = 10 ** (self.k_db / 10)
        return float(np.sqrt(k / (k + 1)))

    def draw_gains(self, blocks: int, seed: int) -> NDArray[np.complex64]:
        """Line of sight plus scatter."""
        k = 10 ** (self.k_db / 10)
        scatter = complex_normal(generator(seed, "fading"), blocks)
        return (self.mean + scatter * np.sqrt(1 / (k + 1))).astype(np.complex64)
