"""Wideband channels: OFDM over 3GPP models."""
