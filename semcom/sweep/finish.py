"""From the stored answers of an operating point to its rows."""

from __future__ import annotations

import hashlib
import marshal
from typing import Any

from semcom.sweep.engine import Engine
from semcom.sweep.plan import CHUNK, Group, Point
from semcom.sweep.rows import Column, not_applicable, scored, summarise
from semcom.sweep.store import Store
from semcom.tasks.base import Task
from semcom.types import Query

REMEMBERED = 4096


class Finisher:
    """Summarises points; equal answers (all arrived, all lost) are summarised once."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self.engine, self.store = engine, store
        self._known: dict[bytes, Any] = {}

    def __call__(self, group: Group, point: Point) -> None:
        """Enter a point whose chunks are all there."""
        rows: list[tuple[str, dict[str, Any]]] = []
        corpus: list[tuple[str, str, float]] = []
        able = self.engine.applicable(group)
        sums = self.store.sums(point.id)
        for name, task in self.engine.tasks.items():
            column = self.store.column(point.id, name) if name in able else Column()
            if column.scores:
                rows += [(name, row) for row in self._rows(group, name, column)]
                corpus += [(name, metric, value) for metric, value in self._corpus(name, column).items()]
            else:
                rows.append((name, not_applicable(task.metric, sums, self._samples(point))))
        self.store.finish(group, point, self.engine.scenario.seed, rows, corpus)

    def width(self, group: Group, point: Point) -> float:
        """Half the width of the widest 95 % interval of the point's tasks, from the answers that are there."""
        widths = [0.0]
        for name in self.engine.applicable(group):
            column = self.store.column(point.id, name)
            if column.scores:
                row = scored(column, self.engine.tasks[name].binary)
                widths.append((row["ci_high"] - row["ci_low"]) / 2)
        return max(widths)

    def _samples(self, point: Point) -> int:
        """Images that were sent at a point."""
        ((chunks,),) = self.store.query("SELECT count(*) FROM chunks WHERE point = ?", point.id)
        return min(len(self.engine.dataset), CHUNK * int(chunks))

    def _rows(self, group: Group, name: str, column: Column) -> list[dict[str, Any]]:
        task = self.engine.tasks[name]
        each = group.link is not None and self.engine.systems[group.system.label].needs_query
        key = _hash("rows", name, each, list(vars(column).values()))
        if key not in self._known:
            self._remember(key, summarise(column, task.metric, task.binary, each))
        found: list[dict[str, Any]] = self._known[key]
        return found

    def _corpus(self, name: str, column: Column) -> dict[str, float]:
        """Metrics of all answers together."""
        task = self.engine.tasks[name]
        if type(task).corpus is Task.corpus:  # it has none
            return {}
        key = _hash("corpus", name, column.samples, column.indices, column.answers)
        if key not in self._known:
            asked = [
                Query(name, sample, truth=truth)
                for sample, truth in zip(column.samples, column.truths, strict=True)
            ]
            found = task.corpus(column.answers, asked)
            self._remember(key, {metric: float(value) for metric, value in found.items()})
        known: dict[str, float] = self._known[key]
        return known

    def _remember(self, key: bytes, value: Any) -> None:
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = value


def _hash(*parts: Any) -> bytes:
    return hashlib.blake2b(marshal.dumps(parts, 2), digest_size=16).digest()
