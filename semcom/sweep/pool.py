"""Where jobs are worked off: in this process, in local processes, or on a Dask cluster.

The engine is Dask's: a worker that dies is replaced and its job is given to another one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Protocol

from channels.errors import InputError
from semcom.sweep.part import Failure, Part
from semcom.sweep.plan import Job
from semcom.sweep.work import Setup, warm_up, work, work_apart

AHEAD = 3  # jobs that are handed out for each worker, so that none waits for the next


class RunError(RuntimeError):
    """A run could not go on, for a reason that lies outside the scenario."""


class Pool(Protocol):
    """Works off jobs."""

    def __len__(self) -> int:
        """How many workers there are at this moment."""
        ...

    def results(self, setup: Setup, queue: list[Job]) -> Iterator[Part | Failure]:
        """Results as they come. ``queue`` is a heap of jobs, to which the caller may add between two results."""
        ...


class Alone:
    """This process."""

    def __len__(self) -> int:
        return 1

    def results(self, setup: Setup, queue: list[Job]) -> Iterator[Part | Failure]:
        """One after the other."""
        while queue:
            yield work(setup, heapq.heappop(queue))


class Cluster:
    """A Dask cluster.

    :param client: a ``distributed.Client``.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        # workers load their libraries while this process reads the scenario
        addresses = client.scheduler_info(n_workers=-1)["workers"]
        self._warm = [client.submit(warm_up, workers=[a], pure=False) for a in addresses]

    def __len__(self) -> int:
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def results(self, setup: Setup, queue: list[Job]) -> Iterator[Part | Failure]:
        """In the order in which they are finished; a few jobs a worker are under way."""
        from distributed.scheduler import KilledWorker

        waiting: dict[Any, Job] = {}
        done: SimpleQueue[Any] = SimpleQueue()
        try:
            while queue or waiting:
                while queue and len(waiting) < AHEAD * max(1, len(self)):
                    job = heapq.heappop(queue)
                    future = self._client.submit(work_apart, setup, job, pure=False)
                    waiting[future] = job
                    future.add_done_callback(done.put)
                future = done.get()
                job = waiting.pop(future)
                try:
                    with _explained():
                        result = future.result()
                except KilledWorker as error:
                    died = "the workers that tried it died, one after the other (out of memory?)"
                    if setup.timeout is not None:
                        died = died.replace("?", f", or longer than {setup.timeout:g} s in one call?")
                    result = Failure(job, job.points, "worker died", died, str(error))
                yield result
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def _explained() -> Iterator[None]:
    """A cluster that goes away while it is used."""
    from concurrent.futures import CancelledError

    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError

    try:
        yield
    except (CancelledError, FutureCancelledError, CommClosedError) as error:
        raise RunError(
            "the Dask scheduler went away; finished chunks are kept, the same command continues"
        ) from error


@contextmanager
def pool(workers: int = 1, scheduler: str | None = None) -> Iterator[Pool]:
    """A pool for the length of a block.

    :param workers: local processes; 1 is this process, without Dask.
    :param scheduler: address of a Dask scheduler to use instead, such as ``tcp://10.0.0.7:8786``.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise InputError(f"workers: expected a number of processes from 1 on, got {workers!r}")
    if scheduler is not None:
        from distributed import Client

        try:
            client = Client(scheduler, timeout=10, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"scheduler {scheduler!r}: no Dask scheduler answers there ({reason})"
            ) from error
        with client:
            yield Cluster(client)
    elif workers == 1:
        yield Alone()
    else:
        import dask
        from distributed import Client, LocalCluster

        quiet = {
            "distributed.worker.multiprocessing-method": "spawn",
            "distributed.logging.distributed": "error",
            "distributed.scheduler.worker-saturation": 1.0,  # a job that kills its worker drags no other along
            # what watches the processes looks up to a hundred times a second, on cores that the workers need
            "distributed.worker.profile.enabled": False,
            "distributed.admin.tick.interval": "500ms",
            "distributed.admin.system-monitor.interval": "5s",
            "distributed.admin.system-monitor.gil.enabled": False,
            # without Dask's MALLOC_TRIM_THRESHOLD_, which gives every tensor back at once: jobs took twice as long
            "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1},
        }
        with (
            dask.config.set(quiet),
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # a port of its own for status; no dashboard
                scheduler_kwargs={"dashboard": False},
                memory_limit=0,
                silence_logs=50,
            ) as local,
            Client(local, set_as_default=False) as client,
        ):
            yield Cluster(client)
