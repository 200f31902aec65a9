"""Convolutional code blocks: Sionna's encoder and Viterbi decoder, with puncturing and an interleaver."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import ceil, isqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from channels.fec.codes import Code, register
from channels.threads import single_thread

if TYPE_CHECKING:
    from sionna.phy.fec.conv import ConvEncoder, ViterbiDecoder
    from torch import Tensor

CONSTRAINT_LENGTH = 7
_TAIL = CONSTRAINT_LENGTH - 1  # zeros that bring the encoder back to its first state
_LONGEST = 1024  # information bits of a block, which bounds the memory of the Viterbi decoder
_WIDTH = 64  # blocks decoded together
# Which outputs of the encoder are sent, step by step: the patterns of ETSI EN 300 421, table 2, and no puncturing.
_PATTERNS = [
    ("1111010", "1000101"),  # 7/8
    ("11010", "10101"),  # 5/6
    ("110", "101"),  # 3/4
    ("11", "10"),  # 2/3
    ("1", "1"),
    ("1", "1", "1"),
]  # from the fewest bits to the most


@register("convolutional")
class Convolutional(Code):
    """Convolutional code of constraint length 7, (133, 171) or (133, 145, 171) octal, with soft Viterbi decoding.

    Six tail bits end each block, at most 1024 information bits, and are charged on top of the asked rate. Rates
    1/3, 1/2, 2/3, 3/4, 5/6 and 7/8 have the standard puncturing patterns; others leave out bits of the next lower
    one evenly. A row-column interleaver of about sqrt(n) rows parts neighbouring code bits.
    [Proakis & Salehi 2008, sec. 8.4; ETSI EN 300 421, 4.4.3]
    """

    mother_rate, highest_rate = Fraction(1, 3), Fraction(7, 8)

    def __init__(self, k: int, n: int, bits_per_symbol: int) -> None:
        import torch

        self.k, self.n = k, n
        steps = k + _TAIL
        pattern = next(p for p in _PATTERNS if n <= len(_kept(p, steps)) + bits_per_symbol)
        kept, outputs = _kept(pattern, steps), len(pattern)
        self._encoder, self._decoder = _viterbi(outputs)
        self._mother = outputs * steps
        # Which mother bit each sent bit is: evenly spread, some left out or (by rounding to symbols) sent twice.
        matched = kept[np.arange(n) * len(kept) // n]
        rows = isqrt(n)
        interleaver = np.arange(-(-n // rows) * rows).reshape(rows, -1).T.ravel()
        self._sent = torch.from_numpy(matched[interleaver[interleaver < n]])

    @classmethod
    def cut(cls, bits: int, bits_per_symbol: int, rate: Fraction) -> tuple[int, int, int]:
        """Blocks of at most 1024 information bits, each with its tail."""
        blocks = -(-bits // _LONGEST)
        k = -(-bits // blocks)
        return blocks, k, bits_per_symbol * ceil((k + _TAIL) / rate / bits_per_symbol)

    def encode(self, bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[batch, k] information bits to [batch, n] code bits."""
        import torch

        code = np.empty((len(bits), self.n), np.uint8)
        for first in range(0, len(bits), 1024):
            part = slice(first, first + 1024)
            code[part] = self._encoder(torch.from_numpy(bits[part]).float())[:, self._sent].byte().numpy()
        return code

    def decode(self, llr: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The likeliest of all sequences; there is no check."""
        import torch

        bits = np.empty((len(llr), self.k), np.uint8)
        with single_thread():
            for first in range(0, len(llr), _WIDTH):
                part = torch.nan_to_num(llr[first : first + _WIDTH], nan=0.0).clamp_(-100, 100)
                # Multiples of 2^-12 make the sum over the bits of a step exact, so that its order does not matter.
                part = part.mul_(4096).round_().div_(4096)
                mother = torch.zeros(len(part), self._mother).index_add_(1, self._sent, part)
                bits[first : first + _WIDTH] = self._decoder(mother).byte().numpy()
        return bits, np.ones(len(llr), np.bool_)


def _kept(pattern: Sequence[str], steps: int) -> NDArray[np.int64]:
    """Places of the bits that a pattern keeps of ``steps`` steps of the encoder."""
    period = np.array([list(output) for output in pattern]).T == "1"
    return np.flatnonzero(np.resize(period, (steps, len(pattern))))


@lru_cache(2)
def _viterbi(outputs: int) -> tuple[ConvEncoder, ViterbiDecoder]:
    from sionna.phy.fec.conv import ConvEncoder, ViterbiDecoder

    encoder = ConvEncoder(
        rate=1 / outputs,
        constraint_length=CONSTRAINT_LENGTH,
        terminate=True,
        precision="single",
        device="cpu",
    )
    return encoder, ViterbiDecoder(encoder=encoder, precision="single", device="cpu")
