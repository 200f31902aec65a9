"""Payloads on their way: what every way of delivering them starts from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channels.base import Channel
from channels.fec import Grant

_CHUNK = 2**22  # code bits in flight at once, which bounds the memory


@dataclass(frozen=True)
class Sending:
    """Payloads, one a row, each with its grant, SNR [dB] and seed, and the channel that they all cross."""

    channel: Channel
    payloads: Sequence[bytes]
    grants: Sequence[Grant]
    snr_db: NDArray[np.float64]
    seeds: Sequence[int]

    def groups(self, rows: Sequence[int]) -> Iterator[tuple[Grant, list[int]]]:
        """Rows of equal grants, which share tensors."""
        same: dict[Grant, list[int]] = defaultdict(list)
        for row in rows:
            same[self.grants[row]].append(row)
        yield from same.items()


@dataclass(frozen=True)
class Delivery:
    """What the receiver has of one payload: bytes of the sent length, and its verdict on them.

    ``attempts`` is how often it was sent: more than once with HARQ, and not at all if it cannot meet its deadline.
    """

    payload: bytes
    ok: bool
    attempts: int = 1


def chunks(grants: Sequence[Grant], attempts: int = 1) -> Iterator[list[int]]:
    """All rows, those of like codes together, in parts of bounded size.

    :param attempts: how many attempts of a payload are in memory together.
    """
    chunk: list[int] = []
    size = 0
    for row in sorted(range(len(grants)), key=lambda r: _likeness(grants[r], r)):
        bits = grants[row].code_bits * attempts
        if chunk and size + bits > _CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += bits
    if chunk:
        yield chunk


def _likeness(grant: Grant, row: int) -> tuple[int, ...]:
    return grant.bits_per_symbol, grant.k, grant.n, row
