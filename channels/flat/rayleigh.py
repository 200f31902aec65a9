"""Flat Rayleigh block fading."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channels.base import register
from channels.draws import complex_normal, generator
from channels.flat.csi import PilotFading


@register("rayleigh", family="flat")
class Rayleigh(PilotFading):
    """Rayleigh block fading: h ~ CN(0, 1) per ``coherence`` symbols.

    Outage: P(|h|^2 < t) = 1 - exp(-t).   [Tse & Viswanath 2005, sec. 2.4]
    """

    def draw_gains(self, blocks: int, seed: int) -> NDArray[np.complex64]:
        """CN(0, 1)."""
        return complex_normal(generator(seed, "fading"), blocks)
