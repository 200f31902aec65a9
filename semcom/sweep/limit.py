"""A time limit for a block of code: an exception where Python runs, the end of the process where a library hangs."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semcom.sweep.part import OutOfTime

GRACE = 2.0  # seconds that the exception has to arrive before the process ends


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise :class:`OutOfTime` inside the block when it takes longer than ``seconds`` (None: no limit).

    The exception arrives when Python code next runs in the thread: a single call into a library that never comes
    back is not interrupted, see :class:`LastWord`.
    """
    if seconds is None:
        yield
        return
    thread, lock, over = threading.get_ident(), threading.Lock(), False

    def ring() -> None:
        with lock:
            if not over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread), ctypes.py_object(OutOfTime)
                )

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    except OutOfTime as error:
        told = OutOfTime(f"a chunk took longer than {seconds:g} s")
        raise told.with_traceback(error.__traceback__) from None
    finally:
        timer.cancel()
        with lock:
            over = True


class LastWord:
    """Ends a worker process that hangs in a library; its traceback stays in a file for the process that comes after it.

    The watch is a thread of faulthandler, which needs no lock of Python. Dask restarts the worker and hands the job out
    again; whoever gets it finds the file, where they share a disk.

    :param name: of the job, unique among all runs.
    """

    def __init__(self, name: str) -> None:
        self._path = Path(tempfile.gettempdir()) / f"semcom-{name}.timeout"

    def take(self) -> str:
        """The traceback that a process left which died of this job; "" when there was none."""
        try:
            told = self._path.read_text("utf-8", "replace")
            self._path.unlink()
        except OSError:
            return ""
        return told

    @contextmanager
    def watch(self, seconds: float) -> Iterator[None]:
        """End the process when the block takes longer than ``seconds`` and :data:`GRACE`."""
        with self._path.open("w", encoding="utf-8") as file:
            faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=file)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
                with contextlib.suppress(OSError):
                    self._path.unlink()
