"""Links: bytes or analog symbols over a channel, with an account of every channel use."""

from channels.links.analog import AnalogLink
from channels.links.digital import CODINGS, PROTECTIONS, DigitalLink
from channels.links.reception import AnalogReception, Reception

__all__ = ["CODINGS", "PROTECTIONS", "AnalogLink", "AnalogReception", "DigitalLink", "Reception"]
