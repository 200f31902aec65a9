"""The resource grid of one slot: what carries data, what carries pilots, and what it all costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

SYMBOLS = 14  # OFDM symbols of a slot   [3GPP TS 38.211, table 4.3.2-1]
PILOTS = (2, 11)  # those that carry pilots, on all used subcarriers
DATA = tuple(t for t in range(SYMBOLS) if t not in PILOTS)


@dataclass(frozen=True)
class Grid:
    """A slot of 14 OFDM symbols. Guard carriers (the odd one on the left) and the carrier at DC are silent.

    In OFDM symbols 2 and 11 the pilots of the ``combs`` streams or users take turns on the used subcarriers
    (Kronecker pattern), so that they do not collide; the other 12 symbols carry data on all used subcarriers.
    """

    subcarriers: int
    guard_carriers: int
    cyclic_prefix: int
    combs: int

    @cached_property
    def used(self) -> NDArray[np.int64]:
        """Indices of the used subcarriers, from the lowest frequency up."""
        left, right = -(-self.guard_carriers // 2), self.guard_carriers // 2
        inside = np.arange(left, self.subcarriers - right)
        return inside[inside != self.subcarriers // 2]

    @cached_property
    def data(self) -> int:
        """Resource elements of a slot that carry data."""
        return len(DATA) * len(self.used)

    @property
    def slot_uses(self) -> int:
        """Channel uses of a slot: pilots, guard carriers, DC and cyclic prefix included."""
        return SYMBOLS * (self.subcarriers + self.cyclic_prefix)

    def slots(self, n: int, streams: int) -> int:
        """Slots that ``n`` data symbols on ``streams`` streams touch."""
        return -(-n // (self.data * streams))

    def uses(self, n: int, streams: int, charge: str) -> int:
        """Channel uses of ``n`` data symbols: whole slots, or ("shared") their share of the slots' cost."""
        if charge == "slots":
            return self.slots(n, streams) * self.slot_uses
        return -(-n * self.slot_uses // (self.data * streams))

    @cached_property
    def over_time(self) -> NDArray[np.float64]:
        """[data symbols, pilot symbols] weights of linear interpolation over time."""
        return linear(np.array(DATA), np.array(PILOTS))

    def over_frequency(self, comb: int) -> NDArray[np.float64]:
        """[used, pilots] weights of linear interpolation over frequency from the pilots of one comb."""
        return linear(self.used, self.used[comb :: self.combs])


def linear(wanted: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.float64]:
    """[wanted, known] weights of linear interpolation, and of extrapolation beyond the outermost known points."""
    weights = np.zeros((len(wanted), len(known)))
    if len(known) == 1:
        return weights + 1
    left = np.clip(np.searchsorted(known, wanted, side="right") - 1, 0, len(known) - 2)
    share = (wanted - known[left]) / (known[left + 1] - known[left])
    rows = np.arange(len(wanted))
    weights[rows, left], weights[rows, left + 1] = 1 - share, share
    return weights
