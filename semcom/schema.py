"""The parts of a scenario: named things with options, and links; how they are checked and written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from channels.errors import InputError, unknown
from channels.registry import Registry
from semcom.fields import Fields, fraction, number, several, text, wrong

MODULATIONS = ("qpsk", "qam16", "qam64", "qam256")
CODINGS = ("ldpc", "polar", "convolutional", "uncoded", "pusch", "ideal", "finite")
FEATURES = ("impairments", "fidelity", "harq", "protection")
ADAPTIVE = [
    "qpsk-1/8",
    "qpsk-1/4",
    "qpsk-1/2",
    "qam16-1/2",
    "qam16-3/4",
    "qam64-2/3",
    "qam64-5/6",
    "qam256-5/6",
]
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
    entries that list several MCS become several links that share it.

    ``options`` are the channel's, ``features`` what else differs from a plain link (impairments, fidelity, harq,
    protection). ``snr_db`` are the SNRs at which this MCS is used (None: all of the sweep). ``target_bler`` marks a
    candidate of an adaptive entry, whose SNRs are measured before a run starts.
    """

    channel: str
    modulation: str = "qpsk"
    code_rate: float = 0.5
    coding: str = "ldpc"
    options: dict[str, Any] = field(default_factory=dict)
    entry: int = 0
    features: dict[str, Any] = field(default_factory=dict)
    snr_db: tuple[float, ...] | None = None
    target_bler: float | None = None

    @property
    def mcs(self) -> str:
        """``qpsk-1/2``"""
        rate = Fraction(self.code_rate).limit_denominator(1024)
        return f"{self.modulation}-{rate if float(rate) == self.code_rate else self.code_rate}"

    @property
    def air(self) -> str:
        """What is in the air but for MCS and coding: the channel, its options, and every feature of the link."""
        options = "".join(f" {k}={v}" for k, v in sorted(self.options.items()))
        features = "".join(f" {k}={_short(v)}" for k, v in sorted(self.features.items()))
        adaptive = self.snr_db is not None or self.target_bler is not None
        return f"{self.channel}{options}{features}{' adaptive' if adaptive else ''}"

    @property
    def label(self) -> str:
        """Unique within a scenario: :attr:`air`, MCS and coding."""
        return f"{self.air} {self.mcs} {self.coding}"


def _short(value: Any) -> str:
    """A feature's value in a label: ``chase,attempts:4``, ``pa,cfo``."""
    if isinstance(value, Mapping):
        return ",".join(str(v) if k in ("name", "scheme") else f"{k}:{v}" for k, v in value.items())
    return "+".join(map(_short, value)) if isinstance(value, list | tuple) else str(value)


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
    schemes = _schemes(keys, where, coding)
    features = {key: keys.pop(key) for key in FEATURES if keys.get(key, ...) is not ...}
    known = ["channel", "coding", "mcs", "modulation", "code_rate", *FEATURES, *entry.options]
    for key in keys:
        if key not in entry.options:
            raise unknown(f"key of {where} (channel {channel!r}):", key, known)
    return tuple(
        LinkSpec(channel, mcs[0], mcs[1], coding, keys, 0, features, snrs, target)
        for mcs, snrs, target in schemes
    )


Scheme = tuple[
    tuple[str, float], tuple[float, ...] | None, float | None
]  # MCS, its SNRs, target of adaptation


def _schemes(keys: dict[str, Any], where: str, coding: str) -> list[Scheme]:
    """The MCS of an entry, taken out of its keys."""
    if "mcs" in keys:
        for key in ("modulation", "code_rate"):
            if key in keys:
                raise InputError(f"{where}: give either mcs or {key}, not both")
        value, here = keys.pop("mcs"), f"{where}.mcs"
        if isinstance(value, Mapping) and "mcs" not in value:
            adaptive = Fields(value, here)
            target = adaptive.take("target_bler", number(1e-3, 0.9, "a block error rate to stay under"))
            candidates = adaptive.take("of", several(_mcs), ADAPTIVE)
            adaptive.done()
            return [(mcs, None, target) for mcs in candidates]
        values = value if isinstance(value, list | tuple) else [value]
        given = several(_mcs)([v.get("mcs") if isinstance(v, Mapping) else v for v in values], here)
        return [
            (mcs, _snrs(v, f"{here}[{i}]"), None)
            for i, (mcs, v) in enumerate(zip(given, values, strict=True))
        ]
    modulation = _one_of(MODULATIONS)(keys.pop("modulation", "qpsk"), f"{where}.modulation")
    if coding == "uncoded" and keys.get("code_rate", 1) == 1:
        keys.pop("code_rate", None)
        return [((modulation, 1.0), None, None)]
    return [((modulation, fraction(keys.pop("code_rate", 0.5), f"{where}.code_rate")), None, None)]


def _snrs(value: Any, where: str) -> tuple[float, ...] | None:
    """The SNRs of ``{mcs: qpsk-1/2, snr_db: [0, 5]}``; None where only the MCS is given."""
    if not isinstance(value, Mapping):
        return None
    fields = Fields(value, where)
    fields.take("mcs", text)
    snrs = fields.take("snr_db", several(number(-100, 100, "an SNR in dB")))
    fields.done()
    return snrs


def _one_of(names: Sequence[str]) -> Callable[[Any, str], str]:
    def check(value: Any, where: str) -> str:
        if value not in names:
            near = difflib.get_close_matches(str(value), names, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise wrong(where, value, f"one of {', '.join(names)}{hint}")
        return str(value)

    return check


def _mcs(value: Any, where: str) -> tuple[str, float]:
    """Modulation and code rate of ``qam16-1/2``, or of ``table1-10``, a row of a table in TS 38.214."""
    match = re.fullmatch(r"(\w+)-([\d./]+)", value) if isinstance(value, str) else None
    if match is not None and match[1].startswith("table"):
        from channels.links.mcs import mcs

        try:
            row = mcs(value)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        return row.modulation, float(row.code_rate)
    if match is None or match[1] not in MODULATIONS:
        raise wrong(where, value, f"MODULATION-RATE such as qam16-1/2, with one of {', '.join(MODULATIONS)}")
    if match[2] == "1":
        return match[1], 1.0  # uncoded
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
        if first.target_bler is not None:
            scheme = {"mcs": {"target_bler": first.target_bler, "of": [link.mcs for link in group]}}
        elif len(group) > 1 or first.snr_db is not None:
            scheme = {
                "mcs": [
                    link.mcs if link.snr_db is None else {"mcs": link.mcs, "snr_db": list(link.snr_db)}
                    for link in group
                ]
            }
        entry = {
            "channel": first.channel,
            **scheme,
            "coding": first.coding,
            **first.features,
            **first.options,
        }
        entries.append(entry)
    return entries[0] if len(entries) == 1 else entries
