"""Running again, being killed, several processes, folders that cannot be used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import semcom
from channels.errors import InputError
from semcom.sweep.progress import Bar, Step
from semcom.sweep.results import Results
from semcom.sweep.store import Store
from tests.sweep import fakes


def export(results: Results) -> str:
    """Everything in the results as text."""
    parts = (results.to_frame(), results.samples(), results.corpus())
    return "".join(part.to_csv(index=False) for part in parts)


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    scenario = fakes.scenario()
    whole = export(semcom.run(scenario, tmp_path / "whole"))

    class Stop(Exception):
        pass

    stops = 0
    for _ in range(100):
        budget = 3  # steps until the plug is pulled

        def pull(step: Step) -> None:
            nonlocal budget
            budget -= 1
            if budget < 0:
                raise Stop

        try:
            results = semcom.run(scenario, tmp_path / "parts", progress=pull)
            break
        except Stop:
            stops += 1
            assert Results.open(tmp_path / "parts").progress()[0] <= 26
    assert stops > 2
    assert export(results) == whole


def test_points_missing_inside_a_group_are_filled(tmp_path: Path) -> None:
    results = semcom.run(fakes.scenario(), tmp_path)
    whole = export(results)
    with Store.create(tmp_path, "", "") as store:
        for table in ("rows", "corpus", "samples", "chunks"):
            store.connection.execute(f"DELETE FROM {table} WHERE point IN (3, 12, 13, 25)")
        store.connection.execute("DELETE FROM points WHERE id IN (3, 12, 13, 25)")
    assert results.progress() == (22, 26)
    assert export(semcom.run(fakes.scenario(), tmp_path)) == whole


def test_finished_run_computes_nothing(tmp_path: Path) -> None:
    semcom.run(fakes.scenario(), tmp_path)
    fakes.CALLS.clear()
    steps: list[Step] = []
    semcom.run(fakes.scenario(), tmp_path, progress=steps.append)
    assert not fakes.CALLS
    assert steps[0].done == steps[-1].done == 26


def test_another_scenario_is_refused_and_nothing_touched(tmp_path: Path) -> None:
    before = export(semcom.run(fakes.scenario(), tmp_path))
    with pytest.raises(InputError, match=r"another scenario \(seed: 11 -> 12\)"):
        semcom.run(fakes.scenario(seed=12), tmp_path)
    with pytest.raises(InputError, match=r"sweep\.snr_db"):
        semcom.run(fakes.scenario(sweep={"snr_db": [1], "channel_uses": [30, 400]}), tmp_path)
    assert export(Results.open(tmp_path)) == before


def test_folder_without_a_finished_point_is_taken_over(tmp_path: Path) -> None:
    """After a faulty option stopped a run at once, the corrected scenario goes into the same folder."""

    def stop(step: Step) -> None:
        raise InputError("stop")

    with pytest.raises(InputError, match="stop"):
        semcom.run(fakes.scenario(seed=5), tmp_path, progress=stop)
    assert semcom.run(fakes.scenario(), tmp_path).scenario.seed == 11


def test_progress_reaches_the_end_and_never_falls(tmp_path: Path) -> None:
    steps: list[Step] = []
    semcom.run(fakes.scenario(), tmp_path, progress=steps.append)
    done = [s.done for s in steps]
    assert done == sorted(done) and done[0] == 0 and done[-1] == 26
    assert {"ceiling", "fake-packets, 400 uses"} <= {s.current for s in steps}


def test_bar_without_terminal_prints_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(every=10, file=sys.stdout) as bar:
        for i in range(26):
            bar(Step(i + 0.5, 26, "jpeg, 128 uses"))
        bar(Step(26, 26, "done"))
        bar(Step(26, 26, "done"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["10/26", "20/26", "26/26"]


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2"])
def test_bad_workers(workers: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="workers"):
        semcom.run(fakes.scenario(), tmp_path, workers=workers)  # type: ignore[arg-type]


def test_two_runs_on_one_folder(tmp_path: Path) -> None:
    semcom.run(fakes.scenario(), tmp_path)
    with Store.create(tmp_path, "", ""), pytest.raises(InputError, match="another run is writing here"):
        semcom.run(fakes.scenario(), tmp_path)
    semcom.run(fakes.scenario(), tmp_path)


def test_faulty_scenario_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no samples"):
        semcom.run(fakes.scenario(data={"name": "fake-pictures", "samples": 0}), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_out_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(InputError, match="taken"):
        semcom.run(fakes.scenario(), tmp_path / "taken")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write")
def test_folder_that_nobody_can_write() -> None:
    with pytest.raises(InputError, match="/proc/semcom"):
        semcom.run(fakes.scenario(), "/proc/semcom")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_folder_without_permission(tmp_path: Path) -> None:
    results = semcom.run(fakes.scenario(), tmp_path / "done")
    expected = export(results)
    locked = tmp_path / "locked"
    locked.mkdir()
    for folder in (locked, tmp_path / "done"):
        folder.chmod(0o555)
    try:
        with pytest.raises(InputError, match="locked"):
            semcom.run(fakes.scenario(), locked)
        assert export(Results.open(tmp_path / "done")) == expected  # reading still works
    finally:
        for folder in (locked, tmp_path / "done"):
            folder.chmod(0o755)


def test_threads_are_given_back() -> None:
    import torch

    from channels.threads import single_thread

    before = torch.get_num_threads()
    with single_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


KILLED = """
import sys
from tests.sweep import fakes
import semcom
class Slow(fakes.Text):
    "Takes its time."
    def transmit(self, images, budget, queries=None):
        import time; time.sleep(0.2)
        return super().transmit(images, budget, queries)
from semcom.systems import SYSTEMS
SYSTEMS["fake-text"] = type(SYSTEMS["fake-text"])("fake-text", Slow, {})
semcom.run(fakes.scenario(sweep={"snr_db": [5], "channel_uses": list(range(100, 140))}), sys.argv[1])
"""


def test_killed_process_keeps_what_was_finished(tmp_path: Path) -> None:
    """kill -9 in the middle; then the same run again, in this process, ends in the same results."""
    scenario = fakes.scenario(sweep={"snr_db": [5], "channel_uses": list(range(100, 140))})
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "killed")])
    done = 0
    deadline = time.monotonic() + 180
    while done < 4 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
        if Store.exists(tmp_path / "killed"):
            done = Results.open(tmp_path / "killed").progress()[0]  # read while the other process writes
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept, total = Results.open(tmp_path / "killed").progress()
    assert 4 <= kept < total
    resumed = semcom.run(scenario, tmp_path / "killed")
    assert export(resumed) == export(semcom.run(scenario, tmp_path / "whole"))
