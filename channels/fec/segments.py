"""From payload bytes to code bits and back: CRC, segmentation, code, scrambling."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Any, cast

import numpy as np

from channels.errors import InputError
from channels.fec.bits import Bits, crc, crc_bytes, scrambling, to_bits, to_bytes
from channels.fec.codes import CODES, Code
from channels.fec.ldpc import LDPC
from channels.ledger import Ledger

MAX_PAYLOAD = 2**20  # bytes
_MASK = b"\x5a\xc3\x96"
LOWEST_RATE = Fraction(1, 100)  # of any code, by repetition


def code_rate(value: float | Fraction | None, code: str = "ldpc") -> Fraction:
    """The rate as a small fraction, so that block lengths are exact; None is the code's default.

    :raises InputError: for rates that the code does not have.
    """
    kind = _kind(code)
    if value is None:
        return kind.default_rate
    allowed = (
        f"code_rate must be a number from 1/100 to {float(kind.highest_rate):g} ({code}; repeated below "
    )
    wrong = InputError(f"{allowed}{kind.mother_rate}), not {value!r}")
    if isinstance(value, bool) or not isinstance(value, float | int | Fraction) or not 0 < value < 2:
        raise wrong
    rate = Fraction(value).limit_denominator(4096)
    if not LOWEST_RATE <= rate <= kind.highest_rate:
        raise wrong
    return rate


@dataclass(frozen=True)
class Grant:
    """How one payload is cut into ``blocks`` code blocks of k information and n code bits each.

    All code bits are sent ``copies`` times, one whole copy after the other, and combined before decoding. Both
    ends know it: the receiver is scheduled. Known zeros fill the last block.
    """

    payload_bytes: int
    bits_per_symbol: int
    blocks: int
    k: int
    n: int
    copies: int = 1
    code: str = "ldpc"

    @property
    def code_bits(self) -> int:
        """Code bits of all blocks and copies."""
        return self.blocks * self.n * self.copies

    @property
    def symbols(self) -> int:
        """Data symbols, a whole number."""
        return self.code_bits // self.bits_per_symbol

    def ledger(self, channel_uses: int, data_uses: int) -> Ledger:
        """Where the ``data_uses`` that carry the symbols go, and the rest of ``channel_uses`` to pilots."""
        payload, check = 8 * self.payload_bytes, 8 * crc_bytes(self.payload_bytes)
        m = self.code_bits / data_uses  # code bits of a channel use, over all streams
        return Ledger(
            payload=payload / m,
            crc=check / m,
            filler=(self.blocks * self.k - payload - check) / m,
            parity=self.blocks * (self.n * self.copies - self.k) / m,
            pilots=channel_uses - data_uses,
            payload_bits=payload,
        )


@lru_cache(2**16)
def grant(payload_bytes: int, bits_per_symbol: int, rate: Fraction, code: str = "ldpc") -> Grant:
    """The segmentation of a payload: as few equal blocks as the code allows, of at most the asked rate.

    Below the code's mother rate, the least number of copies of a code of a higher rate.
    """
    kind = _kind(code)
    copies = ceil(kind.mother_rate / rate)
    bits = 8 * (payload_bytes + crc_bytes(payload_bytes))
    blocks, k, n = kind.cut(bits, bits_per_symbol, min(rate * copies, kind.highest_rate))
    return Grant(payload_bytes, bits_per_symbol, blocks, k, n, copies, code)


def encode(payloads: Sequence[bytes], shape: Grant, version: int = 0) -> Bits:
    """[batch, code bits] scrambled code bits of payloads that all have the length of ``shape``.

    :param version: redundancy version 0 to 3 of an LDPC code; the others have version 0 alone.
    """
    k, blocks = shape.k, shape.blocks
    bits = np.zeros((len(payloads), blocks * k), np.uint8)
    for row, payload in zip(bits, payloads, strict=True):
        sent = to_bits(payload + checksum(payload))
        row[: len(sent)] = sent
    encoder = code(shape) if version == 0 else ldpc(k, shape.n, shape.bits_per_symbol, (version,))
    sent_bits = encoder.encode(bits.reshape(-1, k)).reshape(len(payloads), -1)
    if shape.copies > 1:
        sent_bits = np.tile(sent_bits, shape.copies)
    sent_bits ^= scrambling(shape.code_bits)
    return sent_bits


def payload_of(bits: Bits, payload_bytes: int) -> tuple[bytes, bool]:
    """The payload in decoded information bits, and the verdict of its CRC."""
    data = to_bytes(bits[: 8 * (payload_bytes + crc_bytes(payload_bytes))])
    payload, check = data[:payload_bytes], data[payload_bytes:]
    return payload, checksum(payload) == check


def checksum(payload: bytes) -> bytes:
    """The CRC, masked as TS 38.212 masks that of control information with the receiver's identity.

    Without a mask, zeros pass their CRC, and zeros are what some decoders make of a signal that never came.
    """
    return bytes(a ^ b for a, b in zip(crc(payload), _MASK, strict=False))


def code(shape: Grant) -> Code:
    """The code of a grant's blocks."""
    return _built(shape.code, shape.k, shape.n, shape.bits_per_symbol)


def ldpc(k: int, n: int, bits_per_symbol: int, versions: tuple[int, ...] = (0,)) -> LDPC:
    """The LDPC code of those redundancy versions."""
    options = () if versions == (0,) else (versions,)
    return cast(LDPC, _built("ldpc", k, n, bits_per_symbol, *options))


_codes: OrderedDict[tuple[Any, ...], Code] = OrderedDict()
_KEPT = 2**22  # code bits of all codes kept, whose graphs take about 40 bytes a bit


def _built(*key: Any) -> Code:
    """The code, built once; the least recently used are forgotten when all take too much memory."""
    if key not in _codes:
        _codes[key] = CODES[key[0]].make(*key[1:])
        while len(_codes) > 1 and sum(n for _, _, n, *_ in _codes) > _KEPT:
            _codes.popitem(last=False)
    _codes.move_to_end(key)
    return _codes[key]


def _kind(code: str) -> type[Code]:
    return cast("type[Code]", CODES.find(code).make)
