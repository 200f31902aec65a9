"""5G polar code blocks: Sionna's encoder and its list decoder."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from channels.fec.codes import Code, register
from channels.threads import single_thread

if TYPE_CHECKING:
    from torch import Tensor

LIST = 8
_LONGEST = 1024  # code bits of a block: the longest mother code of the uplink
_CRC = 11  # bits that help the list decoder to choose
_WIDTH, _LANES = 32, 16  # blocks decoded together; batches fill whole vector registers (see ldpc.py)


@register("polar")
class Polar(Code):
    """5G polar code of the uplink with list decoding (8 paths), whose CRC of 11 bits chooses the path; short blocks.

    Rate matching and interleaving of 3GPP TS 38.212, 5.3.1, 5.4.1 and 6.3.1, as in Sionna's ``Polar5GEncoder``
    and ``Polar5GDecoder``. A block's own CRC comes on top of the payload's and counts as parity. The standard
    segments at 1024 code bits, too, but into two blocks at most; here into as many as a payload needs.
    """

    mother_rate, highest_rate = Fraction(1, 8), Fraction(9, 10)

    def __init__(self, k: int, n: int, bits_per_symbol: int) -> None:
        from sionna.phy.fec.polar import Polar5GDecoder, Polar5GEncoder

        self.k, self.n = k, n
        self._encoder = Polar5GEncoder(k, n, check_input=False, precision="single", device="cpu")
        self._decoder = Polar5GDecoder(
            self._encoder, "SCL", LIST, return_crc_status=True, precision="single", device="cpu"
        )

    @classmethod
    def cut(cls, bits: int, bits_per_symbol: int, rate: Fraction) -> tuple[int, int, int]:
        """Blocks of at most 1024 code bits, which leave room for the block's CRC."""
        m = bits_per_symbol
        longest = _LONGEST // m * m
        blocks = -(-bits // min(int(longest * rate), longest - _CRC))
        k = -(-bits // blocks)
        return blocks, k, m * ceil(max(k / rate, Fraction(k + _CRC)) / m)

    def encode(self, bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[batch, k] information bits to [batch, n] code bits."""
        import torch

        code = np.empty((len(bits), self.n), np.uint8)
        for first in range(0, len(bits), 1024):
            part = slice(first, first + 1024)
            code[part] = self._encoder(torch.from_numpy(bits[part]).float()).byte().numpy()
        return code

    def decode(self, llr: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """CRC-aided list decoding; the flags are the verdicts of the blocks' CRCs."""
        import torch

        bits = np.empty((len(llr), self.k), np.uint8)
        valid = np.empty(len(llr), np.bool_)
        with single_thread():
            for first in range(0, len(llr), _WIDTH):
                part = torch.nan_to_num(llr[first : first + _WIDTH], nan=0.0).clamp_(-100, 100)
                padded = torch.cat([part, part[-1:].expand(-len(part) % _LANES, -1)])
                decided, crc = self._decoder(padded)
                bits[first : first + _WIDTH] = decided[: len(part)].byte().numpy()
                valid[first : first + _WIDTH] = crc[: len(part)].numpy()
        return bits, valid
