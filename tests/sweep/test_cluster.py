"""A real Dask scheduler and two real workers on loopback: the numbers of one process, also when a worker is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import semcom
from channels.errors import InputError
from semcom.sweep.pool import RunError
from semcom.sweep.progress import Step
from semcom.sweep.results import Results
from tests.sweep import fakes
from tests.sweep.test_run import export

SCENARIO = fakes.scenario(sweep={"snr_db": [-6, -1, 12], "channel_uses": [30, 60, 400]})
ROOT = Path(__file__).parents[2]


class Dask:
    """A scheduler and its workers, as processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.traces = folder / "traces"
        self.traces.mkdir()
        self.file = folder / "scheduler.json"
        self.started: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            *(sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"),
            *("--no-dashboard", "--scheduler-file", str(self.file)),
        )
        self.wait(self.file.exists)

    @property
    def address(self) -> str:
        return str(json.loads(self.file.read_text())["address"])

    def worker(self, slow: float = 0.0, dies: str = "") -> subprocess.Popen[bytes]:
        """One more worker that takes ``slow`` seconds longer for each job, and dies of the system ``dies``."""
        return self._start(
            *(sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(self.file)),
            *("--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"),
            *("--preload", "tests.sweep.preload", "--local-directory", str(self.folder)),
            SLOW=str(slow),
            DIES=dies,
        )

    def ready(self, count: int) -> None:
        """Until so many workers have come up."""
        self.wait(lambda: len(list(self.folder.glob("dask-scratch-space/worker-*"))) >= count)

    def jobs(self, worker: subprocess.Popen[bytes]) -> int:
        """How many jobs a worker has begun."""
        return len(list(self.traces.glob(f"{worker.pid}-*")))

    def wait(self, ready: Callable[[], bool]) -> None:
        """Until it is so."""
        deadline = time.monotonic() + 120
        while not ready():
            assert time.monotonic() < deadline, "timed out"
            time.sleep(0.02)

    def _start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        environment |= {"TRACES": str(self.traces), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with (self.folder / f"log-{len(self.started)}").open("wb") as log:
            process = subprocess.Popen(
                command, env={**os.environ, **environment}, cwd=ROOT, stdout=log, stderr=log
            )
        self.started.append(process)
        return process

    def stop(self) -> None:
        for process in reversed(self.started):
            process.kill()
            process.wait()


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Dask]:
    """A scheduler without workers."""
    (tmp_path / "dask").mkdir()
    started = Dask(tmp_path / "dask")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What one process gives."""
    return export(semcom.run(SCENARIO, tmp_path_factory.mktemp("alone")))


def test_two_workers_on_a_scheduler(dask: Dask, alone: str, tmp_path: Path) -> None:
    workers = [dask.worker(0.01), dask.worker(0.01)]
    dask.ready(2)
    steps: list[Step] = []
    results = semcom.run(SCENARIO, tmp_path / "run", scheduler=dask.address, progress=steps.append)
    assert export(results) == alone
    assert all(dask.jobs(w) >= 1 for w in workers) and sum(map(dask.jobs, workers)) == 2 + 4 * 3
    assert max(s.workers for s in steps) == 2


def test_a_worker_that_is_killed_changes_nothing(dask: Dask, alone: str, tmp_path: Path) -> None:
    """kill -9 while it works on a job: the other worker does that one, too."""
    workers = [dask.worker(0.3), dask.worker(0.3)]
    dask.ready(2)

    def kill() -> None:
        dask.wait(lambda: dask.jobs(workers[0]) >= 2)  # it has just begun one
        workers[0].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    results = semcom.run(SCENARIO, tmp_path / "run", scheduler=dask.address)
    killer.join()
    assert workers[0].wait(10) == -signal.SIGKILL
    assert export(results) == alone
    assert sum(map(dask.jobs, workers)) > 2 + 4 * 3  # at least one was begun twice


def test_a_system_that_kills_every_worker_is_a_failure(dask: Dask, tmp_path: Path) -> None:
    """Each of its jobs is tried on four workers (Dask's default) before it is given up; the others are done."""
    scenario = fakes.scenario(
        systems=["fake-packets", "fake-text"], sweep={"snr_db": [12], "channel_uses": [400]}
    )
    for _ in range(5):
        dask.worker(0.2, dies="fake-packets")
    dask.ready(5)
    results = semcom.run(scenario, tmp_path / "run", scheduler=dask.address)
    failures = results.failures()
    assert list(failures["system"]) == ["fake-packets"] and list(failures["kind"]) == ["worker died"]
    assert results.progress() == (3, 4)
    mended = semcom.run(scenario, tmp_path / "run", retry_failed=True)
    assert export(mended) == export(semcom.run(scenario, tmp_path / "alone"))


def test_scheduler_that_goes_away(dask: Dask, alone: str, tmp_path: Path) -> None:
    """One message, nothing lost; the same run continues in this process."""
    dask.worker(0.1)

    def kill(step: Step) -> None:
        if step.done > 3:
            dask.scheduler.kill()

    with pytest.raises(RunError, match="the Dask scheduler went away"):
        semcom.run(SCENARIO, tmp_path / "run", scheduler=dask.address, progress=kill)
    assert Results.open(tmp_path / "run").progress()[0] > 3
    assert export(semcom.run(SCENARIO, tmp_path / "run")) == alone


def test_no_scheduler_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"scheduler 'tcp://127.0.0.1:9': no Dask scheduler answers"):
        semcom.run(SCENARIO, tmp_path / "run", scheduler="tcp://127.0.0.1:9")
    assert not (tmp_path / "run").exists()
