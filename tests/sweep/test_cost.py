"""Costs against systems whose cost is known, energy against a calculation by hand, the front against brute force."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import semcom
from channels.errors import InputError
from channels.links.radio import LIGHT_SPEED, Radio
from semcom import cli, report
from semcom.sweep.cost import DEVICES, Costs, _memory, measure, pareto
from semcom.sweep.results import Results
from semcom.systems import SYSTEMS
from semcom.types import Recovered
from tests.sweep import fakes

LAYER = torch.nn.Linear(10, 20)
HALF = 48 * 2**20 // 4  # more than malloc ever keeps for itself (32 MiB), so that the peak shows it


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """A system of which all is known: one layer at the transmitter; 48 MiB and 20 ms at the receiver."""

    class Known(fakes.Text):
        def transmit(self, images: Any, *rest: Any) -> Any:
            for _ in images:
                LAYER(torch.zeros(3, 10))
            return super().transmit(images, *rest)

        def receive(self, receptions: Any, *rest: Any) -> list[Recovered]:
            time.sleep(0.02)
            torch.ones(HALF).sum()
            return super().receive(receptions, *rest)

    SYSTEMS.register("fake-known", family="baselines", paper="none")(Known)
    yield
    del SYSTEMS["fake-known"]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    data = {"name": "fake-pictures", "samples": 21}
    return semcom.run(fakes.scenario(systems=["fake-known", "fake-text"], data=data), tmp_path)


def test_known_costs_are_measured(results: Results) -> None:
    costs = measure(results.folder, images=5)
    assert [(c.system, c.budget_uses) for c in costs.systems] == [
        (system, uses) for system in ("fake-known", "fake-text") for uses in (30, 400)
    ]
    one = costs.systems[1]
    assert one.transmitter.flops == 2 * 3 * 10 * 20  # a multiply-add is two
    assert one.transmitter.parameters == 10 * 20 + 20
    assert (one.receiver.flops, one.receiver.parameters) == (0, 0)
    assert 20 <= one.receiver.median_ms <= one.receiver.p95_ms
    assert one.transmitter.median_ms < one.receiver.median_ms
    if Path("/proc/self/clear_refs").exists():
        assert 40 <= one.receiver.peak_mib < 90
    plain = costs.systems[3]
    assert (plain.transmitter.flops, plain.transmitter.parameters) == (0, 0)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak of a process")
def test_memory_that_was_free_but_kept_is_counted() -> None:
    pieces = [bytes(2000) for _ in range(80_000)]  # in malloc's heap, which keeps them
    after = bytes(2000)
    del pieces
    risen = _memory()
    torch.ones(HALF).sum()
    assert 40 <= risen() < 90
    del after


def test_energy_by_hand(results: Results) -> None:
    metres = 10**5 * LIGHT_SPEED / (4 * np.pi * 3.5e9)  # 100 dB of free space
    radio = Radio(distance_m=metres, noise_figure_db=10, amplifier_efficiency=0.5, bandwidth_mhz=2)
    costs = measure(results.folder, 2, "t4", "jetson-agx-orin", radio)
    frame = results.to_frame()
    found = costs.energies(frame[(frame["system"] == "fake-known") & (frame["budget_uses"] == 400)])
    # kT at 290 K is 4.004e-21 J, -174 dBm/Hz; at 12 dB SNR: 12 + 100 + 10 dB above it, twice for half the efficiency
    at = found[found["snr_db"] == 12].iloc[0]
    assert at["transmit_j"] == pytest.approx(at["channel_uses"] * 2 * 4.004e-21 * 10**12.2, rel=1e-3)
    assert at["compute_j"] == pytest.approx(1200 * 70 / 8.1e12)
    assert at["energy_j"] == at["transmit_j"] + at["compute_j"]
    assert at["airtime_s"] == at["channel_uses"] / 2e6
    assert all(device.source for device in DEVICES.values())


def test_front_by_brute_force() -> None:
    seed = np.random.SeedSequence().entropy
    values = np.random.default_rng(seed).integers(0, 5, (60, 3))
    frame = pd.DataFrame(values, columns=["score", "uses", "joules"])
    expected = []
    for a, b, c in values:
        beaten = False
        for x, y, z in values:
            beaten |= bool(x >= a and y <= b and z <= c and (x > a or y < b or z < c))
        expected.append(not beaten)
    assert pareto(frame, "score", ("uses", "joules")) == expected, f"seed {seed}"


def test_report_and_command(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cost", str(results.folder), "--images", "2"]) == 0
    shown = capsys.readouterr().out
    assert "fake-known" in shown and "lower bound" in shown
    costs = Costs.load(results.folder)
    assert costs is not None and costs.images == 2
    paths = report.write(results, results.folder, examples=0)
    assert {"pareto-fake-numbers.png", "pareto-fake-parity.png"} <= {path.name for path in paths}
    page = paths[-1].read_text()
    assert "What it costs to compute" in page and "Ringed:" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "11"], "the run has 21 images; give --images 10 or fewer"),
        (["--receiver", "t5"], "unknown device profile 't5'. Did you mean 't4'?"),
    ],
)
def test_bad_arguments(
    arguments: list[str], message: str, results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["cost", str(results.folder), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_damaged_file(results: Results) -> None:
    assert Costs.load(results.folder) is None
    (results.folder / "costs.json").write_text(json.dumps({"images": 3}))
    with pytest.raises(InputError, match="damaged"):
        Costs.load(results.folder)
