"""Range coding of whole numbers under tables of whole numbers, by ``constriction`` (Bamler 2022, arXiv 2201.01741)."""

from __future__ import annotations

import constriction
import numpy as np
from numpy.typing import ArrayLike, NDArray

TOTAL = 1 << 16
Ints = NDArray[np.int64]


def frequencies(mass: NDArray[np.float64]) -> NDArray[np.int32]:
    """Probability masses [m, s] as whole numbers >= 1 whose rows sum to :data:`TOTAL`."""
    room = TOTAL - mass.shape[1]
    share = mass / np.maximum(mass.sum(1, keepdims=True), 1e-300)
    counts = 1 + np.floor(share * room).astype(np.int64)
    counts[np.arange(len(counts)), share.argmax(1)] += TOTAL - counts.sum(1)
    return counts.astype(np.int32)


class Tables:
    """Models of whole numbers from ``-reach`` to ``reach``.

    :param counts: [m, 2 reach + 1], rows as :func:`frequencies` gives them
    """

    def __init__(self, counts: ArrayLike) -> None:
        self.counts = np.asarray(counts, np.int64)
        if self.counts.ndim != 2 or self.counts.shape[1] % 2 == 0 or (self.counts < 1).any():
            raise ValueError("counts: rows of an odd number of positive whole numbers are needed")
        if (self.counts.sum(1) != TOTAL).any():
            raise ValueError(f"counts: every row must sum to {TOTAL}")
        self.reach = self.counts.shape[1] // 2
        # counts are exact in float32, and the coder makes its fixed-point model from them by integer arithmetic
        self._models = [
            constriction.stream.model.Categorical(row.astype(np.float32) / TOTAL, perfect=False)
            for row in self.counts
        ]

    def bits(self, values: ArrayLike, which: ArrayLike) -> float:
        """Information content, in bits."""
        symbols, rows = self._symbols(values), np.ravel(np.asarray(which, np.int64))
        return float(-np.log2(self.counts[rows, symbols] / TOTAL).sum())

    def encode(self, values: ArrayLike, which: ArrayLike) -> bytes:
        """Code ``values`` [n], each under row ``which`` [n]; what is beyond ``reach`` is clipped to it.

        The number of values is not coded. Trailing bytes that the decoder does not need are cut off, so that
        the code is within two bytes of :meth:`bits`.
        """
        symbols, rows = self._symbols(values), np.ravel(np.asarray(which, np.int64))
        encoder = constriction.stream.queue.RangeEncoder()
        for row, places in _groups(rows):
            encoder.encode(symbols[places].astype(np.int32), self._models[row])
        code = encoder.get_compressed().astype(">u4").tobytes()
        want = symbols - self.reach
        for length in range(max(1, len(code) - 8), len(code)):
            shorter = code[:length]
            for candidate in (shorter, _next(shorter)):
                if candidate is not None and _equal(self._decoded(candidate, rows), want):
                    return candidate
        return code

    def decode(self, data: bytes, which: ArrayLike) -> Ints | None:
        """The values [n] under rows ``which`` [n]; None where ``data`` is not a code. Never raises."""
        return self._decoded(data, np.ravel(np.asarray(which, np.int64)))

    def _decoded(self, data: bytes, rows: Ints) -> Ints | None:
        # The decoder reads zeros beyond the end of a code; at least two words start it.
        padded = data + bytes(-len(data) % 4 + (8 if len(data) < 8 else 0))
        values = np.zeros(len(rows), np.int64)
        try:
            decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
            for row, places in _groups(rows):
                values[places] = decoder.decode(self._models[row], len(places))
        except (AssertionError, ValueError, RuntimeError):  # bytes that no encoder wrote
            return None
        return values - self.reach

    def _symbols(self, values: ArrayLike) -> Ints:
        whole = np.ravel(np.asarray(values)).astype(np.int64)
        return np.clip(whole, -self.reach, self.reach) + self.reach


def _groups(rows: Ints) -> list[tuple[int, Ints]]:
    """Places of each row that occurs, rows ascending: both ends know them, so values are coded row by row."""
    order = np.argsort(rows, kind="stable")
    present, first = np.unique(rows[order], return_index=True)
    return list(zip(present.tolist(), np.split(order, first[1:]), strict=True)) if len(rows) else []


def _equal(values: Ints | None, want: Ints) -> bool:
    return values is not None and bool(np.array_equal(values, want))


def _next(code: bytes) -> bytes | None:
    """The code one higher in its last place."""
    number = int.from_bytes(code, "big") + 1
    return number.to_bytes(len(code), "big") if code and number < 1 << 8 * len(code) else None
