"""How a run shows what it does: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TextIO


@dataclass(frozen=True)
class Step:
    """Where a run stands: points done (a part of a point counts as a part), all points, what was worked on last.

    ``workers`` compute at this moment; of the messages so far, the share ``reused`` came from the cache on disk (NaN
    before the first); ``failed`` points could not be computed.
    """

    done: float
    total: int
    current: str
    workers: int = 1
    reused: float = math.nan
    failed: int = 0

    @property
    def about(self) -> str:
        """Workers, cache hits and failures, in a few words."""
        words = [f"{self.workers} worker{'s' if self.workers != 1 else ''}"]
        words += [] if math.isnan(self.reused) else [f"{100 * self.reused:.0f} % from cache"]
        words += [f"{self.failed} failed"] if self.failed else []
        return ", ".join(words)


Progress = Callable[[Step], None]


class Bar:
    """Points done, rate, time left and the current point. Use as a context manager; call it with each step."""

    def __init__(self, every: int = 20, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr
        self._every = every  # points between two lines where there is no terminal
        self._bar: Any = None
        self._task: Any = None
        self._printed = 0
        self._first: tuple[float, float] | None = None  # (time, points) at the first step

    def __enter__(self) -> Bar:
        if self._file.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self._bar = Progress(
                BarColumn(bar_width=24),
                TextColumn("{task.fields[points]} points"),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[about]}"),
                TextColumn("{task.description}"),
                console=Console(file=self._file),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        self._first = self._first or (now, step.done)
        seconds, points = now - self._first[0], step.done - self._first[1]
        if self._bar is not None:
            text = {
                "points": f"{int(step.done)}/{step.total}",
                "rate": _rate(points, seconds),
                "about": step.about,
            }
            if self._task is None:
                self._task = self._bar.add_task(step.current, total=step.total, **text)
            self._bar.update(self._task, completed=step.done, description=step.current, **text)
        elif step.done >= self._printed + self._every or (step.done == step.total != self._printed):
            self._printed = int(step.done)
            left = f", {(step.total - step.done) * seconds / points:.0f} s left" if points > 0 else ""
            line = f"{self._printed}/{step.total} points, {_rate(points, seconds)}{left}, {step.about} ({step.current})"
            print(line, file=self._file, flush=True)


def _rate(points: float, seconds: float) -> str:
    return f"{points / seconds:.1f} points/s" if points > 0 and seconds > 0 else "- points/s"
