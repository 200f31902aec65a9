"""Delivery bit by bit: encoded, modulated, sent, demapped, decoded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from channels import fec
from channels.fec.bits import scrambling
from channels.links.sending import Delivery, Sending
from channels.modem import modem

if TYPE_CHECKING:
    from torch import Tensor


def deliver(sent: Sending, rows: Sequence[int]) -> dict[int, Delivery]:
    """Send those rows; codes that several of them share are decoded together."""
    import torch

    waiting: dict[tuple[int, int, int], list[tuple[list[int], Tensor]]] = defaultdict(list)
    for shape, same in sent.groups(rows):
        x = modem(shape.bits_per_symbol).map(fec.encode([sent.payloads[r] for r in same], shape))
        llr = sent.channel.llr(x, sent.snr_db[same], [sent.seeds[r] for r in same], shape.bits_per_symbol)
        llr = llr.mul_(torch.from_numpy(1 - 2 * scrambling(shape.code_bits).astype(np.int8)))
        llr = llr.reshape(len(same), shape.copies, -1).sum(1).reshape(-1, shape.n)
        waiting[shape.k, shape.n, shape.bits_per_symbol].append((same, llr))
    result = {}
    for code, parts in waiting.items():
        bits, _ = fec.ldpc(*code).decode(torch.cat([llr for _, llr in parts]))
        first = 0
        for row in (r for same, _ in parts for r in same):
            shape = sent.grants[row]
            last = first + shape.blocks
            result[row] = Delivery(*fec.payload_of(bits[first:last].reshape(-1), shape.payload_bytes))
            first = last
    return result
