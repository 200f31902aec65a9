"""Forward error correction: from payload bytes to code bits and back."""

from channels.fec.ldpc import LDPC
from channels.fec.segments import (
    HIGHEST_RATE,
    LOWEST_RATE,
    MAX_PAYLOAD,
    Grant,
    code_rate,
    encode,
    grant,
    ldpc,
    payload_of,
)

__all__ = [
    "HIGHEST_RATE",
    "LDPC",
    "LOWEST_RATE",
    "MAX_PAYLOAD",
    "Grant",
    "code_rate",
    "encode",
    "grant",
    "ldpc",
    "payload_of",
]
