"""From payload bytes to code bits and back: CRC, segmentation, LDPC, scrambling."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil

import numpy as np

from channels.errors import InputError
from channels.fec.bits import Bits, crc, crc_bytes, scrambling, to_bits, to_bytes
from channels.fec.ldpc import LDPC
from channels.ledger import Ledger

MAX_PAYLOAD = 2**20  # bytes
MOTHER_RATE = Fraction(
    1, 5
)  # of 5G LDPC; lower rates repeat its code bits, as the circular buffer of TS 38.212 does
LOWEST_RATE, HIGHEST_RATE = Fraction(1, 100), Fraction(926, 1000)


def code_rate(value: float | Fraction) -> Fraction:
    """The rate as a small fraction, so that block lengths are exact; :class:`InputError` outside the code."""
    if isinstance(value, bool) or not isinstance(value, float | int | Fraction) or not 0 < value < 1:
        raise InputError(f"code_rate must be a number from 1/100 to 0.926, not {value!r}")
    rate = Fraction(value).limit_denominator(4096)
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise InputError(
            f"code_rate must be from 1/100 to 0.926 (5G LDPC, repeated below 1/5), not {value!r}"
        )
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

    @property
    def code_bits(self) -> int:
        """Code bits of all blocks and copies."""
        return self.blocks * self.n * self.copies

    @property
    def symbols(self) -> int:
        """Data symbols, a whole number."""
        return self.code_bits // self.bits_per_symbol

    def ledger(self, channel_uses: int) -> Ledger:
        """Where the symbols go, and the rest of ``channel_uses`` to pilots."""
        payload, check, m = 8 * self.payload_bytes, 8 * crc_bytes(self.payload_bytes), self.bits_per_symbol
        return Ledger(
            payload=payload / m,
            crc=check / m,
            filler=(self.blocks * self.k - payload - check) / m,
            parity=self.blocks * (self.n * self.copies - self.k) / m,
            pilots=channel_uses - self.symbols,
            payload_bits=payload,
        )


@lru_cache(2**16)
def grant(payload_bytes: int, bits_per_symbol: int, rate: Fraction) -> Grant:
    """The segmentation of a payload: as few equal blocks as the code allows, of at most the asked rate.

    The rate also stays just below 12/13: with less parity, short codes cannot start to decode even without
    noise (2z information bits are never sent; found by decoding every even k up to 1400 and many above).
    """
    m, copies = bits_per_symbol, ceil(MOTHER_RATE / rate)
    rate = max(rate, MOTHER_RATE)
    bits = 8 * (payload_bytes + crc_bytes(payload_bytes))
    # Base graph 1 goes up to k = 8448 but not below rate 1/3; base graph 2 up to k = 3840, or 3824 by the
    # rules that choose between them. Both limits here are multiples of 2, 4, 6 and 8.
    largest = 8448 if rate >= Fraction(1, 3) else 3816
    blocks = -(-bits // largest)
    # k is a multiple of m, so that n = 3k or 5k is one too and the rate never falls below that of the code.
    k = m * ceil(Fraction(bits, blocks * m))
    n = m * ceil(max(k / rate, k * Fraction(13, 12) + 1) / m)
    return Grant(payload_bytes, m, blocks, k, n, copies)


def encode(payloads: Sequence[bytes], shape: Grant) -> Bits:
    """[batch, code bits] scrambled code bits of payloads that all have the length of ``shape``."""
    k, blocks = shape.k, shape.blocks
    bits = np.zeros((len(payloads), blocks * k), np.uint8)
    for row, payload in zip(bits, payloads, strict=True):
        sent = to_bits(payload + crc(payload))
        row[: len(sent)] = sent
    code = ldpc(k, shape.n, shape.bits_per_symbol).encode(bits.reshape(-1, k))
    sent_bits = np.tile(code.reshape(len(payloads), -1), shape.copies)
    scrambled: Bits = sent_bits ^ scrambling(shape.code_bits)
    return scrambled


def payload_of(bits: Bits, payload_bytes: int) -> tuple[bytes, bool]:
    """The payload in decoded information bits, and the verdict of its CRC."""
    data = to_bytes(bits[: 8 * (payload_bytes + crc_bytes(payload_bytes))])
    payload, check = data[:payload_bytes], data[payload_bytes:]
    return payload, crc(payload) == check


_codes: OrderedDict[tuple[int, int, int], LDPC] = OrderedDict()
_KEPT = 2**22  # code bits of all codes kept, whose graphs take about 40 bytes a bit


def ldpc(k: int, n: int, bits_per_symbol: int) -> LDPC:
    """The code, built once; the least recently used are forgotten when all take too much memory."""
    key = (k, n, bits_per_symbol)
    if key not in _codes:
        _codes[key] = LDPC(*key)
        while len(_codes) > 1 and sum(n for _, n, _ in _codes) > _KEPT:
            _codes.popitem(last=False)
    _codes.move_to_end(key)
    return _codes[key]
