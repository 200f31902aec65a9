"""Delivery by link-to-system mapping: block error rates from Sionna SYS's tables instead of decoding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from channels import fec
from channels.draws import generator
from channels.errors import InputError
from channels.fec import Grant
from channels.links.mcs import MCS, table
from channels.links.sending import Delivery, Sending
from channels.modem import bits_per_symbol

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]

# Rows that Sionna SYS has block error rates for (category 1, PDSCH: no transform precoding).
_FIRST = {1: 3, 2: 2}
_FLOOR = 1e-4  # its tables count about 3000 blocks: 0 and 1 mean less and more than this


def check(modulation: str, code_rate: float) -> MCS:
    """The row of a 38.214 table with that modulation and code rate; :class:`InputError` when there is none.

    Any rate of QPSK up to 1/5 will do, too: there, one row stands in for all (see :func:`block_error_rate`), and
    robust classes of packets can be sent.
    """
    bits_per_symbol(modulation)
    rate = float(fec.code_rate(code_rate))
    rows = [row for number in (1, 2, 3) for row in table(number) if row.modulation == modulation]
    nearest = min(rows, key=lambda row: abs(row.code_rate - rate))
    if abs(nearest.code_rate - rate) <= 1e-3:
        return nearest
    if modulation == "qpsk" and rate <= 0.2:
        return MCS(modulation, rate)
    raise InputError(
        f"fidelity 'system' knows the MCSs of TS 38.214 alone, and {modulation} at rate {rate:.4g} is none; "
        f"the nearest is {nearest.label!r}, rate {round(nearest.code_rate * 1024, 1):g}/1024"
    )


def deliver(sent: Sending, rows: Sequence[int]) -> dict[int, Delivery]:
    """Lose each payload with the probability that Sionna SYS's tables give for the SINRs of its symbols.

    The SINRs 1 / no of the symbols of a code block are mapped to one effective SINR (exponential mapping, EESM),
    and that to a block error rate measured over AWGN. A payload is lost if any of its code blocks is. Its fate is
    one uniform draw from its seed: at a higher SNR it can only turn for the better. Copies add their SINRs, since
    the receiver adds their LLRs. Blocks of more than 2000 bits count as blocks of 2000.
    """
    result = {}
    for shape, same in sent.groups(rows):
        survives = _survival(sent, shape, same)
        for row, probability in zip(same, survives, strict=True):
            payload = bytes(sent.payloads[row])
            ok = bool(generator(sent.seeds[row], "fate").random() < probability)
            result[row] = Delivery(payload if ok else bytes(len(payload)), ok)
    return result


def _survival(sent: Sending, shape: Grant, rows: Sequence[int]) -> list[float]:
    """The probability that all code blocks of those rows arrive, rows of one grant."""
    import torch

    x = torch.full((len(rows), shape.symbols), (1 + 1j) / 2**0.5)  # QPSK, which every channel takes
    seeds = [sent.seeds[r] for r in rows]
    _, no = sent.channel(x, sent.snr_db[list(rows)], seeds, power="trust")
    sinr = (1 / no.double()).clamp_min(1e-12)  # Sionna leaves symbols of SINR 0 (erased ones) out of the mean
    sinr = sinr.reshape(len(rows), shape.copies, shape.blocks, -1).sum(dim=1)
    errors = block_error_rate(sinr, shape.bits_per_symbol, shape.k, shape.n)
    return np.prod(1 - errors, axis=1).tolist()  # type: ignore[no-any-return]


def block_error_rate(sinr: Tensor, bits: int, k: int, n: int) -> Floats:
    """Block error rates of (k, n) LDPC blocks over symbols of known SINRs.

    :param sinr: [..., symbols] float64, signal over noise power of each symbol of a block.
    :param bits: bits per symbol.
    :returns: [...] float64. Blocks of a rate below that of Sionna's lowest row, 251/1024 for QPSK, are given that row
        at a higher SINR (see :func:`_row`).
    """
    import torch
    from scipy import special

    number, index, shift = _row(bits, k / n)
    flat = sinr.reshape(-1, 1, sinr.shape[-1], 1, 1)
    mcs = torch.full((len(flat), 1), index, dtype=torch.int32)
    effective = _eesm()(flat, mcs_index=mcs, mcs_table_index=number).numpy().reshape(sinr.shape[:-1])
    errors = special.ndtr(-np.interp(10 * np.log10(shift * effective), *_waterfall(number, index, k)))
    return np.select([errors <= _FLOOR, errors >= 1 - _FLOOR], [0.0, 1.0], errors)


@lru_cache(1024)
def _row(bits: int, rate: float) -> tuple[int, int, float]:
    """Table and index of the row that a block of that rate was asked for, and a factor for its SINR.

    Rounding makes the rate of a block lower than asked, so it is the row of the next higher rate. Sionna's lowest
    row of QPSK has rate 251/1024. Below, it stands in, and the SINR grows by what the two rates are apart in
    capacity: (2^(m R) - 1) / (2^(m rate) - 1) for m bits per symbol.
    """
    rows = sorted(
        (row.code_rate, number, index)
        for number, first in _FIRST.items()
        for index, row in enumerate(table(number))
        if index >= first and bits_per_symbol(row.modulation) == bits
    )
    nearest, number, index = next((row for row in rows if row[0] >= rate - 2e-3), rows[-1])
    stands_in = rate < 0.9 * rows[0][0]
    shift = (2 ** (bits * nearest) - 1) / (2 ** (bits * rate) - 1) if stands_in else 1.0
    return number, index, shift


@lru_cache(1)
def _eesm() -> Any:
    """Sionna's effective SINR, in double precision."""
    from sionna.sys import EESM

    return EESM(sinr_eff_max_db=100.0, precision="double", device="cpu")


@lru_cache(2)
def _rows(number: int) -> dict[int, Any]:
    """Sionna's measured block error rates of one 38.214 table, by MCS index."""
    import sionna.sys

    path = Path(sionna.sys.__file__).parent / "bler_tables" / f"PDSCH_table{number}.json"
    rows: dict[int, Any] = sionna.sys.PHYAbstraction.load_table(str(path))["category"][1]["index"][number][
        "MCS"
    ]
    return rows


@lru_cache(1024)
def _waterfall(number: int, index: int, k: int) -> tuple[Floats, Floats]:
    """SNRs [dB], and normal quantiles of the probability that a block of k bits arrives at them.

    The tables have a point every 1.3 to 1.8 dB, wider than a waterfall. Joined by lines are therefore the quantiles,
    over which a waterfall is nearly a line (Sionna joins logarithms, which is up to 0.5 dB too good); between block
    sizes, over the logarithm of the size. Beyond its ends a table goes on as steeply as it ended.
    """
    from scipy import special

    entry = _rows(number)[index]
    sizes = sorted(entry["CBS"])
    rates = np.array([entry["CBS"][size]["BLER"] for size in sizes])
    quantiles = -special.ndtri(np.clip(rates, _FLOOR, 1 - _FLOOR))
    size, snrs = np.log(min(max(k, sizes[0]), sizes[-1])), np.array(entry["SNR_db"])
    arrives = np.array([np.interp(size, np.log(sizes), column) for column in quantiles.T])
    slopes = np.maximum(np.diff(arrives)[[0, -1]] / np.diff(snrs)[[0, -1]], 0.3)
    ends = arrives[0] - 100 * slopes[0], arrives[-1] + 100 * slopes[1]
    return np.array([snrs[0] - 100, *snrs, snrs[-1] + 100]), np.array([ends[0], *arrives, ends[1]])
