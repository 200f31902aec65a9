"""What a process that computes does: build the engine of a scenario once, then work off jobs."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from functools import lru_cache

from channels.errors import InputError
from channels.threads import single_thread
from semcom.fields import read_yaml
from semcom.scenario import from_dict
from semcom.sweep.engine import Engine
from semcom.sweep.fingerprint import Fingerprint
from semcom.sweep.limit import LastWord, time_limit
from semcom.sweep.memory import trim
from semcom.sweep.part import Failure, Part
from semcom.sweep.plan import Job


@dataclass(frozen=True)
class Setup:
    """What a process must know of a run. ``timeout`` is in seconds for each job."""

    scenario: str  # resolved YAML
    name: str
    fingerprint: Fingerprint
    device: str = "cpu"
    cache: bool = True
    timeout: float | None = None
    run: str = field(default_factory=lambda: uuid.uuid4().hex)  # a later run reads its data again


@lru_cache(maxsize=1)
def engine(setup: Setup) -> Engine:
    """The engine of a run; models load when they are first used, and stay."""
    scenario = from_dict(read_yaml(setup.scenario, setup.name), setup.name)
    here = Fingerprint.of(scenario)
    if changes := here.differences(setup.fingerprint):
        raise InputError(f"a worker runs another installation than this process ({'; '.join(changes[:3])})")
    return Engine(scenario, setup.device, setup.fingerprint.key if setup.cache else None)


def warm_up() -> None:
    """Import what takes long."""
    import sionna.phy  # noqa: F401
    import transformers  # noqa: F401

    from semcom import data, systems, tasks  # noqa: F401


def work_apart(setup: Setup, job: Job) -> Part | Failure:
    """:func:`work` in a process that may be ended when it takes too long, and is replaced."""
    if setup.timeout is None:
        return work(setup, job)
    name = f"{setup.run}-{job.group}-{job.chunk}"
    last = LastWord(name)
    if trace := last.take():
        error = (
            f"OutOfTime: a chunk took longer than {setup.timeout:g} s in a call that could not be interrupted"
        )
        return Failure(job, job.points, "time-out", error, trace)
    engine(setup)  # to load is no work of the job
    with last.watch(setup.timeout):
        return work(setup, job)


def work(setup: Setup, job: Job) -> Part | Failure:
    """One job. What the system under test does wrong is a result as well."""
    start = time.perf_counter()
    parts = engine(setup)
    try:
        with single_thread(), time_limit(setup.timeout):
            part = parts.run(job)
    except Exception as error:
        return Failure.of(job, error)
    trim()
    part.seconds = time.perf_counter() - start
    return part
