"""Hardware that is not ideal, as wrappers around any channel.

channel = impaired(channels.create("rayleigh"), [{"name": "pa", "backoff_db": 3}, "phase-noise"])
"""

from channels.impairments import (  # noqa: F401  (each registers its impairment)
    adc,
    cfo,
    interference,
    iq,
    pa,
    phase_noise,
)
from channels.impairments.base import IMPAIRMENTS, Distorted, Hardware, Impairment
from channels.impairments.specs import impaired
from channels.impairments.wrapper import Impaired, ImpairedRealisation

__all__ = [
    "IMPAIRMENTS",
    "Distorted",
    "Hardware",
    "Impaired",
    "ImpairedRealisation",
    "Impairment",
    "impaired",
]
