"""Where every channel use went."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True)
class Ledger:
    """Channel uses (complex symbols) spent on one message, by purpose; plus the payload bits they carried.

    ``payload`` + ``parity`` + ``crc`` + ``filler`` + ``header`` are the data symbols of the digital part
    (fractions of a symbol are possible, their sum is whole); ``analog`` are the symbols of the analog part;
    ``pilots`` also holds cyclic prefixes and guards; ``retransmissions`` is everything after the first
    attempt.
    """

    payload: float = 0.0
    parity: float = 0.0
    crc: float = 0.0
    filler: float = 0.0
    header: float = 0.0
    analog: float = 0.0
    pilots: float = 0.0
    retransmissions: float = 0.0
    payload_bits: int = 0

    @property
    def channel_uses(self) -> int:
        """Sum of all purposes, in channel uses."""
        return round(sum(astuple(self)[:-1]))

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))
