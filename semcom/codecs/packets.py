"""How a code that dies with one wrong bit is put into packets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from channels.errors import unknown
from semcom.types import Budget, Packet

Packets = Literal["one", "resilient"]
SPARE = 3  # a spare packet may take one part in so many of the budget


class Packing:
    """*One* packet, which is an outage when it is lost, or *resilient*: a spare packet behind it.

    The spare holds the same image at the highest rate that fits a third of the budget (at the lowest rate where none
    does), the first at the highest that fits the rest. Each meets a fade of its own. Where two packets do not fit there
    is one.

    :param packets: "one" or "resilient"
    """

    def __init__(self, packets: str) -> None:
        if packets not in get_args(Packets):
            raise unknown("packets", packets, get_args(Packets))
        self.most = 2 if packets == "resilient" else 1

    def pack(self, best: Callable[[int], bytes | None], lowest: bytes, budget: Budget) -> tuple[Packet, ...]:
        """The packets of one image; none where nothing fits.

        :param best: gives the code of the highest rate of at most so many bytes, None where none is that short
        :param lowest: the code of the lowest rate
        """
        if self.most == 2:
            spare = best(budget.packet_bytes(SPARE)) or lowest
            if code := best(budget.packet_bytes(beside=len(spare))):
                return Packet(code), Packet(spare)
        code = best(budget.packet_bytes())
        return () if code is None else (Packet(code),)


__all__ = ["Packets", "Packing"]
