"""Bits and their sequences: CRC (3GPP TS 38.212, 5.1) and scrambling (TS 38.211, 5.2.1)."""

from __future__ import annotations

import binascii
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint8]

_CRC24A = 0x864CFB


@lru_cache(1)
def _crc24a_table() -> list[int]:
    table = []
    for byte in range(256):
        remainder = byte << 16
        for _ in range(8):
            remainder = (remainder << 1) ^ (_CRC24A if remainder & 0x800000 else 0)
        table.append(remainder & 0xFFFFFF)
    return table


def crc_bytes(payload_bytes: int) -> int:
    """Length in bytes of the CRC of a payload: CRC16 up to 3824 bits, CRC24A above."""
    return 2 if 8 * payload_bytes <= 3824 else 3


def crc(payload: bytes) -> bytes:
    """The CRC that a payload of this length gets."""
    if crc_bytes(len(payload)) == 2:
        return binascii.crc_hqx(payload, 0).to_bytes(2, "big")
    table, remainder = _crc24a_table(), 0
    for byte in payload:
        remainder = ((remainder << 8) & 0xFFFFFF) ^ table[(remainder >> 16) ^ byte]
    return remainder.to_bytes(3, "big")


def to_bits(data: bytes) -> Bits:
    """[8 len(data)] bits, the most significant of each byte first."""
    return np.unpackbits(np.frombuffer(data, np.uint8))


def to_bytes(bits: Bits) -> bytes:
    """The bytes of whole groups of eight bits."""
    return np.packbits(bits).tobytes()


def scrambling(length: int, c_init: int = 1) -> Bits:
    """[length] bits of the Gold sequence c(i) = x1(i + 1600) + x2(i + 1600) mod 2."""
    return np.unpackbits(packed_scrambling(length, c_init), count=length)


def packed_scrambling(length: int, c_init: int = 1) -> Bits:
    """The same sequence, eight bits a byte, the first in the most significant; ``length`` bits or more."""
    return _gold(max(1 << (length - 1).bit_length(), 4096), c_init)


@lru_cache(8)
def _gold(length: int, c_init: int) -> Bits:
    gold = _shift_register(1600 + length, 1, (0, 3))
    gold ^= _shift_register(1600 + length, c_init, (0, 1, 2, 3))
    packed = np.packbits(gold[1600:])
    packed.flags.writeable = False
    return packed


def _shift_register(length: int, state: int, taps: tuple[int, ...]) -> Bits:
    """x(i + 31) = sum of x(i + tap) mod 2, from the 31 bits of ``state``, the least significant first.

    A recurrence over GF(2) also holds with all its lags times 2^j (its polynomial squared j times), so the
    known part grows geometrically instead of bit by bit.
    """
    x = np.zeros(length, np.uint8)
    x[:31] = (state >> np.arange(31)) & 1
    known = 31
    while known < length:
        step = 1 << ((known // 31).bit_length() - 1)
        new = min(known + (31 - max(taps)) * step, length)
        first = known - 31 * step
        lagged = [x[first + tap * step :][: new - known] for tap in taps]
        x[known:new] = np.bitwise_xor.reduce(lagged)
        known = new
    return x
