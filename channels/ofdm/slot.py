"""A row over a wideband channel, and the slots that it crosses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from channels.draws import complex_normal
from channels.ofdm.grid import DATA

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class WidebandRealisation:
    """Rows of ``n`` symbols by their seeds: channel and noise are drawn from them when they are needed."""

    n: int
    seeds: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Slot:
    """One slot: the symbols of the message that it carries, and what they meet.

    ``h``: [14, used, R, T] complex64; uplink and one user: R receive antennas, T transmit antennas or users;
    downlink to several users: R users, T transmit antennas. ``noise``: [14, used, receive antennas] at unit variance;
    ``others``: [data, streams or users] unit-power symbols that are not the message's.
    """

    message: slice
    h: Tensor
    noise: Tensor
    others: Tensor
    seed: int
    number: int

    @property
    def count(self) -> int:
        """Symbols of the message."""
        return self.message.stop - self.message.start

    @property
    def data(self) -> Tensor:
        """[data, R, T]: the channel of the data, frequency first."""
        return self.h[list(DATA)].flatten(0, 1)


def normal(rng: np.random.Generator, *shape: int) -> Tensor:
    """CN(0, 1) of that shape."""
    import torch

    return torch.from_numpy(complex_normal(rng, int(np.prod(shape))).reshape(shape))
