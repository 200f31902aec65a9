"""Wideband channels: OFDM over 3GPP models."""

from channels.ofdm import cdl, raytraced, sector, tdl  # noqa: F401  (each registers its channels)
from channels.ofdm.wideband import Wideband, WidebandRealisation

__all__ = ["Wideband", "WidebandRealisation"]
