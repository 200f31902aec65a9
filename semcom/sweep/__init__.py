"""Plan -> run -> store -> resume: every operating point of a scenario, once, with the same numbers everywhere.

The package can be called: ``semcom.sweep(scenario, axes={...})`` is :func:`semcom.sweep.axes.sweep`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcom.sweep.axes import Sweep


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Sweep:
        from semcom.sweep.axes import sweep

        return sweep(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
