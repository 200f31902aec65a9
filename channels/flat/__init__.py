"""Flat channels: one complex gain for a block of symbols."""

from channels.flat import awgn, nakagami, rayleigh, rician  # noqa: F401  (each registers its channel)
from channels.flat.fading import BlockFading, FlatChannel, FlatRealisation

__all__ = ["BlockFading", "FlatChannel", "FlatRealisation"]
