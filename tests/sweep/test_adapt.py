"""Adaptive links: what a measured table chooses stands in the resolved scenario, for every SNR of the sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import channels
from channels.errors import InputError
from semcom.scenario import Scenario, from_dict
from semcom.sweep.adapt import resolved
from semcom.sweep.fingerprint import Fingerprint
from semcom.sweep.plan import plan

RAW: dict[str, Any] = {
    "title": "Adaptive",
    "data": {"name": "scenes", "split": "test", "samples": 2},
    "systems": ["caption-text"],
    "link": {"channel": "awgn", "mcs": {"target_bler": 0.1, "of": ["qpsk-1/8", "qpsk-1/2", "qam16-0.6667"]}},
    "tasks": ["vqa"],
    "sweep": {"snr_db": [-9, 3, 20], "channel_uses": [256]},
}


@pytest.fixture(autouse=True)
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of block error rates are measured here, not taken from the user's cache."""
    monkeypatch.setenv("SEMCOM_CACHE", str(tmp_path / "cache"))


def test_every_snr_gets_the_fastest_scheme_that_holds() -> None:
    """Far from the waterfalls of (rate 1/8: -8 dB; 1/2: 2 dB; 16-QAM 2/3: 9 dB) there is no doubt which that is."""
    scenario = resolved(Scenario.load(RAW))
    assert {link.mcs: link.snr_db for link in scenario.links} == {
        "qpsk-1/8": (-9.0,),
        "qpsk-1/2": (3.0,),
        "qam16-0.6667": (20.0,),
    }
    assert from_dict(scenario.to_dict()) == scenario and resolved(scenario) == scenario
    met = [(g.link.mcs, p.snr_db) for g in plan(scenario) if g.link for p in g.points]
    assert met == [("qpsk-1/8", -9.0), ("qpsk-1/2", 3.0), ("qam16-0.6667", 20.0)]


def test_the_choice_is_that_of_the_library() -> None:
    link = channels.AdaptiveLink(channels.create("awgn"), ["qpsk-1/8", "qpsk-1/2", "qam16-0.6667"], 0.1)
    for chosen in resolved(Scenario.load(RAW)).links:
        for snr_db in chosen.snr_db or ():
            assert link.choice(snr_db).mcs.modulation == chosen.modulation


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (
            {"channel": "awgn", "mcs": [{"mcs": "qpsk-1/2", "snr_db": [3, 20]}]},
            "no mcs of channel 'awgn' lists .* -9",
        ),
        ({"channel": "awgn", "mcs": {"target_bler": 0.1}, "harq": {"scheme": "chase"}}, "without harq"),
        ({"channel": "awgn", "mcs": {"target_bler": 0.1}, "coding": "polar"}, "for coding 'ldpc'"),
    ],
)
def test_what_cannot_be_adapted(link: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolved(Scenario.load(RAW | {"link": link}))


def test_another_trace_under_the_same_name_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "drive.csv"
    file.write_text("time_s,snr_db\n0,1\n1,9\n")
    scenario = Scenario.load(RAW | {"link": {"channel": "trace", "file": str(file)}})
    before = Fingerprint.of(scenario)
    file.write_text("time_s,snr_db\n0,1\n1,-9\n")
    assert [d for d in Fingerprint.of(scenario).differences(before) if "drive.csv" in d]
