"""Flat channels: one complex gain for each symbol, or for a block of them."""

from channels.flat import awgn, bsc, erasure, jakes, nakagami, rayleigh, rician, trace  # noqa: F401  (they register)
from channels.flat.csi import PilotFading
from channels.flat.fading import BlockFading, FlatChannel, FlatRealisation
from channels.flat.trace import write_trace

__all__ = ["BlockFading", "FlatChannel", "FlatRealisation", "PilotFading", "write_trace"]
