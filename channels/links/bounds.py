"""Delivery by information theory: a payload arrives if its realisation of the channel could carry it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from channels import theory
from channels.draws import generator
from channels.errors import one_of
from channels.links.sending import Delivery, Sending

BOUNDS = ("ideal", "finite")


def deliver(sent: Sending, rows: Sequence[int], coding: str = "ideal") -> dict[int, Delivery]:
    """Send those rows with a code that no real code of their number of symbols can beat.

    ideal: capacity. b bits arrive exactly if b <= sum_i C_i over the symbols that the coded link would have used.

    finite: the normal approximation for that number n of symbols. b bits arrive with probability
    1 - Q((sum_i C_i + 1/2 log2 n - b) / sqrt(sum_i V_i)), where V_i = (1 - 2^(-2 C_i)) (log2 e)^2 is the dispersion
    of a complex Gaussian channel of capacity C_i. The fate of a row is one uniform draw from its seed: at a higher
    SNR it can only turn for the better.   [Polyanskiy, Poor & Verdu, IEEE Trans. Inf. Theory 56(5), 2010]
    """
    one_of("bound", coding, BOUNDS)
    result = {}
    for shape, same in sent.groups(rows):
        seeds = [sent.seeds[r] for r in same]
        bits = sent.channel.information(shape.symbols, sent.snr_db[same], seeds).double()
        capacity = bits.sum(dim=1).tolist()
        dispersion = ((1 - 2 ** (-2 * bits)).sum(dim=1) * math.log2(math.e) ** 2).tolist()
        for row, c, v in zip(same, capacity, dispersion, strict=True):
            payload = bytes(sent.payloads[row])
            ok = 8 * len(payload) <= c
            if coding == "finite":
                lost = theory.normal_approximation(8 * len(payload), c, v, shape.symbols)
                ok = bool(generator(sent.seeds[row], "fate").random() >= lost)
            result[row] = Delivery(payload if ok else bytes(len(payload)), ok)
    return result
