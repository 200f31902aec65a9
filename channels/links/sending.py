"""Payloads on their way: what every way of delivering them starts from."""

from __future__ import annotations

import numbers
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channels.base import Channel
from channels.errors import InputError
from channels.fec import MAX_PAYLOAD, Grant

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


def packets(payloads: object, protection: object) -> tuple[list[bytes], list[str]]:
    """The payloads, which may be of any bytes-like type, and the protection of each.

    :raises InputError: unless both are lists of the right things.
    """
    if not isinstance(payloads, Sequence) or isinstance(payloads, str | bytes | bytearray):
        raise InputError(f"payloads must be a list of bytes, not {type(payloads).__name__}")
    for row, payload in enumerate(payloads):
        if not isinstance(payload, bytes | bytearray | memoryview):
            raise InputError(f"payload {row} must be bytes, not {payload!r}")
    sent = [bytes(payload) for payload in payloads]
    if protection is None:
        return sent, ["payload"] * len(sent)
    if not isinstance(protection, Sequence) or isinstance(protection, str):
        raise InputError(f"protection must be a list of one class a payload, not {protection!r}")
    if len(protection) != len(sent):
        raise InputError(f"protection has {len(protection)} entries for {len(sent)} payloads")
    return sent, list(protection)


def check_length(payload_bytes: object) -> int:
    """The length of a payload; :class:`InputError` unless it is one that can be sent."""
    whole = isinstance(payload_bytes, numbers.Integral) and not isinstance(payload_bytes, bool)
    if not whole or not 1 <= int(payload_bytes) <= MAX_PAYLOAD:  # type: ignore[call-overload]
        raise InputError(f"a payload has 1 to {MAX_PAYLOAD} bytes, not {payload_bytes!r}")
    return int(payload_bytes)  # type: ignore[call-overload, no-any-return]


def check_uses(channel_uses: object) -> int:
    """A number of channel uses, also one too small for anything; :class:`InputError` unless it is whole."""
    if isinstance(channel_uses, bool) or not isinstance(channel_uses, numbers.Integral):
        raise InputError(f"channel_uses must be a whole number, not {channel_uses!r}")
    return int(channel_uses)


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
