"""5G LDPC code blocks: Sionna's encoder, and belief propagation on Sionna's graph, batch last."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from channels.fec.codes import Code, register
from channels.threads import single_thread

if TYPE_CHECKING:
    from sionna.phy.fec.ldpc import LDPC5GEncoder
    from torch import Tensor

ITERATIONS = 20
_LANES = 16  # batches fill whole vector registers, so that no block's last bits depend on its neighbours
_MESSAGES = 2**19  # in flight at once: 2 MB of float32, which stay in the processor's cache


@register("ldpc")
class LDPC(Code):
    """5G LDPC code of 3GPP TS 38.212 with belief propagation, rate-matched and bit-interleaved.

    Encoding is Sionna's ``LDPC5GEncoder`` of the code that all (k, n) of one lifting size are cut from.
    Decoding is flooding sum-product, as in ``sionna.phy.fec.ldpc.LDPC5GDecoder``, and decides alike. A block
    whose parity checks all hold is finished and dropped; Sionna's decoder iterates on, and now and then leaves
    the codeword again (2 of 1000 blocks at rate 0.9 and a block error rate of one half, fewer elsewhere).
    Time is saved thus: messages are [edges, batch], so that gathers copy whole rows; checks multiply
    tanh(LLR / 2), which needs half the transcendental functions of adding phi(LLR); shortened bits, known to
    be zero, are not in the graph.

    :param versions: redundancy versions of which n bits each are sent, one after the other: the circular buffer
        is read from the starts of TS 38.212, table 5.4.2.1-2. A decoder adds the LLRs of bits that were sent more
        than once, and its graph covers all that were sent.
    """

    mother_rate, highest_rate = Fraction(1, 5), Fraction(926, 1000)

    def __init__(self, k: int, n: int, bits_per_symbol: int, versions: Sequence[int] = (0,)) -> None:
        import torch

        self.k, self.n, self.versions = k, n, tuple(versions)
        self._encoder = _mother_encoder(*_mother_code(k, n))
        z, k_ldpc = self._encoder.z, self._encoder.k_ldpc
        systematic = k - 2 * z  # information bits that can be sent: all but the first 2z
        buffer = systematic + self._encoder.pcm.shape[0]  # then parity, one bit for each check
        # 5.4.2.1: n bits from where the version starts, over the end to the beginning, without the filler bits;
        # 5.4.2.2: interleaved row by column.
        interleaver = np.arange(n).reshape(bits_per_symbol, -1).T.ravel()
        starts = [self._encoder.rv_starts[version] for version in self.versions]
        starts = [start - min(max(start - systematic, 0), k_ldpc - k) for start in starts]
        sent = np.array([(start + interleaver) % buffer for start in starts])
        is_parity = sent >= systematic
        # The extension checks define one parity bit each; those whose bit is not sent say nothing.
        parity = np.union1d(np.arange(4 * z), sent[is_parity] - systematic)
        checks = len(parity)
        column = np.full(k_ldpc + self._encoder.pcm.shape[0], -1)
        column[:k] = np.arange(k)
        column[k_ldpc + parity] = k + np.arange(checks)
        graph = self._encoder.pcm[parity].tocoo()
        kept = column[graph.col] >= 0
        check, bit = graph.row[kept], column[graph.col[kept]]
        self._bits = k + checks
        check_rank, by_check, self._check_slots = _slots(check, checks)
        bit_rank, by_bit, self._bit_slots = _slots(bit, self._bits)
        place = np.empty(len(check), np.int32)  # of each edge in check order
        place[by_check] = np.arange(len(check), dtype=np.int32)
        self._to_checks = torch.from_numpy(bit_rank[bit[by_check]])
        self._to_bits = torch.from_numpy(place[by_bit])
        degrees = np.bincount(check_rank[check], minlength=checks)
        self._scale = torch.from_numpy(2.0 ** (degrees - 1)).float()[:, None]
        # What is sent, by its place in the encoder's buffer (of a larger k) and in the decoder's order.
        self._sent = torch.from_numpy((sent + is_parity * (self._encoder.k - k)).ravel())
        received = column[sent + 2 * z + is_parity * (k_ldpc - k)]
        self._received = [torch.from_numpy(bit_rank[one]) for one in received]
        self._information = torch.from_numpy(bit_rank[:k])
        self._width = max(_MESSAGES // len(check) // _LANES, 1) * _LANES

    @classmethod
    def cut(cls, bits: int, bits_per_symbol: int, rate: Fraction) -> tuple[int, int, int]:
        """Blocks of at most 8448 information bits, or 3816 below rate 1/3.

        The rate also stays just below 12/13: with less parity, short codes cannot start to decode even without
        noise (2z information bits are never sent; found by decoding every even k up to 1400 and many above).
        """
        m = bits_per_symbol
        # Base graph 1 goes up to k = 8448 but not below rate 1/3; base graph 2 up to k = 3840, or 3824 by the
        # rules that choose between them. Both limits here are multiples of 2, 4, 6 and 8.
        blocks = -(-bits // (8448 if rate >= Fraction(1, 3) else 3816))
        # k is a multiple of m, so that n = 3k or 5k is one too and the rate never falls below that of the code.
        k = m * -(-bits // (blocks * m))
        return blocks, k, m * ceil(max(k / rate, k * Fraction(13, 12) + 1) / m)

    def encode(self, bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[batch, k] information bits to [batch, n * versions] code bits."""
        import torch

        code = np.empty((len(bits), len(self._sent)), np.uint8)
        for first in range(0, len(bits), self._width):  # Sionna's encoder needs 100 bytes a bit
            part = slice(first, first + self._width)
            padded = torch.zeros(len(bits[part]), self._encoder.k)
            padded[:, : self.k] = torch.from_numpy(bits[part])
            code[part] = self._buffer(padded)[:, self._sent].byte().numpy()
        return code

    def _buffer(self, bits: Tensor) -> Tensor:
        """All code bits that can be sent: Sionna gives n of them, from where a version starts."""
        import torch

        if self.versions == (0,):
            return self._encoder(bits)
        start = self._encoder.get_start_positions_comp([2])[0]
        first, second = self._encoder(bits, rv=[0, 2]).unbind(dim=1)
        return torch.cat([first[:, :start], second], dim=1)

    def decode(
        self, llr: Tensor, iterations: int = ITERATIONS
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Decode blocks; the result of each depends on its own LLRs alone.

        :param llr: [batch, n * versions] float32, log p(bit = 1) / p(bit = 0); what is not a number counts as
            erased.
        :returns: [batch, k] hard decisions, and [batch] whether all parity checks hold.
        """
        import torch

        bits = np.empty((len(llr), self.k), np.uint8)
        valid = np.empty(len(llr), np.bool_)
        order = torch.linalg.vector_norm(llr, 1, dim=1).argsort()  # like blocks finish together
        with single_thread():
            for some in order.split(self._width):
                clean = torch.nan_to_num(llr[some], nan=0.0).clamp_(-20, 20)
                bits[some.numpy()], valid[some.numpy()] = self._decode(clean, iterations)
        return bits, valid

    def _decode(self, llr: Tensor, iterations: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        import torch

        batch = len(llr)
        bits = torch.empty(batch, self.k, dtype=torch.uint8)
        valid = torch.zeros(batch, dtype=torch.bool)
        prior = torch.zeros(self._bits, batch)  # log p(bit = 0) / p(bit = 1)
        for received, one in zip(self._received, llr.T.split(self.n), strict=True):
            prior[received] -= one
        prior = _padded(prior)
        total, messages = prior, torch.zeros(len(self._to_bits), prior.shape[1])
        active = torch.arange(batch)  # which block each column is
        for iteration in range(1, iterations + 1):
            messages = self._check_update(total, messages)
            total = self._bit_update(prior, messages)
            running = ~valid[active]
            satisfied = self._satisfied(total)[: len(active)]
            stopped = running & satisfied if iteration < iterations else running
            bits[active[stopped]] = (total[self._information, : len(active)].T[stopped] <= 0).byte()
            valid[active[stopped]] = satisfied[stopped]
            go = (running & ~satisfied).nonzero().flatten()
            if not len(go):
                break
            if 4 * len(go) <= 3 * len(active):  # enough have finished to be worth the copies
                active = active[go]
                prior, messages, total = (_padded(t.index_select(1, go)) for t in (prior, messages, total))
        return bits.numpy(), valid.numpy()

    def _check_update(self, total: Tensor, messages: Tensor) -> Tensor:
        """New messages to the bits, as LLR / 2: artanh of the product of the other edges' tanh(LLR / 2)."""
        import torch

        half = total.index_select(0, self._to_checks).sub_(messages, alpha=2).sigmoid_().sub_(0.5)
        half.add_(1e-12)  # half of tanh(LLR / 2); an erased bit must not divide by zero below
        first, *others = self._check_slots
        product = self._scale * half[first]
        for slot in others:
            product[: slot.stop - slot.start] *= half[slot]
        for slot in self._check_slots:
            torch.div(product[: slot.stop - slot.start], half[slot], out=half[slot])
        return half.clamp_(-1 + 2**-23, 1 - 2**-23).atanh_()

    def _bit_update(self, prior: Tensor, messages: Tensor) -> Tensor:
        """The LLR of each bit: the channel's, and what all its checks say."""
        said, total = messages.index_select(0, self._to_bits), prior.clone()
        for slot in self._bit_slots:
            total[: slot.stop - slot.start].add_(said[slot], alpha=2)
        return total

    def _satisfied(self, total: Tensor) -> Tensor:
        """[batch] whether the hard decisions are a codeword."""
        ones = (total <= 0).index_select(0, self._to_checks)
        first, *others = self._check_slots
        odd = ones[first]
        for slot in others:
            odd[: slot.stop - slot.start] ^= ones[slot]
        return ~odd.any(dim=0)


def _mother_code(k: int, n: int) -> tuple[str, int]:
    """Base graph of a (k, n) code, and the most information bits that share its lifting size z.

    TS 38.212, 5.2.2 and 6.2.2. All codes of one base graph and z are the same code but for the bits left out.
    """
    if k <= 292 or (k <= 3824 and k / n <= 0.67) or k / n <= 0.25:
        columns, most = next((c, m) for c, m in ((6, 192), (8, 560), (9, 640), (10, 3840)) if k <= m)
        graph = "bg2"
    else:
        graph, columns, most = "bg1", 22, 8448
    sizes = (a << j for a in (2, 3, 5, 7, 9, 11, 13, 15) for j in range(8) if a << j <= 384)
    return graph, min(columns * min(z for z in sizes if columns * z >= k), most)


@lru_cache(64)
def _mother_encoder(graph: str, k: int) -> LDPC5GEncoder:
    from sionna.phy.fec.ldpc import LDPC5GEncoder

    n = 3 * k if graph == "bg1" else 5 * k
    return LDPC5GEncoder(k, n, bg=graph, check_input=False, precision="single", device="cpu")


def _slots(node: NDArray[np.int32], count: int) -> tuple[NDArray[np.int32], NDArray[np.int64], list[slice]]:
    """Order edges so that the j-th edges of all nodes form one slice, whose rows start at the first node.

    :param node: the node of each edge.
    :returns: the rank of each node by falling degree; the edges in slot order; the slices.
    """
    degree = np.bincount(node, minlength=count)
    falling = np.argsort(-degree, kind="stable")
    rank = np.empty(count, np.int32)
    rank[falling] = np.arange(count, dtype=np.int32)
    by_node = np.argsort(rank[node].astype(np.uint16), kind="stable")  # fewer than 2^16 nodes: a radix sort
    starts = np.cumsum(degree[falling]) - degree[falling]
    turn = np.arange(len(node)) - starts[rank[node][by_node]]  # which edge of its node it is
    order = by_node[np.argsort(turn.astype(np.uint16), kind="stable")]
    ends = np.cumsum(np.bincount(turn))
    return rank, order, [slice(int(a), int(b)) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _padded(columns: Tensor) -> Tensor:
    """Repeat the last column up to a whole number of lanes."""
    import torch

    missing = -columns.shape[1] % _LANES
    return torch.cat([columns, columns[:, -1:].expand(-1, missing)], dim=1) if missing else columns
