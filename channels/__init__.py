"""The radio: complex symbols in; equalised symbols and their noise variance out. Built on Sionna.

    channel = channels.create("rayleigh", coherence=64)
    y, no = channel(x, snr_db=10, seed=1)            # x: [batch, n] complex64, mean power 1

    link = channels.DigitalLink(channel, modulation="qam16", code_rate=0.5)
    reception = link.send([b"payload"], snr_db=10, seed=1)[0]    # .payload .ok .ledger

torch and sionna are imported at the first use, not here.
"""

from __future__ import annotations

from typing import Any

from channels import flat, mimo, ofdm  # noqa: F401  (each registers its channels)
from channels.base import CHANNELS, Channel
from channels.errors import InputError
from channels.impairments import IMPAIRMENTS, Impaired, impaired
from channels.ledger import Ledger
from channels.links import (
    AdaptiveLink,
    AnalogLink,
    AnalogReception,
    DigitalLink,
    Harq,
    PuschLink,
    Radio,
    Reception,
    envelope,
    nr_mcs,
)
from channels.selftest import Check, selftest

__all__ = [
    "CHANNELS",
    "IMPAIRMENTS",
    "AdaptiveLink",
    "AnalogLink",
    "AnalogReception",
    "Channel",
    "Check",
    "DigitalLink",
    "Harq",
    "Impaired",
    "InputError",
    "Ledger",
    "PuschLink",
    "Radio",
    "Reception",
    "available",
    "create",
    "envelope",
    "impaired",
    "nr_mcs",
    "selftest",
]


def available() -> list[str]:
    """Names of all channels."""
    return sorted(CHANNELS)


def create(name: str, /, **options: Any) -> Channel:
    """Make a channel; an unknown name or option, or a bad value, is an :class:`InputError`."""
    return CHANNELS.create(name, **options)
