"""The whole numbers of a hyperprior's latent as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semcom.codecs.entropy import Tables
from semcom.codecs.entropy.coder import TOTAL

STRIDE = 8  # pixels a cell of the latent grid is wide and high
HYPER = 4  # latent cells a cell of the hyper-latent grid is wide and high

Ints = NDArray[np.int64]
Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Latent:
    """What a code carries of one image."""

    rate: int
    z: Ints  # [hyper, ceil(h / 4), ceil(w / 4)]
    symbols: Ints  # [latent, h, w], quantised distances from the mean that z says


class Network(Protocol):
    """What says, on both ends alike, under which deviation each symbol is coded."""

    latent: int
    hyper: int

    def levels(self, z: Ints, rate: int, grid: Size) -> Ints:
        """Row of each symbol in the Gaussian's tables, ``[latent, h, w]``; row 0: not coded, 0."""
        ...


class Streams:
    """Codes of latents.

    One row codes the rate, one for each channel z, the others symbols. A range coder reads from the front, so rate and
    z are decoded first and say how to read on.

    :param rates: how many there are
    :param hyper: tables of z, one row for each channel
    :param prior: tables of symbols, one row for each deviation; of the same reach
    """

    def __init__(self, network: Network, rates: int, hyper: Tables, prior: Tables) -> None:
        self._network, self._rates, self._reach = network, rates, hyper.reach
        first = np.ones((1, hyper.counts.shape[1]), np.int64)
        first[0, :rates] += (TOTAL - first.sum()) // rates
        first[0, 0] += TOTAL - first.sum()
        self._tables = Tables(np.concatenate([first, hyper.counts, prior.counts]))

    def encode(self, latent: Latent) -> bytes:
        """All of it in one code."""
        rows = self._rows(latent.z, latent.rate, _grid(latent.symbols))
        values, head = self._head(latent)
        coded = rows > 0
        return self._tables.encode(
            np.concatenate([values, latent.symbols[coded]]), np.concatenate([head, rows[coded]])
        )

    def decode(self, code: bytes, size: Size) -> Latent | None:
        """The latent of an image of ``size`` (height, width); None where the bytes are no code. Never raises."""
        found = self._decode_head(code, size)
        if found is None:
            return None
        rows = self._rows(found.z, found.rate, _grid(found.symbols))
        _, head = self._head(found)
        values = self._tables.decode(code, np.concatenate([head, rows[rows > 0]]))
        if values is None:
            return None
        found.symbols[rows > 0] = values[len(head) :]
        return found

    def _decode_head(self, code: bytes, size: Size) -> Latent | None:
        """Rate and z from the front of a code, all symbols 0."""
        h, w = (-(-n // STRIDE) for n in size)
        z = np.zeros((self._network.hyper, -(-h // HYPER), -(-w // HYPER)), np.int64)
        values = self._tables.decode(code, self._head(Latent(0, z, z))[1]) if code else None
        if values is None or not 0 <= (rate := int(values[0]) + self._reach) < self._rates:
            return None
        return Latent(rate, values[1:].reshape(z.shape), np.zeros((self._network.latent, h, w), np.int64))

    def _head(self, latent: Latent) -> tuple[Ints, Ints]:
        """Values and rows of rate and z."""
        channels = 1 + np.arange(len(latent.z)).repeat(latent.z[0].size)
        values = np.concatenate([[latent.rate - self._reach], latent.z.ravel()])
        return values, np.concatenate([[0], channels])

    def _rows(self, z: Ints, rate: int, grid: Size) -> Ints:
        """Row of each symbol; 0 where it is not coded."""
        level = self._network.levels(z, rate, grid)
        return np.where(level > 0, 1 + len(z) + level, 0)


def _grid(symbols: Ints) -> Size:
    return symbols.shape[1], symbols.shape[2]
