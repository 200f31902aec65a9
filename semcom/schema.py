"""The parts of a scenario: named things with options, and links; how they are checked and written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from channels.errors import InputError, unknown
from channels.registry import Registry
from semcom.fields import Fields, fraction, several, text, wrong

MODULATIONS = ("qpsk", "qam16", "qam64", "qam256")
CODINGS = ("ldpc", "ideal")
REFERENCES = ("ceiling", "blind")  # rows without a radio, always there


@dataclass(frozen=True)
class Named:
    """A registered thing and its options: a data set, a system, a task."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True)
class LinkSpec:
    """One channel with one modulation and coding scheme (MCS). ``entry`` is its place in the scenario's ``link``;
    entries that list several MCS become several links that share it."""

    channel: str
    modulation: str = "qpsk"
    code_rate: float = 0.5
    coding: str = "ldpc"
    options: dict[str, Any] = field(default_factory=dict)
    entry: int = 0

    @property
    def mcs(self) -> str:
        """``qpsk-1/2``"""
        rate = Fraction(self.code_rate).limit_denominator(1024)
        return f"{self.modulation}-{rate if float(rate) == self.code_rate else self.code_rate}"

    @property
    def label(self) -> str:
        """Unique within a scenario: channel, its options, MCS and coding."""
        options = "".join(f" {k}={v}" for k, v in sorted(self.options.items()))
        return f"{self.channel}{options} {self.mcs} {self.coding}"


def named(value: Any, where: str, registry: Registry[Any], given: int) -> Named:
    """A name, or a mapping with a name and options; ``given`` constructor arguments come from the program."""
    fields = Fields({"name": value} if isinstance(value, str) else value, where)
    name = fields.take("name", text)
    label = fields.take("label", text, name) if registry.kind == "system" else ""
    entry = registry.find(name)
    options = fields.rest()
    allowed = list(entry.options)[given:]
    for option in options:
        if option not in allowed:
            raise unknown(f"option of {where} ({registry.kind} {name!r}):", option, allowed)
    return Named(name, options, label)


def vlm(value: Any, where: str) -> tuple[str, str]:
    """Names of the dual encoder and the generative model; one name stands for both."""
    if isinstance(value, str):
        return text(value, where), value
    fields = Fields(value, where)
    dual, generative = fields.take("dual", text, "embedded"), fields.take("generative", text, "embedded")
    fields.done()
    return dual, generative


def link(value: Any, where: str, registry: Registry[Any]) -> tuple[LinkSpec, ...]:
    """One link for each MCS of the entry."""
    fields = Fields({"channel": value} if isinstance(value, str) else value, where)
    channel = fields.take("channel", text)
    entry = registry.find(channel)
    coding = fields.take("coding", _one_of(CODINGS), "ldpc")
    keys = fields.rest()
    if "mcs" in keys:
        for key in ("modulation", "code_rate"):
            if key in keys:
                raise InputError(f"{where}: give either mcs or {key}, not both")
        schemes = several(_mcs)(keys.pop("mcs"), f"{where}.mcs")
    else:
        modulation = _one_of(MODULATIONS)(keys.pop("modulation", "qpsk"), f"{where}.modulation")
        schemes = ((modulation, fraction(keys.pop("code_rate", 0.5), f"{where}.code_rate")),)
    known = ["channel", "coding", "mcs", "modulation", "code_rate", *entry.options]
    for key in keys:
        if key not in entry.options:
            raise unknown(f"key of {where} (channel {channel!r}):", key, known)
    return tuple(LinkSpec(channel, modulation, rate, coding, keys) for modulation, rate in schemes)


def _one_of(names: Sequence[str]) -> Callable[[Any, str], str]:
    def check(value: Any, where: str) -> str:
        if value not in names:
            near = difflib.get_close_matches(str(value), names, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise wrong(where, value, f"one of {', '.join(names)}{hint}")
        return str(value)

    return check


def _mcs(value: Any, where: str) -> tuple[str, float]:
    match = re.fullmatch(r"(\w+)-([\d./]+)", value) if isinstance(value, str) else None
    if match is None or match[1] not in MODULATIONS:
        raise wrong(where, value, f"MODULATION-RATE such as qam16-1/2, with one of {', '.join(MODULATIONS)}")
    return match[1], fraction(match[2], where)


def labelled(systems: Sequence[Named]) -> tuple[Named, ...]:
    """Give systems of one name labels that say how they differ; refuse labels that meet."""
    labelled = []
    for system in systems:
        label = system.label
        twins = [other for other in systems if other.name == system.name]
        if label == system.name and len(twins) > 1:
            keys = sorted({key for twin in twins for key in twin.options})
            differing = [k for k in keys if any(t.options.get(k) != system.options.get(k) for t in twins)]
            label += "".join(f" {k}={system.options[k]}" for k in differing if k in system.options)
        if label in REFERENCES and system.name != label:
            raise InputError(f"systems: the label {label!r} is taken by the reference row of that name")
        labelled.append(Named(system.name, system.options, label))
    refuse_twice("systems", [s.label for s in labelled], "give each its own 'label'")
    return tuple(labelled)


def refuse_twice(where: str, labels: Sequence[str], remedy: str) -> None:
    """Labels must differ."""
    for i, label in enumerate(labels):
        if label in labels[:i]:
            raise InputError(f"{where}: {label!r} is given twice; {remedy}")


def link_dicts(links: Sequence[LinkSpec]) -> Any:
    """Links in the shape of the file: one mapping, or a list; the MCS of an entry together again."""
    entries = []
    for number_of in sorted({link.entry for link in links}):
        group = [link for link in links if link.entry == number_of]
        first = group[0]
        scheme: dict[str, Any] = {"modulation": first.modulation, "code_rate": first.code_rate}
        if len(group) > 1:
            scheme = {"mcs": [link.mcs for link in group]}
        entries.append({"channel": first.channel, **scheme, "coding": first.coding, **first.options})
    return entries[0] if len(entries) == 1 else entries
