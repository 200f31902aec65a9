"""Memory that is free but kept."""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any


def trim() -> None:
    """Give freed memory back to the system: what glibc keeps in pieces grows, and hides how much a call takes."""
    if give_back := getattr(_libc(), "malloc_trim", None):
        give_back(0)


@lru_cache(maxsize=1)
def _libc() -> Any:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
