"""Workers on a batch system (Slurm, PBS), through Dask-jobqueue: a small YAML file says what a job asks for.

system: slurm                 # or pbs
workers: 32                   # processes that compute, in all
cores: 8                      # of one job; each is one worker
memory: 32GB                  # of one job
walltime: "04:00:00"
queue: normal                 # all that follow may be left out
account: physics
interface: ib0                # network device through which scheduler and workers talk
directives: ["--exclusive"]   # more lines for the batch system
prologue: ["source ~/semcom/bin/activate"]
logs: job-logs                # folder
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from channels.errors import InputError, unknown
from semcom.fields import Fields, integer, read_yaml, several, text, wrong

SYSTEMS = ("slurm", "pbs")
ENVIRONMENT = (  # Dask's own MALLOC_TRIM_THRESHOLD_ gives every tensor back at once: jobs take twice as long
    "export OMP_NUM_THREADS=1",
    "export MALLOC_TRIM_THRESHOLD_=268435456 MALLOC_MMAP_THRESHOLD_=33554432",
)


@dataclass(frozen=True)
class ClusterSpec:
    """What is asked of a batch system."""

    system: str
    workers: int
    cores: int
    memory: str
    walltime: str
    queue: str | None = None
    account: str | None = None
    interface: str | None = None
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    logs: str | None = None

    @classmethod
    def load(cls, path: str | Path) -> ClusterSpec:
        """From a YAML file.

        :raises InputError: what is wrong with it, by field
        """
        try:
            content = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error})") from error
        fields = Fields(read_yaml(content, str(path)), "")
        spec = cls(
            fields.take("system", _system),
            fields.take("workers", integer(1, 100_000, "a number of workers")),
            fields.take("cores", integer(1, 1024, "the cores of one job"), 1),
            fields.take("memory", _matching(r"\d+(\.\d+)? ?[kMGT]i?B", "an amount of memory such as 16GB")),
            fields.take(
                "walltime", _matching(r"(\d+-)?\d+:\d\d:\d\d", 'a time such as "04:00:00", in quotes')
            ),
            fields.take("queue", _maybe, None),
            fields.take("account", _maybe, None),
            fields.take("interface", _maybe, None),
            fields.take("directives", _lines, ()),
            fields.take("prologue", _lines, ()),
            fields.take("logs", _maybe, None),
        )
        fields.done("the cluster file")
        return spec

    def open(self) -> Any:
        """A scheduler in this process that can ask for jobs: a ``dask_jobqueue.JobQueueCluster``."""
        import dask_jobqueue

        make = {"slurm": dask_jobqueue.SLURMCluster, "pbs": dask_jobqueue.PBSCluster}[self.system]
        try:
            return make(
                cores=self.cores,
                processes=self.cores,
                memory=self.memory,
                walltime=self.walltime,
                queue=self.queue,
                account=self.account,
                interface=self.interface,
                job_extra_directives=list(self.directives),
                job_script_prologue=[*ENVIRONMENT, *self.prologue],
                log_directory=self.logs,
                job_name="semcom",
                scheduler_options={"dashboard": False, "dashboard_address": ":0"},
                death_timeout=300,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise InputError(f"the cluster cannot be made: {error}") from error

    def script(self) -> str:
        """The script of one job. The scheduler's address in it is that of a scheduler which is gone by now."""
        with self.open() as cluster:
            return str(cluster.job_script())


def _system(value: Any, field: str) -> str:
    if value not in SYSTEMS:
        raise InputError(f"{field}: {unknown('batch system', value, SYSTEMS)}")
    return str(value)


def _maybe(value: Any, field: str) -> str | None:
    return None if value is None else text(value, field)


def _lines(value: Any, field: str) -> tuple[str, ...]:
    return several(text)(value, field) if value != () else ()


def _matching(pattern: str, what: str) -> Any:
    def check(value: Any, field: str) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise wrong(field, value, what)
        return value

    return check
