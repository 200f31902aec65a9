"""Uniform quantisation of real vectors, packed to whole bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.errors import InputError

Array = NDArray[np.float32]
Codes = NDArray[np.uint8]

# Step of the uniform quantiser of 2^bits levels that has the least mean squared error for a standard Gaussian
# (Max, "Quantizing for minimum distortion", 1960, table II, which ends at 36 levels; 8 bits computed
# likewise).
GAUSSIAN_STEP = {1: 1.5957691, 2: 0.9956867, 4: 0.3352006, 8: 0.0307624}


def quantise(values: ArrayLike, bits: int, step: float) -> Codes:
    """Nearest of the 2^bits levels that lie ``step`` apart, symmetric about 0.

    The outer levels take what is beyond them; NaN counts as 0.
    """
    half = 1 << (bits - 1)
    cells = np.floor(np.nan_to_num(np.asarray(values, np.float64), posinf=1e30, neginf=-1e30) / step)
    return (np.clip(cells, -half, half - 1) + half).astype(np.uint8)


def dequantise(codes: Codes, bits: int, step: float) -> Array:
    """The levels of the codes."""
    return ((codes.astype(np.float32) - ((1 << (bits - 1)) - 0.5)) * step).astype(np.float32)


def pack(codes: Codes, bits: int) -> bytes:
    """Codes of ``bits`` bits one after the other, most significant bit first, zeros up to a whole byte."""
    spread = np.unpackbits(np.ravel(codes)[:, None], axis=1)[:, 8 - bits :]
    return np.packbits(spread).tobytes()


def unpack(data: bytes, bits: int, count: int) -> Codes:
    """The first ``count`` codes; ``data`` must hold that many."""
    spread = np.unpackbits(np.frombuffer(data, np.uint8), count=count * bits).reshape(count, bits)
    return np.packbits(np.pad(spread, ((0, 0), (8 - bits, 0))), axis=1).ravel()


class AffineQuantiser:
    """Vectors [n, d] to bytes and back, around a mean and in units of a scale that both ends know.

    The step is the best one for Gaussian data: 8 bits reach to 3.9 sigma, 4 bits to 2.7, 2 bits to 2.0; 1 bit
    sends the sign. A vector costs ``d * bits`` bits; several in one call share the last byte.

    :param mean: [d], the middle of each dimension.
    :param scale: [d], the standard deviation of each dimension; 0 marks a dimension that never varies.
    :param bits: 1, 2, 4 or 8 for each number.
    """

    def __init__(self, mean: ArrayLike, scale: ArrayLike, bits: int) -> None:
        if bits not in GAUSSIAN_STEP or isinstance(bits, bool):
            raise InputError(f"bits: {bits!r} is not one of {', '.join(map(str, sorted(GAUSSIAN_STEP)))}")
        self.mean = np.asarray(mean, np.float32)
        self.scale = np.asarray(scale, np.float32)
        self.bits = bits
        self.step = GAUSSIAN_STEP[bits]

    def bytes_for(self, vectors: int) -> int:
        """How many bytes that many vectors take."""
        return -(-vectors * len(self.mean) * self.bits // 8)

    def vectors_in(self, data_bytes: int) -> int:
        """How many whole vectors fit in that many bytes."""
        return 8 * data_bytes // (len(self.mean) * self.bits)

    def encode(self, vectors: Array) -> bytes:
        """Pack ``vectors`` [n, d]."""
        return pack(quantise(standardise(vectors, self.mean, self.scale), self.bits, self.step), self.bits)

    def decode(self, data: bytes) -> Array:
        """The whole vectors in ``data``, [n, d]; any bytes are valid."""
        n, d = self.vectors_in(len(data)), len(self.mean)
        codes = unpack(data, self.bits, n * d).reshape(n, d)
        return self.mean + self.scale * dequantise(codes, self.bits, self.step)


def standardise(vectors: Array, mean: Array, scale: Array) -> Array:
    """``(vectors - mean) / scale``; 0 where the scale is 0."""
    safe = np.where(scale > 0, scale, np.inf)
    return ((vectors - mean) / safe).astype(np.float32)
