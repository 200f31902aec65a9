"""Flat Nakagami-m block fading."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channels.base import check_number, register
from channels.draws import generator
from channels.flat.csi import PilotFading


@register("nakagami", family="flat")
class Nakagami(PilotFading):
    """Nakagami-m block fading: |h|^2 ~ Gamma(m, 1/m), uniform phase.

    m = 1 is Rayleigh, m -> inf is AWGN; m >= 1/2.   [Simon & Alouini 2005, sec. 2.2.1.4]
    """

    def __init__(
        self,
        m: float = 2.0,
        coherence: int | None = None,
        csi: str = "perfect",
        pilots: int | None = None,
    ) -> None:
        super().__init__(coherence, csi, pilots)
        check_number(self.name, "m", m, 0.5, 1e6)
        self.m = float(m)

    def draw_gains(self, blocks: int, seed: int) -> NDArray[np.complex64]:
        """Gamma power and uniform phase, each from its own stream: gamma draws consume a random amount."""
        power = generator(seed, "fading").standard_gamma(self.m, blocks) / self.m
        phase = generator(seed, "phase").uniform(0, 2 * np.pi, blocks)
        return (np.sqrt(power) * np.exp(1j * phase)).astype(np.complex64)
