"""A time limit for a block of code, in any thread."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from semcom.sweep.part import OutOfTime


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise :class:`OutOfTime` inside the block when it takes longer than ``seconds`` (None: no limit).

    The exception arrives when Python code next runs in the thread: a single call into a library that never comes
    back is not interrupted.
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
