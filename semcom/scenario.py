"""A scenario: one page of YAML that says which data, models, systems, links, tasks and operating points.

Loading checks everything that can be checked without reading data or weights; each fault is one
:class:`channels.errors.InputError` that names the field, its value and what would be right.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from channels.errors import InputError, unknown
from semcom.fields import Fields, integer, number, read_yaml, several, text
from semcom.schema import LinkSpec, Named, labelled, link, link_dicts, named, refuse_twice, vlm


@dataclass(frozen=True)
class Scenario:
    """Everything that determines a run."""

    title: str
    data: Named
    dual: str
    generative: str
    systems: tuple[Named, ...]
    links: tuple[LinkSpec, ...]
    tasks: tuple[Named, ...]
    snr_db: tuple[float, ...]
    channel_uses: tuple[int, ...]
    draws: int = 1
    seed: int = 1
    precision: float | None = (
        None  # half a 95 % interval that is narrow enough; None: all samples at every point
    )
    name: str = field(default="scenario", compare=False)

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any] | Scenario, set: Iterable[str] = ()) -> Scenario:
        """From the name of a shipped scenario, a path, a mapping or another scenario.

        :param set: changes as on the command line, for example ``["sweep.snr_db=[0, 10]"]``.
        """
        if isinstance(source, Scenario):
            name, raw = source.name, source.to_dict()
        elif isinstance(source, Mapping):
            name, raw = "scenario", copy.deepcopy(dict(source))
        else:
            name, content = _read(str(source))
            raw = read_yaml(content, name)
        for change in set:
            key, equals, value = change.partition("=")
            if not equals:
                raise InputError(f"--set {change!r}: expected KEY=VALUE, for example sweep.snr_db=[0,10]")
            _assign(raw, key.strip(), read_yaml(value, f"--set {key}"))
        return from_dict(raw, name)

    def replace(self, changes: Mapping[str, Any]) -> Scenario:
        """A changed copy: ``scenario.replace({"sweep.snr_db": [0, 10], "seed": 2})``."""
        raw = self.to_dict()
        for key, value in changes.items():
            _assign(raw, key, value)
        return from_dict(raw, self.name)

    def to_dict(self) -> dict[str, Any]:
        """The scenario with every default filled in, in the shape of its file."""
        return {
            "title": self.title,
            "data": {"name": self.data.name, **self.data.options},
            "vlm": {"dual": self.dual, "generative": self.generative},
            "systems": [{"name": s.name, "label": s.label, **s.options} for s in self.systems],
            "link": link_dicts(self.links),
            "tasks": [{"name": t.name, **t.options} for t in self.tasks],
            "sweep": {
                "snr_db": list(self.snr_db),
                "channel_uses": list(self.channel_uses),
                "draws": self.draws,
                **({} if self.precision is None else {"precision": self.precision}),
            },
            "seed": self.seed,
        }

    def to_yaml(self) -> str:
        """:meth:`to_dict` as a file that loads to an equal scenario."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, width=110)

    def differences(self, other: Scenario) -> list[str]:
        """What changed from ``other`` to this one, one line for each field."""
        mine, theirs = _flat(self.to_dict()), _flat(other.to_dict())
        return [
            f"{key}: {theirs.get(key, 'nothing')!r} -> {mine.get(key, 'nothing')!r}"
            for key in sorted(mine.keys() | theirs.keys())
            if mine.get(key) != theirs.get(key)
        ]


def available() -> dict[str, str]:
    """The shipped scenarios: name -> title."""
    files = [f for f in resources.files("scenarios").iterdir() if f.name.endswith(".yaml")]
    raw = {f.name.removesuffix(".yaml"): read_yaml(f.read_text("utf-8"), f.name) for f in files}
    return {name: str(content.get("title", "")) for name, content in sorted(raw.items())}


def from_dict(raw: Any, name: str = "scenario") -> Scenario:
    """Check a mapping in the shape of a scenario file."""
    from channels import CHANNELS
    from semcom.data import DATASETS
    from semcom.systems import SYSTEMS
    from semcom.tasks import TASKS

    fields = Fields(raw, "")
    title = fields.take("title", text, name)
    data = fields.take("data", lambda v, f: named(v, f, DATASETS, 0))
    dual, generative = fields.take("vlm", vlm, "embedded")
    systems = fields.take("systems", several(lambda v, f: named(v, f, SYSTEMS, 1), unique=False))
    entries = fields.take("link", several(lambda v, f: link(v, f, CHANNELS), unique=False))
    tasks = fields.take("tasks", several(lambda v, f: named(v, f, TASKS, 2)))
    sweep = Fields(fields.take("sweep", lambda v, f: v), "sweep")
    snr_db = sweep.take("snr_db", several(number(-100, 100, "an SNR in dB")))
    uses = sweep.take("channel_uses", several(integer(1, 10**9, "a budget in channel uses")))
    draws = sweep.take("draws", integer(1, 10**6, "a number of channel draws"), 1)
    seed = fields.take("seed", integer(0, 2**63 - 1, "a seed"), 1)
    precision = sweep.take("precision", _maybe(number(1e-4, 0.5, "half the width of an interval")), None)
    sweep.done()
    fields.done()
    links = tuple(replace(one, entry=i) for i, entry in enumerate(entries) for one in entry)
    refuse_twice("link", [one.label for one in links], "give each channel and MCS once")
    refuse_twice("tasks", [task.name for task in tasks], "give each task once")
    return Scenario(
        title,
        data,
        dual,
        generative,
        labelled(systems),
        links,
        tasks,
        snr_db,
        uses,
        draws,
        seed,
        precision,
        name,
    )


def _read(source: str) -> tuple[str, str]:
    """Name and content of a shipped scenario or a file."""
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        try:
            return path.stem, path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"scenario {source!r}: not a text file ({error.reason})") from error
        except OSError as error:
            raise InputError(f"scenario {source!r}: cannot be read ({error.strerror})") from error
    shipped = resources.files("scenarios") / f"{source}.yaml"
    if not source or not shipped.is_file():
        raise unknown("scenario (neither shipped nor a path to a .yaml file):", source, available())
    return source, shipped.read_text("utf-8")


def _maybe(check: Callable[[Any, str], float]) -> Callable[[Any, str], float | None]:
    return lambda value, field: None if value is None else check(value, field)


def _assign(raw: Any, key: str, value: Any) -> None:
    """Set a dotted key; things in a list are named by place, label or name (``systems.0.bits``, ``systems.jpeg``)."""
    *parents, last = key.split(".")
    place = raw
    for part in parents:
        try:
            if isinstance(place, dict):
                place = place.setdefault(part, {})
            else:
                place = place[_index(place, part)]
        except (ValueError, IndexError, TypeError):
            raise InputError(f"--set {key}: there is no {part!r} here to change") from None
    try:
        place[last if isinstance(place, dict) else _index(place, last)] = value
    except (ValueError, IndexError, TypeError):
        raise InputError(f"--set {key}: there is no {last!r} here to change") from None


def _index(items: Any, part: str) -> int:
    """Where in a list the thing of that place, label or name is; a bare name in the list becomes a mapping."""
    if part.lstrip("-").isdigit() or not isinstance(items, list):
        return int(part)
    labels = [i.get("label", i.get("name")) if isinstance(i, dict) else i for i in items]
    names = [i.get("name") if isinstance(i, dict) else i for i in items]
    place = labels.index(part) if part in labels else names.index(part)
    if isinstance(items[place], str):
        items[place] = {"name": part}
    return place


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    if isinstance(value, dict):
        parts = [_flat(v, f"{prefix}.{k}" if prefix else k) for k, v in value.items()]
        return {k: v for part in parts for k, v in part.items()}
    return {prefix: value}
