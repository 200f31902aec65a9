"""The symbols of a row, laid out over streams, channel uses and blocks of equal fading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Piece:
    """Uses of a row that carry the same number of streams: ``uses`` from ``first`` on, from block ``block`` on."""

    first: int
    uses: int
    streams: int
    block: int
    length: int  # uses of one block

    def blocks_of(self, columns: Tensor) -> Tensor:
        """[batch, blocks, 1, rows, streams] of the columns of all blocks and streams."""
        blocks = -(-self.uses // self.length)
        return columns[:, self.block : self.block + blocks, None, :, : self.streams]

    def grid(self, a: Tensor) -> Tensor:
        """[batch, uses * k] to [batch, blocks, length, k], filled up with zeros."""
        from torch.nn.functional import pad

        k, missing = a.shape[1] // self.uses, -self.uses % self.length
        return pad(a, (0, missing * k)).reshape(len(a), -1, self.length, k)

    def row(self, a: Tensor) -> Tensor:
        """[batch, blocks, length, ...] back to [batch, symbols]."""
        return a.flatten(1, 2)[:, : self.uses].flatten(1)


def pieces(n: int, width: int, length: int) -> Iterator[Piece]:
    """n symbols over ``width`` streams: the full uses; and the last one, if not every stream has a symbol in it."""
    full, uses = n // width, -(-n // width)
    for first, last, streams in ((0, full, width), (full, uses, n % width)):
        if last > first:
            yield Piece(first, last - first, streams, first // length, min(length, last - first))
