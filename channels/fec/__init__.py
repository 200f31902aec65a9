"""Forward error correction: from payload bytes to code bits and back."""

from channels.fec import convolutional, polar, uncoded  # noqa: F401  (each registers its code)
from channels.fec.bits import Bits
from channels.fec.codes import CODES, Code, register
from channels.fec.ldpc import LDPC
from channels.fec.segments import (
    LOWEST_RATE,
    MAX_PAYLOAD,
    Grant,
    checksum,
    code,
    code_rate,
    encode,
    grant,
    ldpc,
    payload_of,
)

HIGHEST_RATE = LDPC.highest_rate

__all__ = [
    "CODES",
    "HIGHEST_RATE",
    "LDPC",
    "LOWEST_RATE",
    "MAX_PAYLOAD",
    "Bits",
    "Code",
    "Grant",
    "checksum",
    "code",
    "code_rate",
    "encode",
    "grant",
    "ldpc",
    "payload_of",
    "register",
]
