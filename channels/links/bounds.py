"""Delivery by information theory: a payload arrives if its realisation of the channel could carry it."""

from __future__ import annotations

from collections.abc import Sequence

from channels.links.sending import Delivery, Sending


def deliver(sent: Sending, rows: Sequence[int]) -> dict[int, Delivery]:
    """Capacity: b bits arrive exactly if b <= sum_i C_i over the symbols that the coded link would have used."""
    result = {}
    for shape, same in sent.groups(rows):
        bits = sent.channel.information(shape.symbols, sent.snr_db[same], [sent.seeds[r] for r in same])
        for row, capacity in zip(same, bits.double().sum(dim=1).tolist(), strict=True):
            payload = bytes(sent.payloads[row])
            ok = 8 * len(payload) <= capacity
            result[row] = Delivery(payload if ok else bytes(len(payload)), ok)
    return result
