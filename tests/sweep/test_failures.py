"""Systems that fail: recorded with the traceback, shown, tried again on request; the others go on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import semcom
from channels.errors import InputError
from semcom import report
from semcom.sweep.limit import time_limit
from semcom.sweep.part import OutOfTime
from semcom.sweep.progress import Step
from tests.sweep import fakes
from tests.sweep.test_run import export


def broken(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any], system: type = fakes.Packets) -> None:
    """Make a system fail at the receiver."""

    def receive(self: Any, *arguments: Any) -> Any:
        act()
        raise AssertionError("not reached")

    monkeypatch.setattr(system, "receive", receive)


def boom() -> None:
    raise ZeroDivisionError("the weights are zero")


def hungry() -> None:
    raise MemoryError


def cuda() -> None:
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


def slow() -> None:
    for _ in range(600):
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("act", "kind", "error"),
    [
        (boom, "exception", "ZeroDivisionError: the weights are zero"),
        (hungry, "out of memory", "MemoryError"),
        (cuda, "out of memory", "RuntimeError: CUDA out of memory"),
        (slow, "time-out", "OutOfTime: a chunk took longer than 0.5 s"),
    ],
)
def test_a_failure_is_recorded_and_the_others_go_on(
    act: Callable[[], None], kind: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = semcom.run(fakes.scenario(), tmp_path / "good")
    steps: list[Step] = []
    with monkeypatch.context() as patch:
        broken(patch, act)
        bad = semcom.run(fakes.scenario(), tmp_path / "bad", timeout=0.5, progress=steps.append)
    failures = bad.failures()
    # at 30 uses fake-packets does not fit its budget, but an outage is received, too
    assert list(failures["system"]) == ["fake-packets"] * 2 and list(failures["budget_uses"]) == [30, 400]
    assert set(failures["kind"]) == {kind} and list(failures["points"]) == [3, 3]
    assert failures["error"][0].startswith(error)
    assert act.__name__ in failures["trace"][0] and "Traceback" in failures["trace"][0]
    assert (steps[-1].failed, steps[-1].done, bad.progress()) == (6, 26, (20, 26))
    others = good.samples()
    others = others[others["system"] != "fake-packets"].reset_index(drop=True)
    assert bad.samples().equals(others)
    fakes.CALLS.clear()
    assert bad.failures().equals(semcom.run(fakes.scenario(), tmp_path / "bad").failures())
    assert not fakes.CALLS  # what failed is not tried again by itself
    mended = semcom.run(fakes.scenario(), tmp_path / "bad", retry_failed=True)
    assert mended.failures().empty and export(mended) == export(good)


@pytest.mark.parametrize("moody", [False, True])
@pytest.mark.parametrize("precision", [None, 0.05])
def test_a_failure_at_one_snr_loses_that_snr_only(
    moody: bool, precision: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried again, the results are those of a run without a failure, also where they depend on what is received at
    once."""
    sweep: dict[str, Any] = {"snr_db": [-6, 3, 40], "channel_uses": [30, 400]}
    scenario = fakes.scenario(
        systems=["fake-text", {"name": "fake-faulty", "moody": moody}],
        data={"name": "fake-pictures", "samples": 150 if precision is None else 650},
        sweep=sweep if precision is None else {**sweep, "precision": precision},
        tasks=["fake-numbers"],
    )
    good = semcom.run(scenario, tmp_path / "good")
    steps: list[Step] = []
    with monkeypatch.context() as patch:
        patch.setattr(fakes.Faulty, "fault_db", 3.0)
        bad = semcom.run(scenario, tmp_path / "bad", progress=steps.append)
        assert semcom.run(scenario, tmp_path / "bad").failures().equals(bad.failures())
    failures = bad.failures()
    assert list(failures["system"]) == ["fake-faulty"] * 2 and list(failures["budget_uses"]) == [30, 400]
    assert set(failures["snr_db"]) == {"3"} and list(failures["points"]) == [1, 1]
    assert failures["error"][0] == "FloatingPointError: not a number" and "receive" in failures["trace"][0]
    assert bad.failed() == {("fake-faulty", 30, 3.0), ("fake-faulty", 400, 3.0)}
    assert (steps[-1].failed, steps[-1].done, bad.progress()) == (2, 14, (12, 14))
    if not moody:
        others = good.samples()
        others = others[(others["system"] != "fake-faulty") | (others["snr_db"] != 3)].reset_index(drop=True)
        assert bad.samples().equals(others)
    mended = semcom.run(scenario, tmp_path / "bad", retry_failed=True)
    assert mended.failures().empty and export(mended) == export(good)


def test_a_task_that_fails_at_one_snr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where anything arrives, that is; the table says which point it was."""
    answer = fakes.Numbers.answer

    def picky(self: Any, recovered: Any, queries: Any) -> Any:
        if any(r.text is not None for r in recovered):
            boom()
        return answer(self, recovered, queries)

    monkeypatch.setattr(fakes.Numbers, "answer", picky)
    scenario = fakes.scenario(
        systems=["fake-packets", "fake-analog"], sweep={"snr_db": [-12, -9, 12], "channel_uses": [400]}
    )
    results = semcom.run(scenario, tmp_path)
    failures = results.failures()
    assert list(failures["snr_db"]) == ["12"] and "in picky" in failures["trace"][0]
    row = next(x for x in report.terminal_table(results, budget=400).splitlines() if "fake-packets" in x)
    assert row.split().count("failed") == 1


def test_failures_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, boom)
    results = semcom.run(fakes.scenario(), tmp_path)
    row = next(x for x in report.terminal_table(results, budget=400).splitlines() if "fake-packets" in x)
    assert row.split()[1:] == ["failed"] * 3
    page = report.write(results, tmp_path / "out", examples=1)[-1].read_text()
    assert "ZeroDivisionError: the weights are zero" in page and "in boom" in page
    assert "is missing: ZeroDivisionError" in page  # the panel of samples
    assert "ZeroDivisionError" in (tmp_path / "run.log").read_text()


def test_wrong_input_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nothing could be computed, the scenario is to blame."""

    def fail(*arguments: Any) -> Any:
        raise InputError("vlm: not there")

    monkeypatch.setattr(fakes.Numbers, "answer", fail)
    with pytest.raises(InputError, match=r"^vlm: not there$"):
        semcom.run(fakes.scenario(), tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(fakes.Packets, "transmit", fail)
    failures = semcom.run(fakes.scenario(), tmp_path, cache=False).failures()
    assert set(failures["kind"]) == {"bad input"} and failures["error"][0] == "vlm: not there"


def test_a_later_chunk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunks before it stay, unseen, and are not computed again."""
    scenario = fakes.scenario(systems=["fake-text"], data={"name": "fake-pictures", "samples": 250})
    good = export(semcom.run(scenario, tmp_path / "good", cache=False))
    receive = fakes.Text.receive

    def third(self: Any, receptions: Any, *rest: Any) -> Any:
        return boom() if len(receptions) == 50 else receive(self, receptions, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(fakes.Text, "receive", third)
        bad = semcom.run(scenario, tmp_path / "bad", cache=False)
    assert (
        list(bad.failures()["points"]) == [3] * len(bad.failures()) and bad.samples(system="fake-text").empty
    )
    fakes.CALLS.clear()
    assert export(semcom.run(scenario, tmp_path / "bad", retry_failed=True, cache=False)) == good
    assert fakes.CALLS["transmitted"] == 2 * 50


def test_time_limit() -> None:
    start = time.monotonic()
    with pytest.raises(OutOfTime, match=r"longer than 0\.2 s"), time_limit(0.2):
        slow()
    assert time.monotonic() - start < 5
    with time_limit(0.1):
        pass
    time.sleep(0.2)  # a limit that was kept does not ring later
    with time_limit(None):
        time.sleep(0.01)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_bad_timeout(timeout: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="timeout"):
        semcom.run(fakes.scenario(), tmp_path, timeout=timeout)


@pytest.mark.skipif(os.name == "nt", reason="sleeps in the C library")
def test_a_worker_that_hangs_in_a_library_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exception reaches it; it is ended, the point is a time-out, and everything else is done."""
    import dask
    import distributed  # noqa: F401  (brings the defaults that are changed below)

    monkeypatch.setenv("HANGS", "fake-packets")
    scenario = fakes.scenario(
        systems=["fake-packets", "fake-text"], sweep={"snr_db": [3, 12], "channel_uses": [400]}
    )
    with dask.config.set({"distributed.worker.preload": ["tests.sweep.preload"]}):
        results = semcom.run(scenario, tmp_path / "run", workers=2, timeout=5)
    failures = results.failures()
    assert list(failures["system"]) == ["fake-packets"] and list(failures["kind"]) == ["time-out"]
    assert "longer than 5 s" in failures["error"][0] and "preload.py" in failures["trace"][0]
    assert results.progress() == (4, 6)
    mended = semcom.run(scenario, tmp_path / "run", retry_failed=True)
    assert export(mended) == export(semcom.run(scenario, tmp_path / "alone"))
