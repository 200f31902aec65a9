"""MCS tables against Sionna's copy of TS 38.214, and names that people write."""

from __future__ import annotations

from typing import Any

import pytest

from channels import fec
from channels.errors import InputError
from channels.links.mcs import MCS, candidates, mcs, table
from channels.modem import bits_per_symbol

RESERVED = {1: 29, 2: 28, 3: 29}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_tables_are_those_of_sionna(number: int) -> None:
    from sionna.phy.nr.utils import decode_mcs_index

    rows = table(number)
    assert len(rows) == RESERVED[number]
    for index, row in enumerate(rows):
        order, rate = decode_mcs_index(index, table_index=number, is_pusch=False)
        assert (bits_per_symbol(row.modulation), row.code_rate) == (int(order), pytest.approx(float(rate)))
        assert row == mcs(f"table{number}-{index}") and row.label == f"table{number}-{index}"
        assert row.efficiency == pytest.approx(int(order) * float(rate))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_row_is_a_rate_of_the_code(number: int) -> None:
    for row in table(number):
        assert float(fec.code_rate(row.code_rate)) == row.code_rate
        assert (row.code_rate * 2048).is_integer()  # the tables count in 1024ths, and a few halves


def test_names() -> None:
    assert mcs("qam16-1/2") == MCS("qam16", 0.5, "qam16-1/2") and mcs("qam16-0.5").code_rate == 0.5
    assert mcs("qpsk-1/3").code_rate == pytest.approx(1 / 3) and MCS("qpsk", 1 / 3).label == "qpsk-1/3"
    assert mcs("table1-10").modulation == "qam16" and mcs("table2-27").code_rate == 948 / 1024


def test_candidates_are_sorted_and_each_is_there_once() -> None:
    found = candidates(["table1-17", "qam16-1/2", "qpsk-1/2", "qam16-1/2", MCS("qpsk", 0.2)])
    assert [m.label for m in found] == ["qpsk-1/5", "qpsk-1/2", "qam16-1/2", "table1-17"]
    assert candidates("qpsk-1/2") == [mcs("qpsk-1/2")]
    # Rows 16 and 17 of table 1 change modulation at nearly the same efficiency: 2.5703 and 2.5664.
    assert sorted(m.label for m in candidates("table1")) == sorted(m.label for m in table(1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("table4-3", "MCS table must be 1, 2 or 3"),
        ("tableX-3", "MCS table must be 1, 2 or 3"),
        ("table1-29", "index 29 is reserved .* give 0 to 28"),
        ("table2-28", "index 28 is reserved .* give 0 to 27"),
        ("table1-32", "index must be from 0 to 28"),
        ("table1--1", "index must be from 0 to 28"),
        ("table1-x", "index must be from 0 to 28"),
        ("qam32-1/2", "unknown modulation 'qam32'"),
        ("qam16-half", "code rate must be like 1/2 or 0.5"),
        ("qam16-1/0", "code rate must be like"),
        ("qam16-2", "code_rate must be"),
        ("qam16-0.95", "code_rate must be .*from 1/100 to 0.926"),
        ("qam16", "an MCS is written 'qam16-1/2'"),
        ("", "an MCS is written"),
        (5, "an MCS is written"),
    ],
)
def test_bad_names(text: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mcs(text)


@pytest.mark.parametrize("names", [[], "table7", 5, None, [5]])
def test_bad_candidates(names: Any) -> None:
    with pytest.raises(InputError, match=r"mcs must be|MCS table must be|an MCS is written"):
        candidates(names)


@pytest.mark.parametrize("number", [0, 4, True, "1", 1.5])
def test_bad_tables(number: Any) -> None:
    with pytest.raises(InputError, match="MCS table must be"):
        table(number)
