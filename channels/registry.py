"""A registry is a dict and a decorator."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from channels.errors import InputError, one_of, unknown

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered class: how it is made, and facts for listings (family, paper, ...)."""

    name: str
    make: Callable[..., T]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.make) or "").split("\n")[0]

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The options of the constructor, by name."""
        return dict(inspect.signature(self.make).parameters)


class Registry(dict[str, Entry[T]]):
    """Name -> :class:`Entry`. ``kind`` is the word that error messages use, for example ``"channel"``."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def register(self, name: str, **facts: Any) -> Callable[[type], type]:
        """Class decorator that enters the class under ``name``."""

        def enter(cls: type) -> type:
            if name in self:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self[name] = Entry(name, cls, facts)
            return cls

        return enter

    def find(self, name: str) -> Entry[T]:
        """The entry of that name; :class:`InputError` with a suggestion when there is none."""
        one_of(self.kind, name, self)
        return self[name]

    def create(self, name: str, /, *args: Any, **options: Any) -> T:
        """Make one; an option that the constructor does not have is an :class:`InputError`, never ignored."""
        entry = self.find(name)
        for option in options:
            if option not in entry.options:
                raise unknown(f"option of {self.kind} {name!r}:", option, entry.options)
        try:
            return entry.make(*args, **options)
        except TypeError as error:
            raise InputError(f"{self.kind} {name!r}: {error}") from error
