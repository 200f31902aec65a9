"""Links: bytes or analog symbols over a channel, with an account of every channel use."""

from channels.links.adaptive import AdaptiveLink, envelope
from channels.links.analog import AnalogLink
from channels.links.digital import CODINGS, PROTECTIONS, DigitalLink
from channels.links.harq import Harq
from channels.links.pusch import PuschLink, nr_mcs
from channels.links.radio import Radio
from channels.links.reception import AnalogReception, Reception

__all__ = [
    "CODINGS",
    "PROTECTIONS",
    "AdaptiveLink",
    "AnalogLink",
    "AnalogReception",
    "DigitalLink",
    "Harq",
    "PuschLink",
    "Radio",
    "Reception",
    "envelope",
    "nr_mcs",
]
