"""Run a scenario: what is finished stays, what is missing is computed, in one process or many."""

from __future__ import annotations

import heapq
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import semcom
from channels.errors import InputError
from channels.threads import single_thread
from semcom.fields import read_yaml
from semcom.scenario import Scenario, from_dict
from semcom.sweep.adapt import resolved
from semcom.sweep.fingerprint import Fingerprint
from semcom.sweep.finish import Finisher
from semcom.sweep.part import Failure, Part
from semcom.sweep.plan import Group, Job, Point
from semcom.sweep.pool import Pool, RunError, pool
from semcom.sweep.progress import Bar, Progress, Step
from semcom.sweep.results import Results
from semcom.sweep.store import FILE, Store
from semcom.sweep.work import Setup, engine

__all__ = ["RunError", "run"]

RESOLVED = "scenario.yaml"
LOG = "run.log"
FEWEST = (
    3  # chunks before a point may stop: looking earlier makes intervals near 0 and 1 cover more than they say
)
log = logging.getLogger("semcom.sweep")


def run(
    scenario: str | Path | Mapping[str, Any] | Scenario,
    out: str | Path | None = None,
    workers: int = 1,
    progress: Progress | bool = False,
    *,
    scheduler: str | None = None,
    retry_failed: bool = False,
    timeout: float | None = None,
    cache: bool = True,
    device: str = "cpu",
) -> Results:
    """Compute every operating point of a scenario that is not there yet.

    A system that fails at some points (an exception, no memory, no time) does not stop the others: see
    :meth:`Results.failures`.

    :param scenario: the name of a shipped scenario, a path, a mapping, or a :class:`Scenario`.
    :param out: the folder of the results; ``runs/NAME`` by default. A folder that already holds results of the same
        scenario is continued.
    :param workers: local processes; the numbers do not depend on it.
    :param progress: True shows a progress bar; a function is called with each :class:`Step`.
    :param scheduler: address of a Dask scheduler, whose workers compute instead of local processes.
    :param retry_failed: try again what failed in an earlier run.
    :param timeout: seconds that one chunk of images may take at the points of one system, link and budget. A worker
        that hangs in a library is ended and replaced; with one worker, which is this process, a call that never comes
        back cannot be interrupted.
    :param cache: look for what transmitters sent in the cache on disk (``$SEMCOM_CACHE``), and keep it there.
    :param device: of the models, ``"cpu"``, ``"cuda"``, or ``"auto"`` for the GPU where there is one. The reference is
        the CPU: other devices sum in another order, and are within tolerance when every score lies in the CPU's 95 %
        interval and no paired difference is significant (``benchmarks/gpu.py``).
    :raises InputError: for a faulty scenario, a folder with results that this run would not repeat (another scenario,
        other weights, other code: the message says what changed), or one that cannot be written.
    """
    scenario = Scenario.load(scenario)
    folder = Path(out) if out is not None else Path("runs") / scenario.name
    with shown(progress) as report, pool(workers, scheduler) as crew:
        return run_in(crew, scenario, folder, report, retry_failed, timeout, cache, device)


def run_in(
    crew: Pool,
    scenario: Scenario,
    folder: Path,
    report: Progress,
    retry_failed: bool = False,
    timeout: float | None = None,
    cache: bool = True,
    device: str = "cpu",
) -> Results:
    """:func:`run` in a pool that is there already."""
    if timeout is not None and not 0 < timeout < math.inf:
        raise InputError(f"timeout: expected a number of seconds above 0, got {timeout!r}")
    scenario = resolved(scenario)
    fingerprint = Fingerprint.of(scenario)  # finds weights that are missing before a file is made
    setup = Setup(scenario.to_yaml(), scenario.name, fingerprint, _device(device), cache, timeout)
    _refuse_other(folder, scenario, setup)
    # sums must not be cut differently on machines with more cores; processes make it fast
    with single_thread():
        parts = engine(setup)  # finds what is wrong with data, models and options before a file is made
        facts = {"fingerprint": fingerprint.json, "device": setup.device}
        with Store.create(folder, scenario.to_yaml(), semcom.__version__, facts) as store, _logged(folder):
            _write_scenario(folder, scenario)
            if retry_failed:
                store.forgive([[point.id for point in group.points] for group in parts.groups])
            log.info(
                "semcom %s, %s, %d workers, device %s", semcom.__version__, scenario.name, len(crew), device
            )
            _Run(setup, store, Finisher(parts, store), crew, report)()
    return Results(folder)


class _Run:
    """One run on its way: which groups still lack which chunks, and what is known of the costs."""

    def __init__(self, setup: Setup, store: Store, finish: Finisher, crew: Pool, report: Progress) -> None:
        self._setup, self._store, self._finish, self._crew, self._report = setup, store, finish, crew, report
        self._engine = finish.engine
        self._precision = self._engine.scenario.precision
        chunks, groups = self._engine.chunks, self._engine.groups
        places = {label: i for i, label in enumerate(dict.fromkeys(g.system.label for g in groups))}
        self._places = [places[g.system.label] for g in groups]
        finished, self._have = store.finished(), store.stored()
        self._failed = store.failed()
        self._open = {
            g.index: [p for p in g.points if p.id not in finished and p.id not in self._failed]
            for g in groups
        }
        self._total = sum(len(g.points) for g in groups)
        self._units = sum(  # chunks of points that are done; a point that is finished counts in full
            chunks if p.id in finished or p.id in self._failed else len(self._have.get(p.id, ()))
            for g in groups
            for p in g.points
        )
        self._encoded = self._reused = 0
        self._worked = bool(finished or self._have)
        self._queue: list[Job] = []
        self._due = dict.fromkeys((g.index for g in groups), 0)  # jobs in the queue or under way

    def __call__(self) -> None:
        """Work off what is missing."""
        self._tell("loading models")
        for group in self._engine.groups:
            self._advance(group)
        for result in self._crew.results(self._setup, self._queue):
            group = self._engine.groups[result.job.group]
            if isinstance(result, Failure):
                self._store.fail(result)
                self._note_failures(group, [result])
            elif self._open[group.index]:
                self._note_part(group, result)
            self._tell(group.title)
        self._tell("done")

    def _advance(self, group: Group) -> None:
        """Finish the points of a group that have all they need, and put what the others need next in the queue."""
        if not self._open[group.index]:
            return
        chunks, waiting = self._engine.chunks, self._open[group.index]
        for point in list(waiting):
            have = len(self._have.get(point.id, ()))
            if have == chunks or (have >= FEWEST and self._narrow(group, point)):
                self._finish(group, point)
                self._have.pop(point.id, None)
                waiting.remove(point)
                self._units += chunks - have
        if not waiting:
            log.info("finished: %s", group.title)
            return
        missing = [c for c in range(chunks) if any(c not in self._have.get(p.id, ()) for p in waiting)]
        # All points of a group are computed together, also where some are finished already: what is worked on
        # together must not depend on what was interrupted. With a precision, the points that are not narrow are.
        together = [p.id for p in group.points]
        if self._precision is not None:
            together = [p.id for p in group.points if p in waiting or p.id in self._failed]
            missing = [c for c in missing if c < FEWEST] or missing[:1]
        for chunk in missing:
            points = self._alive(together, chunk)
            heapq.heappush(self._queue, Job(self._places[group.index], chunk, group.index, points))
        self._due[group.index] = len(missing)

    def _alive(self, points: Iterable[int], chunk: int) -> tuple[int, ...]:
        """Without those that failed at this chunk or before it."""
        return tuple(id for id in points if chunk < self._failed.get(id, math.inf))

    def _narrow(self, group: Group, point: Point) -> bool:
        return self._precision is not None and self._finish.width(group, point) <= self._precision

    def _note_part(self, group: Group, part: Part) -> None:
        self._store.add(part)
        self._worked = self._worked or bool(part.answers)
        self._note_failures(group, part.failures)
        self._encoded += part.encoded
        self._reused += part.reused
        for point in self._open[group.index]:
            have = self._have.setdefault(point.id, set())
            self._units += part.job.chunk not in have
            have.add(part.job.chunk)
        log.info("%s, chunk %d: %.2f s", group.title, part.job.chunk, part.seconds)
        self._due[group.index] -= 1
        if not self._due[group.index]:
            self._advance(group)

    def _note_failures(self, group: Group, failures: Sequence[Failure]) -> None:
        """Record them, and drop what is left to do at their points."""
        for failure in failures:
            if failure.kind == "bad input" and not self._worked:  # nothing works: the scenario is wrong
                raise InputError(failure.error)
            log.error("%s, chunk %d: %s\n%s", group.title, failure.job.chunk, failure.error, failure.trace)
            for point in [p for p in group.points if p.id in failure.points]:
                if point in self._open[group.index]:
                    self._open[group.index].remove(point)
                    self._units += self._engine.chunks - len(self._have.pop(point.id, ()))
                    self._failed[point.id] = failure.job.chunk
                elif point.id in self._failed:
                    self._failed[point.id] = min(self._failed[point.id], failure.job.chunk)
        if failures:
            jobs = [
                replace(job, points=self._alive(job.points, job.chunk)) if job.group == group.index else job
                for job in self._queue
            ]
            self._queue[:] = [job for job in jobs if self._open[job.group]]
            heapq.heapify(self._queue)

    def _tell(self, current: str) -> None:
        messages = self._encoded + self._reused
        share = self._reused / messages if messages else math.nan
        done = self._units / self._engine.chunks
        self._report(Step(done, self._total, current, len(self._crew), share, len(self._failed)))


@contextmanager
def shown(progress: Progress | bool) -> Iterator[Progress]:
    """What steps are told to: a bar for True, nothing for False, else the function itself."""
    if progress is True:
        with Bar() as bar:
            yield bar
    else:
        yield progress or (lambda step: None)


@contextmanager
def _logged(folder: Path) -> Iterator[None]:
    """Keep what happens in the log file of the folder."""
    try:
        handler = logging.FileHandler(folder / LOG, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder / LOG}: cannot be written ({error.strerror})") from error
    form = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    form.converter = time.gmtime
    handler.setFormatter(form)
    before, log.propagate = log.level, False
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    except BaseException as error:
        log.error("stopped: %s: %s", type(error).__name__, error)
        raise
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        handler.close()


def _device(name: str) -> str:
    """``auto`` is the GPU where there is one."""
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _refuse_other(folder: Path, scenario: Scenario, setup: Setup) -> None:
    """A folder that holds results which this run would not repeat is left alone."""
    if not Store.exists(folder):
        return
    with Store.read(folder) as store:
        if not store.started():
            return
        where = f"{folder / FILE}: stored scenario"
        stored = from_dict(read_yaml(store.meta("scenario"), where), scenario.name)
        before, device = Fingerprint.from_json(store.meta("fingerprint")), store.meta("device")
    remedy = "give another --out to compute everything anew"
    if changes := scenario.differences(stored):
        raise InputError(f"{folder}: holds the results of another scenario ({_few(changes)}); {remedy}")
    if changes := setup.fingerprint.differences(before):
        raise InputError(f"{folder}: its numbers would not be repeated ({_few(changes)}); {remedy}")
    if device != setup.device:
        raise InputError(f"{folder}: was computed on device {device}, not {setup.device}; {remedy}")


def _few(changes: Sequence[str]) -> str:
    return "; ".join(changes[:3]) + (f"; and {len(changes) - 3} more" if len(changes) > 3 else "")


def _write_scenario(folder: Path, scenario: Scenario) -> None:
    try:
        (folder / RESOLVED).write_text(scenario.to_yaml(), "utf-8")
    except OSError as error:
        raise InputError(f"{folder / RESOLVED}: cannot be written ({error.strerror})") from error
