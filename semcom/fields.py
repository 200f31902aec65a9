"""Reading a nested mapping strictly: every value is checked, every key is used or refused."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, TypeVar

import yaml

from channels.errors import InputError, unknown

T = TypeVar("T")
_MISSING = object()


class Fields:
    """A mapping that is read key by key; ``where`` names it in messages (``"sweep"``, ``"systems[2]"``)."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise wrong(where, value, "a mapping of keys to values")
        for key in value:
            if not isinstance(key, str):
                raise wrong(where, key, "keys that are words")
        self._left = dict(value)
        self._known: list[str] = []
        self._where = where

    def take(self, key: str, check: Callable[[Any, str], T], default: Any = _MISSING) -> T:
        """The checked value under ``key``; ``default`` (checked too, so it may be raw) when it is not there."""
        self._known.append(key)
        field = f"{self._where}.{key}" if self._where else key
        value = self._left.pop(key, default)
        if value is _MISSING:
            raise InputError(f"{field}: missing")
        return check(value, field)

    def rest(self) -> dict[str, Any]:
        """All keys that were not taken (options of whatever was named)."""
        rest, self._left = self._left, {}
        return rest

    def done(self, whole: str = "the scenario") -> None:
        """Refuse what was not taken. ``whole`` names what the outermost mapping is."""
        for key in self._left:
            place = f"key of {self._where or whole}:"
            raise unknown(place, key, self._known)


def wrong(field: str, value: Any, right: str) -> InputError:
    """The error for a value of the wrong kind."""
    shown = repr(value)
    return InputError(f"{field}: expected {right}, got {shown if len(shown) <= 80 else shown[:77] + '...'}")


def text(value: Any, field: str) -> str:
    """A non-empty string."""
    if not isinstance(value, str) or not value.strip():
        raise wrong(field, value, "a word or sentence")
    return value


def integer(low: int, high: int, what: str) -> Callable[[Any, str], int]:
    """A whole number in ``low..high``; ``what`` says what it is."""

    def check(value: Any, field: str) -> int:
        whole = isinstance(value, numbers.Integral) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not low <= value <= high:
            raise wrong(field, value, f"{what} (a whole number from {low} to {high})")
        return int(value)

    return check


def number(low: float, high: float, what: str) -> Callable[[Any, str], float]:
    """A finite number in ``low..high``; ``what`` says what it is and its unit."""

    def check(value: Any, field: str) -> float:
        good = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
        if not good or not low <= value <= high:
            raise wrong(field, value, f"{what} (a finite number from {low:g} to {high:g})")
        return float(value)

    return check


def fraction(value: Any, field: str) -> float:
    """A code rate between 0 and 1, as ``0.5`` or ``"1/2"``."""
    try:
        rate = float(Fraction(value)) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        rate = math.nan
    if isinstance(value, bool) or not 0 < rate < 1:
        raise wrong(field, value, "a code rate between 0 and 1, such as 0.5 or 1/2")
    return rate


def several(check: Callable[[Any, str], T], unique: bool = True) -> Callable[[Any, str], tuple[T, ...]]:
    """A non-empty list of such values (or one of them, alone)."""

    def check_all(value: Any, field: str) -> tuple[T, ...]:
        if isinstance(value, Mapping | str) or not isinstance(value, Iterable):
            return (check(value, field),)
        items = list(value)
        if not items:
            raise wrong(field, items, "at least one value")
        checked = tuple(check(item, f"{field}[{i}]") for i, item in enumerate(items))
        if unique and len(checked) != len(set(map(repr, checked))):
            twice = next(c for i, c in enumerate(checked) if c in checked[:i])
            raise InputError(f"{field}: {twice!r} is given twice")
        return checked

    return check_all


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error instead of a silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i] and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", node.value[i][0].start_mark
                )
        return super().construct_mapping(node, deep)


def read_yaml(source: str, name: str) -> Any:
    """Parse YAML; what is wrong with it becomes one line."""
    try:
        return yaml.load(source, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise InputError(f"{name}{place}: not valid YAML: {problem}") from error
    except RecursionError as error:
        raise InputError(f"{name}: not valid YAML: nested too deeply") from error
