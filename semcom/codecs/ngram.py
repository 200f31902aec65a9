"""An n-gram model in integers: the same probabilities, bit for bit, wherever it is loaded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channels.errors import InputError
from semcom.codecs.interval import Interval

_SCALE = 1 << 22  # what the probabilities of all symbols sum to, up to rounding
_LARGEST = 1 << 31  # of one count, so that all products stay below 2^63
_MEMORY = 1 << 22  # cumulative counts that are kept, over all contexts

END = 0  # the symbol that ends a sequence; it also stands before its first symbol

Context = tuple[int, ...]


class NGram:
    """Counts of symbols after their ``order - 1`` predecessors, smoothed by Witten-Bell interpolation.

    The estimate after a context h that was seen n(h) times, before t(h) distinct symbols, is
    ``(c(h, s) + t(h) * P(s | shorter h)) / (n(h) + t(h))``, down to the uniform distribution (Bell, Cleary &
    Witten, Text Compression, 1990, method C), in fixed point with floor division; every symbol keeps at least
    one part.

    :param size: number of symbols, 0 (:data:`END`) included.
    :param order: length of the n-grams, at least 1.
    :param counts: how often each symbol followed each context of ``order - 1`` symbols.
    """

    def __init__(self, size: int, order: int, counts: Mapping[Context, Mapping[int, int]]) -> None:
        self.size, self.order = size, order
        self.counts = {context: dict(row) for context, row in counts.items()}
        rows: dict[Context, Counter[int]] = defaultdict(Counter)
        for context, row in counts.items():
            for start in range(order):
                rows[context[start:]].update(row)
        self._rows = {
            context: (np.fromiter(row, np.int64, len(row)), np.fromiter(row.values(), np.int64, len(row)))
            for context, row in rows.items()
        }
        self._cumulative = lru_cache(maxsize=max(16, _MEMORY // size))(self._compute)

    @classmethod
    def fit(cls, sequences: Iterable[Sequence[int]], size: int, order: int) -> NGram:
        """Count sequences (without :data:`END`, which is added)."""
        counts: dict[Context, Counter[int]] = defaultdict(Counter)
        for sequence in sequences:
            padded = (END,) * (order - 1) + tuple(sequence) + (END,)
            for i in range(order - 1, len(padded)):
                counts[padded[i - order + 1 : i]][padded[i]] += 1
        return cls(size, order, counts)

    def to_json(self) -> dict[str, Any]:
        """``{"order", "counts": {"context": [symbol, count, ...]}}``."""
        rows = {
            " ".join(map(str, context)): [n for pair in sorted(row.items()) for n in pair]
            for context, row in sorted(self.counts.items())
        }
        return {"order": self.order, "counts": rows}

    @classmethod
    def from_json(cls, raw: Any, size: int) -> NGram:
        """The inverse; :class:`InputError` when ``raw`` is not such a table."""
        try:
            order = raw["order"]
            counts = {
                tuple(int(word) for word in context.split()): dict(zip(row[0::2], row[1::2], strict=True))
                for context, row in raw["counts"].items()
            }
            symbols = [s for context, row in counts.items() for s in (*context, *row)]
            fine = (
                type(order) is int
                and 1 <= order <= 8
                and all(len(context) == order - 1 for context in counts)
            )
            fine = fine and all(type(s) is int and 0 <= s < size for s in symbols)
            fine = fine and all(type(n) is int and n > 0 for row in counts.values() for n in row.values())
            fine = fine and all(counts.values())  # no empty row
            fine = fine and sum(n for row in counts.values() for n in row.values()) < _LARGEST
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InputError(f"not an n-gram table: {error!r}") from error
        if not fine:
            raise InputError("not an n-gram table: a symbol, a count or a context is out of range")
        return cls(size, order, counts)

    def begin(self) -> Context:
        """The context of a sequence's first symbol."""
        return (END,) * (self.order - 1)

    def extend(self, context: Context, symbol: int) -> Context:
        """The context after one more symbol."""
        return (*context, symbol)[1:] if self.order > 1 else ()

    def _compute(self, context: Context) -> NDArray[np.int64]:
        parts = np.full(self.size, _SCALE // self.size, np.int64)
        for start in range(self.order - 1, -1, -1):
            row = self._rows.get(context[start:])
            if row is None:
                break
            symbols, counts = row
            parts *= len(symbols)
            parts[symbols] += counts * _SCALE
            parts //= counts.sum() + len(symbols)
        return np.concatenate([[0], np.cumsum(parts + 1)])

    def narrow(self, interval: Interval, context: Context, symbol: int) -> float:
        """Narrow ``interval`` to ``symbol``; returns its probability."""
        cumulative = self._cumulative(context)
        start, end, total = int(cumulative[symbol]), int(cumulative[symbol + 1]), int(cumulative[-1])
        interval.narrow(start, end - start, total)
        return (end - start) / total

    def locate(self, interval: Interval, context: Context, number: int, length: int) -> int:
        """The symbol whose part of ``interval`` holds the number that these ``length`` bytes begin."""
        cumulative = self._cumulative(context)
        point = interval.locate(number, length, int(cumulative[-1]))
        return int(np.searchsorted(cumulative, point, side="right")) - 1
