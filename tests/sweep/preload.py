"""Makes the fakes known to a worker process, and lets it report itself and take its time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from semcom.sweep import work
from tests.sweep import fakes

if seconds := os.environ.get("SLOW"):
    engine = work.engine

    def slow(setup: Any) -> Any:
        """Leave a trace of each job, then take a while."""
        (Path(os.environ["TRACES"]) / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        time.sleep(float(seconds))
        return engine(setup)

    work.engine = slow

if dies := os.environ.get("DIES"):
    system = {"fake-packets": fakes.Packets}[dies]
    system.receive = lambda *arguments: os._exit(1)  # type: ignore[method-assign]

if hangs := os.environ.get("HANGS"):
    import ctypes

    import sionna.phy  # noqa: F401  (slow, and no work of a job)

    # in C, with Python's lock held: no thread of Python, no signal handler, no exception gets through
    system = {"fake-packets": fakes.Packets}[hangs]
    system.receive = lambda *arguments: ctypes.PyDLL(None).sleep(1000)  # type: ignore[method-assign]
