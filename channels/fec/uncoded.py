"""No code at all."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from channels.fec.codes import Code, register

if TYPE_CHECKING:
    from torch import Tensor


@register("uncoded")
class Uncoded(Code):
    """Payload and CRC as they are, at rate 1; lower rates repeat the bits and add their LLRs.

    One block of any length: the bit errors of the symbols are those of the payload.
    """

    mother_rate = highest_rate = default_rate = Fraction(1)

    def __init__(self, k: int, n: int, bits_per_symbol: int) -> None:
        self.k, self.n = k, n

    @classmethod
    def cut(cls, bits: int, bits_per_symbol: int, rate: Fraction) -> tuple[int, int, int]:
        """One block, filled up to a whole symbol."""
        n = -(-bits // bits_per_symbol) * bits_per_symbol
        return 1, n, n

    def encode(self, bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The bits themselves."""
        return bits.copy()

    def decode(self, llr: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The likelier bit."""
        return (llr > 0).byte().numpy(), np.ones(len(llr), np.bool_)
