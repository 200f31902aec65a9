"""Modulation and coding schemes (MCS), by name or by their row in the tables of 3GPP TS 38.214."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from channels import fec
from channels.errors import InputError
from channels.modem import bits_per_symbol

_MODULATION = {2: "qpsk", 4: "qam16", 6: "qam64", 8: "qam256"}
# TS 38.214, tables 5.1.3.1-1 (up to 64QAM), -2 (up to 256QAM) and -3 (low spectral efficiency): for each
# modulation order, 1024 times the target code rates of consecutive indices. The rows above them are reserved.
_ROWS: dict[int, dict[int, Sequence[float]]] = {
    1: {
        2: (120, 157, 193, 251, 308, 379, 449, 526, 602, 679),
        4: (340, 378, 434, 490, 553, 616, 658),
        6: (438, 466, 517, 567, 616, 666, 719, 772, 822, 873, 910, 948),
    },
    2: {
        2: (120, 193, 308, 449, 602),
        4: (378, 434, 490, 553, 616, 658),
        6: (466, 517, 567, 616, 666, 719, 772, 822, 873),
        8: (682.5, 711, 754, 797, 841, 885, 916.5, 948),
    },
    3: {
        2: (30, 40, 50, 64, 78, 99, 120, 157, 193, 251, 308, 379, 449, 526, 602),
        4: (340, 378, 434, 490, 553, 616),
        6: (438, 466, 517, 567, 616, 666, 719, 772),
    },
}


@dataclass(frozen=True)
class MCS:
    """A modulation and a code rate, and the name under which they were asked for.

    :param modulation: "qpsk", "qam16", "qam64" or "qam256".
    :param code_rate: information bits (CRC included) per code bit, 1/100 to 0.926.
    :param label: for people and tables; "modulation-rate" when left out.
    """

    modulation: str
    code_rate: float
    label: str = ""

    def __post_init__(self) -> None:
        bits_per_symbol(self.modulation)
        rate = fec.code_rate(self.code_rate)
        object.__setattr__(self, "code_rate", float(rate))
        if not self.label:
            object.__setattr__(self, "label", f"{self.modulation}-{rate}")

    @property
    def efficiency(self) -> float:
        """Information bits per symbol (CRC included)."""
        return bits_per_symbol(self.modulation) * self.code_rate


def table(number: int) -> list[MCS]:
    """All rows of table 5.1.3.1-``number`` of TS 38.214 that are not reserved, in the order of their index.

    1 goes up to 64-QAM, 2 up to 256-QAM, and 3 starts at low spectral efficiency.
    """
    if isinstance(number, bool) or not isinstance(number, numbers.Integral) or number not in _ROWS:
        raise InputError(f"MCS table must be 1, 2 or 3 (TS 38.214, 5.1.3.1), not {number!r}")
    rows = [(bits, rate) for bits, rates in _ROWS[int(number)].items() for rate in rates]
    return [MCS(_MODULATION[b], r / 1024, f"table{number}-{i}") for i, (b, r) in enumerate(rows)]


def mcs(text: str) -> MCS:
    """The MCS called ``text``: "qam16-1/2", "qam16-0.5", or "table1-10" (row 10 of table 5.1.3.1-1).

    :raises InputError: for anything else; for reserved rows and for rates outside 5G LDPC, too.
    """
    first, dash, last = text.partition("-") if isinstance(text, str) else ("", "", "")
    if not dash:
        raise InputError(f"an MCS is written 'qam16-1/2' or 'table1-10', not {text!r}")
    if first.startswith("table"):
        return _row(text, first.removeprefix("table"), last)
    try:
        rate = Fraction(last.strip())
    except (ValueError, ZeroDivisionError):
        raise InputError(f"MCS {text!r}: the code rate must be like 1/2 or 0.5, not {last!r}") from None
    return MCS(first, rate if isinstance(rate, float) else float(rate), text)


def _row(text: str, number: str, index: str) -> MCS:
    rows = table(int(number) if number.isdecimal() else number)  # type: ignore[arg-type]
    if not index.isdecimal() or int(index) > 31:
        raise InputError(f"MCS {text!r}: the index must be from 0 to {len(rows) - 1}, not {index!r}")
    if int(index) >= len(rows):
        raise InputError(
            f"MCS {text!r}: index {index} is reserved (for retransmissions); give 0 to {len(rows) - 1}"
        )
    return rows[int(index)]


def candidates(names: str | MCS | Sequence[str | MCS]) -> list[MCS]:
    """The MCSs that ``names`` stands for, by rising efficiency: "table1", one MCS, or a list of MCSs.

    Of several with equal efficiency, the one of lower modulation order comes first.
    """
    parts = [names] if isinstance(names, str | MCS) else names
    found: list[MCS] = []
    try:
        for name in parts:
            if isinstance(name, str) and name.startswith("table") and "-" not in name:
                number = name.removeprefix("table")
                found += table(int(number) if number.isdecimal() else number)  # type: ignore[arg-type]
            else:
                found.append(name if isinstance(name, MCS) else mcs(name))
    except TypeError:
        found = []
    if not found:
        raise InputError(f"mcs must be 'table1' to 'table3' or a list like ['qpsk-1/2'], not {names!r}")
    return sorted(dict.fromkeys(found), key=lambda m: (m.efficiency, bits_per_symbol(m.modulation)))
