"""Semantic communication with vision-language models over channels simulated with Sionna.

>>> import semcom
>>> results = semcom.run("quickstart", out="runs/quickstart")  # doctest: +SKIP
>>> results.to_frame()  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcom.scenario import Scenario
    from semcom.sweep.axes import sweep
    from semcom.sweep.results import Results
    from semcom.sweep.run import run

__version__ = "0.1.0"
__all__ = ["Results", "Scenario", "__version__", "run", "sweep"]

_LAZY = {"Scenario": "semcom.scenario", "Results": "semcom.sweep.results", "run": "semcom.sweep.run"}


def __getattr__(name: str) -> Any:
    """Import on first use: ``import semcom`` loads neither torch nor transformers. ``sweep`` is a package that can be
    called."""
    if name == "sweep":
        return importlib.import_module("semcom.sweep")
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'semcom' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY, "sweep"])
