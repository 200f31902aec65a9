"""Adaptive stopping: every point takes as many chunks as its interval needs, the same ones however it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import semcom
from channels.errors import InputError
from semcom import stats
from semcom.sweep.progress import Step
from semcom.sweep.results import Results
from tests.sweep import fakes
from tests.sweep.test_run import export

PRECISION = 0.033


def scenario(**sweep: Any) -> dict[str, Any]:
    """Points at which few, some and all packets arrive."""
    grid = {"snr_db": [-1.6, -1.2, 12], "channel_uses": [60, 400], **sweep}
    data = {"name": "fake-pictures", "samples": 1100}
    return fakes.scenario(
        systems=["fake-text", "fake-analog"], sweep=grid, data=data, tasks=["fake-parity", "fake-numbers"]
    )


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return semcom.run(scenario(precision=PRECISION), tmp_path_factory.mktemp("adaptive"))


def test_every_point_stops_where_its_interval_is_narrow(adaptive: Results, tmp_path: Path) -> None:
    """Against the run over all samples: each point is the shortest prefix, of 300 or more, that is narrow."""
    whole = semcom.run(scenario(), tmp_path).samples()
    taken = set()
    frame = adaptive.to_frame()
    binary = {"fake-numbers": True, "fake-parity": False}
    for point, rows in frame[frame["question_type"] == ""].groupby("point"):
        answers = whole[whole["point"] == point]
        number = answers["sample"].str.removeprefix("picture-").astype(int)
        for n in range(300, 1201, 100):
            widths = []
            for task, part in answers[number < n].sort_index().groupby("task"):
                part = part.assign(n=number).sort_values(["n", "query"])
                _, low, high = stats.interval(
                    part["score"].tolist(), part["sample"].tolist(), binary[str(task)]
                )
                widths.append((high - low) / 2)
            if max(widths) <= PRECISION:
                break
        n = min(n, 1100)
        assert set(rows["samples"]) == {n}
        taken.add(n)
        own = adaptive.samples()
        own = own[own["point"] == point].reset_index(drop=True)
        assert own.equals(answers[number < n].reset_index(drop=True))
    assert 300 in taken and len(taken) > 1, taken


def test_an_interrupted_run_takes_the_same_samples(adaptive: Results, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    stops = 0
    while True:
        left = 7

        def pull(step: Step) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Stop

        try:
            results = semcom.run(scenario(precision=PRECISION), tmp_path, progress=pull)
            break
        except Stop:
            stops += 1
    assert stops > 2 and export(results) == export(adaptive)


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    steps: list[Step] = []
    semcom.run(scenario(precision=PRECISION), tmp_path, progress=steps.append)
    done = [step.done for step in steps]
    assert done == sorted(done) and done[-1] == steps[-1].total == 2 + 2 * 2 * 3


def test_another_precision_is_another_scenario(adaptive: Results) -> None:
    with pytest.raises(InputError, match=r"sweep\.precision: 0\.033 -> 0\.1"):
        semcom.run(scenario(precision=0.1), adaptive.folder)


@pytest.mark.parametrize("precision", [0, -0.1, 0.7, "fine", True])
def test_bad_precision(precision: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sweep\.precision: expected half the width of an interval"):
        semcom.run(scenario(precision=precision), tmp_path)
