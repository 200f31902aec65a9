"""The one exception that a user's input can cause."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A value that a person gave is wrong. The message names the field, the value and what would be right."""


def unknown(kind: str, name: object, known: Iterable[str]) -> InputError:
    """The error for a name that is not in ``known``, with the nearest one as a suggestion."""
    names = sorted(map(str, known))
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")


def one_of(kind: str, value: object, known: Iterable[str]) -> None:
    """The error of :func:`unknown` unless ``value`` is a word in ``known``."""
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise unknown(kind, value, names)
