"""Run a scenario: what is finished stays, what is missing is computed, in one process or several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import semcom
from channels.errors import InputError
from channels.threads import single_thread
from semcom.fields import read_yaml
from semcom.scenario import Scenario, from_dict
from semcom.sweep.adapt import resolved
from semcom.sweep.engine import Engine, PointResult
from semcom.sweep.plan import Group, plan
from semcom.sweep.progress import Bar, Progress, Step
from semcom.sweep.results import Results
from semcom.sweep.store import FILE, Store

RESOLVED = "scenario.yaml"


def run(
    scenario: str | Path | Mapping[str, Any] | Scenario,
    out: str | Path | None = None,
    workers: int = 1,
    progress: Progress | bool = False,
) -> Results:
    """Compute every operating point of a scenario that is not there yet.

    :param scenario: the name of a shipped scenario, a path, a mapping, or a :class:`Scenario`.
    :param out: the folder of the results; ``runs/NAME`` by default. A folder that already holds results of the same
        scenario is continued.
    :param workers: processes; the numbers do not depend on it.
    :param progress: True shows a progress bar; a function is called with each :class:`Step`.
    :raises InputError: for a faulty scenario, a folder with another scenario's results, or one that cannot be written.
    """
    scenario = Scenario.load(scenario)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise InputError(f"workers: expected a number of processes from 1 on, got {workers!r}")
    folder = Path(out) if out is not None else Path("runs") / scenario.name
    if progress is True:
        with Bar() as bar:
            return run(scenario, folder, workers, bar)
    scenario = resolved(scenario)
    _refuse_other(folder, scenario)
    with (
        single_thread()
    ):  # sums must not be cut differently on machines with more cores; processes make it fast
        engine = Engine(scenario)  # finds what is wrong with data, models and options before a file is made
        with Store.create(folder, scenario.to_yaml(), semcom.__version__) as store:
            _write_scenario(folder, scenario)
            _compute(scenario, engine, store, workers, progress or (lambda step: None))
    return Results(folder)


def _compute(scenario: Scenario, engine: Engine, store: Store, workers: int, report: Progress) -> None:
    """Every group that lacks a point, whole: what is computed together must not depend on what was finished."""
    done = store.finished()
    groups = plan(scenario)
    total = sum(len(group.points) for group in groups)
    todo = [group for group in groups if any(p.id not in done for p in group.points)]

    report(Step(len(done), total, "loading models"))

    def tick(group: Group, fraction: float) -> None:
        missing = sum(p.id not in done for p in group.points)
        report(Step(len(done) + fraction * missing, total, group.title))

    work: Iterator[tuple[Group, list[PointResult]]]
    if workers == 1 or len(todo) <= 1:
        work = ((group, engine.run(group, partial(tick, group))) for group in todo)
    else:
        work = _parallel(scenario, todo, min(workers, len(todo)))
    for group, results in work:
        for result in results:
            if result.point.id not in done:
                store.add(group, result, scenario.seed)
                done.add(result.point.id)
        report(Step(len(done), total, group.title))
    report(Step(total, total, "done"))


_engine: Engine | None = None  # of a worker process
_groups: list[Group] = []


def _start(raw: Mapping[str, Any], name: str) -> None:
    """Make the engine of a worker process. Ctrl-C is the parent's business; when it dies, so does the worker."""
    global _engine, _groups
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)
    scenario = from_dict(raw, name)
    _engine, _groups = Engine(scenario), plan(scenario)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(index: int) -> list[PointResult]:
    assert _engine is not None
    return _engine.run(_groups[index])


def _parallel(
    scenario: Scenario, groups: Sequence[Group], workers: int
) -> Iterator[tuple[Group, list[PointResult]]]:
    """Groups in the order in which they are finished."""
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start, (scenario.to_dict(), scenario.name))
    try:
        pending: dict[Future[list[PointResult]], Group] = {pool.submit(_work, g.index): g for g in groups}
        for future in as_completed(pending):
            yield pending[future], future.result()
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process died (out of memory?); finished points are kept, run again to continue"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


class RunError(RuntimeError):
    """A run could not go on, for a reason that lies outside the scenario."""


def _refuse_other(folder: Path, scenario: Scenario) -> None:
    """A folder that holds another scenario's results is left alone."""
    if not Store.exists(folder):
        return
    with Store.read(folder) as store:
        if not store.finished():
            return
        stored = from_dict(
            read_yaml(store.meta("scenario"), f"{folder / FILE}: stored scenario"), scenario.name
        )
    if changes := scenario.differences(stored):
        shown = "; ".join(changes[:3]) + (f"; and {len(changes) - 3} more" if len(changes) > 3 else "")
        raise InputError(f"{folder}: holds the results of another scenario ({shown}); give another --out")


def _write_scenario(folder: Path, scenario: Scenario) -> None:
    try:
        (folder / RESOLVED).write_text(scenario.to_yaml(), "utf-8")
    except OSError as error:
        raise InputError(f"{folder / RESOLVED}: cannot be written ({error.strerror})") from error
