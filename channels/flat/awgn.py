"""The channel that every textbook starts with."""

from __future__ import annotations

from channels.base import register
from channels.flat.fading import FlatChannel


@register("awgn", family="flat")
class AWGN(FlatChannel):
    """Additive white Gaussian noise: y = x + w, w ~ CN(0, no), no = 10^(-snr_db / 10).

    Capacity: log2(1 + snr) bit per channel use.   [Shannon 1948]
    """

    def __init__(self) -> None:
        pass

    def draw_gains(self, blocks: int, seed: int) -> None:
        """No fading."""
        return None
