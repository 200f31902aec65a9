"""Delivery bit by bit: encoded, modulated, sent, demapped, decoded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from channels import fec
from channels.fec.bits import Bits, packed_scrambling
from channels.links.sending import Delivery, Sending
from channels.modem import modem

if TYPE_CHECKING:
    from torch import Tensor

_COLUMNS = 2**20  # LLRs of a row descrambled at once, a multiple of 8


def deliver(sent: Sending, rows: Sequence[int]) -> dict[int, Delivery]:
    """Send those rows; codes that several of them share are decoded together."""
    import torch

    waiting: dict[tuple[str, int, int, int], list[tuple[list[int], Tensor]]] = defaultdict(list)
    for shape, same in sent.groups(rows):
        llr = transmit(sent, shape, same, [sent.seeds[r] for r in same])
        waiting[shape.code, shape.k, shape.n, shape.bits_per_symbol].append((same, llr))
    result = {}
    while waiting:
        _, parts = waiting.popitem()
        alike = [r for same, _ in parts for r in same]
        llr = parts[0][1] if len(parts) == 1 else torch.cat([llr for _, llr in parts])
        bits, _ = fec.code(sent.grants[alike[0]]).decode(llr)
        result.update(verdicts(sent, alike, bits))
    return result


def transmit(
    sent: Sending, shape: fec.Grant, rows: Sequence[int], seeds: Sequence[int], version: int = 0
) -> Tensor:
    """Send rows of one grant over the channel's realisations of ``seeds``.

    :returns: [rows * blocks, n] LLRs of the code blocks, descrambled, copies added.
    """
    m = shape.bits_per_symbol
    llr = sent.channel.llr(
        modem(m).map(fec.encode([sent.payloads[r] for r in rows], shape, version)),
        sent.snr_db[rows],
        seeds,
        m,
    )
    _descramble(llr)
    if shape.copies > 1:
        llr = llr.reshape(len(rows), shape.copies, -1).sum(1)
    return llr.reshape(-1, shape.n)


def verdicts(sent: Sending, rows: Sequence[int], bits: Bits, attempts: int = 1) -> dict[int, Delivery]:
    """What the decoded blocks of those rows say: [blocks of all rows, k] information bits."""
    result, first = {}, 0
    for row in rows:
        shape = sent.grants[row]
        last = first + shape.blocks
        payload, ok = fec.payload_of(bits[first:last].reshape(-1), shape.payload_bytes)
        result[row], first = Delivery(payload, ok, attempts), last
    return result


def _descramble(llr: Tensor) -> None:
    """Turn the sign of the LLRs, [batch, code bits], of all bits that were scrambled with a one."""
    import torch

    sequence = packed_scrambling(llr.shape[1])
    for part, first in zip(llr.split(_COLUMNS, dim=1), range(0, 8 * len(sequence), _COLUMNS), strict=False):
        bits = np.unpackbits(sequence[first // 8 : (first + _COLUMNS) // 8], count=part.shape[1])
        part.mul_(torch.from_numpy(1 - 2 * bits.astype(np.int8)))
