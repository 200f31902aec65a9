"""Sweeps over any field of a scenario, the shipped scripts, and the plan that --dry-run prints."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import semcom
from channels.errors import InputError
from semcom import cli
from semcom.sweep.axes import Sweep
from semcom.sweep.estimate import estimate
from semcom.sweep.progress import Step
from tests.sweep import fakes

SCRIPTS = Path(__file__).parents[2] / "scripts"
AXES = {"systems.fake-text.repeat": [1, 2], "link.code_rate": ["1/3", "1/2"], "sweep.snr_db": [-1, 12]}


def test_every_combination_is_a_run(tmp_path: Path) -> None:
    steps: list[Step] = []
    found = semcom.sweep(fakes.scenario(), AXES, tmp_path, progress=steps.append)
    frame = found.to_frame()
    assert list(frame.columns[:2]) == ["systems.fake-text.repeat", "link.code_rate"]
    assert len(found.runs) == 4 and set(frame["snr_db"].dropna()) == {-1, 12}
    for values, results in found.runs:
        alone = fakes.scenario(
            systems=[
                {"name": "fake-text", "repeat": values["systems.fake-text.repeat"]},
                *fakes.scenario()["systems"][1:],
            ],
            link={**fakes.scenario()["link"], "code_rate": values["link.code_rate"]},
            sweep={"snr_db": [-1, 12], "channel_uses": [30, 400]},
        )
        expected = semcom.run(alone, tmp_path / "alone" / str(values)).to_frame()
        part = frame[(frame[list(values)] == list(values.values())).all(axis=1)]
        assert part[expected.columns].reset_index(drop=True).equals(expected)
        assert results.to_frame().equals(expected)
    done = [step.done for step in steps]
    assert done == sorted(done) and done[-1] == steps[-1].total
    assert Sweep.open(tmp_path).to_frame().equals(frame)


def test_values_that_are_added_are_all_that_is_computed(tmp_path: Path) -> None:
    base = fakes.scenario(systems=["fake-text"])
    semcom.sweep(base, {"systems.0.repeat": [1, 2]}, tmp_path)
    fakes.CALLS.clear()
    found = semcom.sweep(base, {"systems.0.repeat": [1, 2, 3]}, tmp_path)
    assert len(found.runs) == 3 and fakes.CALLS["transmitted"] == 2 * 5


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"systems.fake-txt.repeat": [1]}, "there is no 'fake-txt' here"),
        ({"systems.fake-text.repeats": [1]}, "Did you mean 'repeat'"),
        ({"sweep.snr": [1]}, "Did you mean 'snr_db'"),
        ({"seed": []}, "'seed': expected a list of values"),
        ({"seed": 3}, "expected a list of values, got 3"),
        ({"data.name": "scenes"}, "expected a list of values"),
        ({"seed": [1, "one"]}, "seed: expected a seed"),
    ],
)
def test_bad_axes(axes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        semcom.sweep(fakes.scenario(), axes, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_sweep_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sweep here"):
        Sweep.open(tmp_path)


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("snr_bandwidth", {"sweep.snr_db": [0, 15], "sweep.channel_uses": [96, 768]}),
        ("tokens_bits", {"systems.tokens.keep": [4, 8], "systems.tokens.bits": [1, 4]}),
        ("antennas_snr", {"link.tx_antennas": [1, 2], "link.rx_antennas": [1, 2], "sweep.snr_db": [0, 10]}),
    ],
)
def test_scripts(
    name: str,
    axes: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert set(axes) <= set(script.AXES)
    for given in script.AXES.items():  # every value that the script names is a value
        for value in given[1]:
            semcom.Scenario.load(script.SCENARIO).replace({given[0]: value})
    script.AXES = axes
    monkeypatch.setattr(sys, "argv", [name, "--samples", "3", "--out", str(tmp_path)])
    script.main()
    shown = capsys.readouterr().out
    assert {"snr_bandwidth": "768", "tokens_bits": "outage", "antennas_snr": "link.rx_antennas"}[
        name
    ] in shown


def test_dry_run_counts_exactly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = fakes.scenario(data={"name": "fake-pictures", "samples": 120})
    planned = estimate(semcom.Scenario.load(scenario))
    fakes.CALLS.clear()
    results = semcom.run(scenario, tmp_path / "run", cache=False)
    assert (planned.points, planned.groups, planned.chunks, planned.images) == (26, 10, 2, 120)
    assert planned.encodes == fakes.CALLS["transmitted"]
    assert planned.answers == len(results.samples())
    size = (results.folder / "results.sqlite").stat().st_size
    assert 0.4 < planned.bytes / size < 2.5
    assert planned.seconds > 0


def test_dry_run_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "smoke", "--dry-run", "--workers", "2", "--set", "data.samples=3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"\d+ points in \d+ groups", lines[0]) and "messages to encode" in lines[1]
    assert "on 2 workers" in lines[-1] and not list(tmp_path.iterdir())
