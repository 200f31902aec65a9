"""Shards of one sweep, computed apart, joined into one folder.

Shards may differ in systems, links, SNRs, budgets and draws; all else (data, models, tasks, seed, precision, weights,
code) must be the same. The joined scenario is the grid over all of them: what no shard has is missing, and
``semcom run OUT/scenario.yaml --out OUT`` computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from channels.errors import InputError
from semcom.scenario import Scenario
from semcom.schema import LinkSpec
from semcom.sweep.fingerprint import Fingerprint
from semcom.sweep.plan import plan
from semcom.sweep.results import Results
from semcom.sweep.store import Store

T = TypeVar("T")
FREE = ("title", "systems", "links", "snr_db", "channel_uses", "draws")  # what shards may differ in
Key = tuple[str, str, int, str, int]  # system, link, budget, SNR, draw


def merge(folders: Sequence[str | Path], out: str | Path) -> Results:
    """Join the results in ``folders`` into the new folder ``out``.

    :raises InputError: shards that do not fit together, with what is in the way; a folder ``out`` with results
    """
    if len(folders) < 2:
        raise InputError("merge: give at least two folders")
    shards = [Results.open(folder) for folder in folders]
    first = shards[0]
    for shard in shards[1:]:
        _refuse_foreign(first, shard)
    scenario = joined([shard.scenario for shard in shards], [str(shard.folder) for shard in shards])
    if Store.exists(Path(out)):
        raise InputError(f"{out}: holds results already; give a new folder")
    with Store.read(first.folder) as store:
        version = store.meta("version")
        facts = {name: store.meta(name) for name in ("fingerprint", "device")}
    places = {key: point.id for group in plan(scenario) for point, key in _keys(group)}
    with Store.create(Path(out), scenario.to_yaml(), version, facts) as store:
        for shard in shards:
            _copy(shard, store, places)
    (Path(out) / "scenario.yaml").write_text(scenario.to_yaml(), "utf-8")
    return Results.open(out)


def joined(scenarios: Sequence[Scenario], names: Sequence[str]) -> Scenario:
    """The grid over all shards."""
    systems = _union([s.systems for s in scenarios], lambda s: s.label, "systems", names)
    links: list[LinkSpec] = []
    for number, scenario in enumerate(scenarios):
        for link in scenario.links:
            same = next((other for other in links if other.label == link.label), None)
            if same is None:
                links.append(replace(link, entry=1000 * number + link.entry))
            elif replace(same, entry=0) != replace(link, entry=0):
                raise InputError(
                    f"merge: link {link.label!r} is not the same in {names[0]} and {names[number]}"
                )
    entries = {entry: i for i, entry in enumerate(dict.fromkeys(link.entry for link in links))}
    return replace(
        scenarios[0],
        systems=systems,
        links=tuple(replace(link, entry=entries[link.entry]) for link in links),
        snr_db=tuple(sorted({snr for s in scenarios for snr in s.snr_db})),
        channel_uses=tuple(sorted({uses for s in scenarios for uses in s.channel_uses})),
        draws=max(s.draws for s in scenarios),
    )


def _union(parts: Sequence[tuple[T, ...]], label: Any, what: str, names: Sequence[str]) -> tuple[T, ...]:
    found: dict[str, T] = {}
    for number, part in enumerate(parts):
        for item in part:
            if found.setdefault(label(item), item) != item:
                raise InputError(
                    f"merge: {what} {label(item)!r} has other options in {names[number]}; give it a label of its own"
                )
    return tuple(found.values())


def _refuse_foreign(first: Results, other: Results) -> None:
    """Shards must agree in all that is not free."""
    where = f"merge: {first.folder} and {other.folder} do not fit together"
    a, b = first.scenario, other.scenario
    same = replace(b, **{name: getattr(a, name) for name in FREE})
    if changes := same.differences(a):
        raise InputError(f"{where} ({'; '.join(changes[:3])})")
    marks, devices = [], []
    for results in (first, other):
        with Store.read(results.folder) as store:
            marks.append(Fingerprint.from_json(store.meta("fingerprint")))
            devices.append(store.meta("device"))
    if changes := marks[1].differences(marks[0]):
        raise InputError(f"{where} ({'; '.join(changes[:3])})")
    if devices[0] != devices[1]:
        raise InputError(f"{where} (computed on {devices[0]} and {devices[1]})")


def _keys(group: Any) -> list[tuple[Any, Key]]:
    link = group.link.label if group.link else ""
    return [(p, (group.system.label, link, group.budget_uses, repr(p.snr_db), p.draw)) for p in group.points]


def _copy(shard: Results, store: Store, places: dict[Key, int]) -> None:
    """Copy the finished points of a shard under their new ids, one transaction for each."""
    with Store.read(shard.folder) as source:
        finished = source.finished()
        for group in plan(shard.scenario):
            for point, key in _keys(group):
                if point.id in finished:
                    store.copy_point(source, point.id, places[key])
        keys = {point.id: key for group in plan(shard.scenario) for point, key in _keys(group)}
        for old, chunk, kind, error, trace in source.query("SELECT * FROM failures"):
            store.copy_failure(places[keys[old]], chunk, kind, error, trace)
