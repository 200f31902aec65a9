"""The work itself: one group of operating points, from images to answers.

Every image is encoded once for each (system, link, budget) and sent at all SNRs and draws together. A reception is
then answered once, whatever number of points it appears in: error-free ones and outages (most of them) have a
known outcome, other distinct ones are decoded once for each content. What is worked on together is fixed by the
scenario alone (chunks of images, slices of points), so that no number depends on workers, resuming or order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from channels.errors import InputError
from semcom.link import Link
from semcom.scenario import Scenario
from semcom.schema import LinkSpec
from semcom.sweep.chunk import Chunk, Outcome, Sending, clean, digest, sendings
from semcom.sweep.plan import CHUNK, Group, Point, realisation
from semcom.sweep.rows import Cost, Record, not_applicable, summarise
from semcom.types import Image, Message, Query, Reception, Recovered, System

SYMBOLS_AT_ONCE = 2**24  # bounds what is in the air together, in channel uses
Tick = Callable[[float], None]  # told which fraction of the group is done


@dataclass
class PointResult:
    """One finished operating point: its rows by task, corpus metrics, and the single answers."""

    point: Point
    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    corpus: list[tuple[str, str, float]] = field(default_factory=list)
    records: dict[str, list[Record]] = field(default_factory=dict)


@dataclass
class _Tally:
    """What accumulates at one point, chunk by chunk."""

    records: dict[str, list[Record]]
    costs: list[Cost] = field(default_factory=list)
    outages: list[bool] = field(default_factory=list)


class Engine:
    """The parts of a scenario, built once in each process."""

    def __init__(self, scenario: Scenario) -> None:
        from semcom import data, systems, tasks

        self.scenario = scenario
        self.dataset = data.load(scenario.data.name, **scenario.data.options)
        if not len(self.dataset):
            raise InputError(f"data: {scenario.data.name!r} with {scenario.data.options} has no samples")
        models = systems.Models(scenario.dual, scenario.generative, decide=self._decide)
        self.tasks = {t.name: tasks.create(t.name, models, self.dataset, **t.options) for t in scenario.tasks}
        self.systems = {s.label: systems.create(s.name, models, **s.options) for s in scenario.systems}
        self.links = {s.label: _link(s) for s in scenario.links}
        self._chunk: Chunk | None = None
        self._corpora: dict[bytes, dict[str, float]] = {}
        self._blind: dict[tuple[str, int], list[list[str]]] = {}
        self._clean: tuple[str, dict[tuple[int, str], dict[int, Outcome]]] = ("", {})

    @property
    def chunks(self) -> int:
        """How many chunks the data has."""
        return -(-len(self.dataset) // CHUNK)

    def chunk(self, index: int) -> Chunk:
        """Read one chunk (the latest is kept)."""
        if self._chunk is None or self._chunk.index != index:
            stop = min(len(self.dataset), (index + 1) * CHUNK)
            samples = [self.dataset[i] for i in range(index * CHUNK, stop)]
            queries = {name: [task.queries(s) for s in samples] for name, task in self.tasks.items()}
            self._chunk = Chunk(index, samples, queries)
        return self._chunk

    def run(self, group: Group, tick: Tick = lambda done: None) -> list[PointResult]:
        """All points of a group."""
        able = self.applicable(group)
        tallies = [_Tally({name: [] for name in able}) for _ in group.points]
        for index in range(self.chunks):
            chunk = self.chunk(index)
            if group.link is None:
                self._reference(group.system.name, chunk, tallies[0])
            else:
                self._radio(group, chunk, able, tallies, partial(self._tick, tick, index))
            tick((index + 1) / self.chunks)
        return [self._result(p, t, able) for p, t in zip(group.points, tallies, strict=True)]

    def _tick(self, tick: Tick, index: int, part: float) -> None:
        tick((index + part) / self.chunks)

    def applicable(self, group: Group) -> list[str]:
        """The tasks that can be answered from what the system delivers."""
        if group.link is None:
            return list(self.tasks)
        carries = self.systems[group.system.label].carries
        return [name for name, task in self.tasks.items() if carries in task.accepts]

    def blind(self, task: str, chunk: Chunk) -> list[list[str]]:
        """The guess without an image, for each sample and query: what an outage is scored as."""
        key = (task, chunk.index)
        if key not in self._blind:
            queries = [query for of_sample in chunk.queries[task] for query in of_sample]
            answers = iter(self.tasks[task].answer([Recovered()] * len(queries), queries))
            self._blind[key] = [[next(answers) for _ in of_sample] for of_sample in chunk.queries[task]]
        return self._blind[key]

    def receive(
        self, chunk: Chunk, system: System, sent: Sequence[Sending], air: Sequence[Reception]
    ) -> list[Outcome]:
        """Decode receptions and answer the queries of their sendings, in slices of fixed size."""
        outcomes: list[Outcome] = []
        for start in range(0, len(sent), CHUNK):
            part = sent[start : start + CHUNK]
            sizes = [chunk.size(s.sample) for s in part]
            queries = [chunk.query(s) for s in part] if system.needs_query else None
            recovered = system.receive(air[start : start + CHUNK], sizes, queries)
            if len(recovered) != len(part):
                raise RuntimeError(
                    f"{type(system).__name__}.receive: {len(recovered)} results for {len(part)}"
                )
            outcomes += self._ask(chunk, part, recovered)
        return outcomes

    def _ask(self, chunk: Chunk, sent: Sequence[Sending], recovered: Sequence[Recovered]) -> list[Outcome]:
        """Put every query of every sending to what was recovered; each task gets its queries in one call."""
        asked: dict[str, list[tuple[int, int]]] = {}  # task -> (which sending, index of the query)
        for which, sending in enumerate(sent):
            for name, j in sending.asked:
                asked.setdefault(name, []).append((which, j))
        outcomes = [Outcome(r.kind, {}) for r in recovered]
        for name, wanted in asked.items():
            task, queries = self.tasks[name], [chunk.queries[name][sent[i].sample][j] for i, j in wanted]
            held = [n for n, (i, _) in enumerate(wanted) if recovered[i].kind != "nothing"]
            seen = [recovered[wanted[n][0]] for n in held]
            told = dict(zip(held, task.answer(seen, [queries[n] for n in held]) if held else [], strict=True))
            for n, (i, j) in enumerate(wanted):
                answer = told[n] if n in told else self.blind(name, chunk)[sent[i].sample][j]
                outcomes[i].answers[name, j] = answer, task.score(answer, queries[n])
        return outcomes

    def _decide(self, images: Sequence[Image], queries: Sequence[Query]) -> list[str]:
        """What a transmitter that knows the queries answers to them itself: the task's answer from the true image."""
        answers = [""] * len(queries)
        for task in self.tasks.values():
            rows = [i for i, query in enumerate(queries) if query.task == task.name]
            if rows:
                told = task.answer([Recovered(image=images[i]) for i in rows], [queries[i] for i in rows])
                for i, answer in zip(rows, told, strict=True):
                    answers[i] = answer
        return answers

    def _reference(self, name: str, chunk: Chunk, tally: _Tally) -> None:
        """Ceiling (the original image at the receiver) or blind (nothing)."""
        samples = range(len(chunk.samples))
        sent = [Sending(i, tuple(chunk.asked(i, list(self.tasks))), Message()) for i in samples]
        images = [Recovered(image=s.image) if name == "ceiling" else Recovered() for s in chunk.samples]
        for sending, outcome in zip(sent, self._ask(chunk, sent, images), strict=True):
            _note(chunk, sending, outcome, 0, tally)

    def _radio(
        self, group: Group, chunk: Chunk, able: Sequence[str], tallies: Sequence[_Tally], tick: Tick
    ) -> None:
        """Encode a chunk, send it at every point, answer what is distinct, and note it all down."""
        assert group.link is not None
        link, system = self.links[group.link.label], self.systems[group.system.label]
        sent = sendings(system, chunk, able, link.budget(group.budget_uses))
        tick(0.2)
        perfect = [None if (r := clean(s.message)) is None else r.key for s in sent]
        outcomes: dict[tuple[int, str], Outcome] = {}
        step = max(1, SYMBOLS_AT_ONCE // max(1, len(sent) * group.budget_uses))
        for start in range(0, len(group.points), step):
            meetings = [
                (p, i) for p in range(start, min(len(group.points), start + step)) for i in range(len(sent))
            ]
            air = link.send(
                [sent[i].message for _, i in meetings],
                [group.points[p].snr_db for p, _ in meetings],
                [
                    realisation(self.scenario, chunk.samples[sent[i].sample].id, group.points[p])
                    for p, i in meetings
                ],
            )
            _within(group, air)
            keys = [(i, reception.key) for (_, i), reception in zip(meetings, air, strict=True)]
            new = {key: r for key, r in zip(keys, air, strict=True) if key not in outcomes}
            for known in [key for key in new if key[1] == perfect[key[0]]]:
                outcomes[known] = self._perfect(group, chunk, system, sent)[known[0]]
                del new[known]
            answered = self.receive(chunk, system, [sent[i] for i, _ in new], list(new.values()))
            outcomes.update(zip(new, answered, strict=True))
            for (p, i), key, reception in zip(meetings, keys, air, strict=True):
                _note(chunk, sent[i], outcomes[key], reception.ledger.channel_uses, tallies[p])
            tick(0.2 + 0.8 * min(1.0, (start + step) / len(group.points)))

    def _perfect(
        self, group: Group, chunk: Chunk, system: System, sent: Sequence[Sending]
    ) -> dict[int, Outcome]:
        """Outcomes of the error-free receptions of a whole chunk; shared by budgets that send the same bytes."""
        if self._clean[0] != group.system.label:
            self._clean = (group.system.label, {})
        memo, key = self._clean[1], (chunk.index, digest([s.message for s in sent]))
        if key not in memo:
            good = {i: r for i, s in enumerate(sent) if (r := clean(s.message)) is not None}
            answered = self.receive(chunk, system, [sent[i] for i in good], list(good.values()))
            memo[key] = dict(zip(good, answered, strict=True))
        return memo[key]

    def _result(self, point: Point, tally: _Tally, able: Sequence[str]) -> PointResult:
        result = PointResult(point)
        for name, task in self.tasks.items():
            records = tally.records.get(name, [])
            if name in able and records:
                result.records[name] = records
                result.rows += [(name, row) for row in summarise(records, task.metric, task.binary)]
                result.corpus += [
                    (name, metric, value) for metric, value in self._corpus(name, records).items()
                ]
            else:
                row = not_applicable(task.metric, len(self.dataset), tally.costs, tally.outages)
                result.rows.append((name, row))
        return result

    def _corpus(self, name: str, records: Sequence[Record]) -> dict[str, float]:
        """Metrics of all answers together; many points have equal answers (all arrived, all lost)."""
        answers = repr((name, [(r.query.sample, r.index, r.answer) for r in records]))
        key = hashlib.blake2b(answers.encode(), digest_size=16).digest()
        if key not in self._corpora:
            found = self.tasks[name].corpus([r.answer for r in records], [r.query for r in records])
            self._corpora[key] = {metric: float(value) for metric, value in found.items()}
        return self._corpora[key]


def _within(group: Group, air: Sequence[Reception]) -> None:
    """A system that spends more than its budget would win unfairly."""
    most = max((reception.ledger.channel_uses for reception in air), default=0)
    if most > group.budget_uses:
        raise RuntimeError(
            f"system {group.system.label!r} spent {most} channel uses, but its budget is {group.budget_uses}"
        )


def _link(spec: LinkSpec) -> Link:
    return Link(spec.channel, spec.options, spec.modulation, spec.code_rate, spec.coding, **spec.features)


def _note(chunk: Chunk, sending: Sending, outcome: Outcome, uses: int, tally: _Tally) -> None:
    """One record for each query of the sending."""
    height, width = chunk.size(sending.sample)
    cost = Cost(sending.message.payload_bits, uses, height * width)
    for (task, j), (answer, score) in outcome.answers.items():
        query = chunk.queries[task][sending.sample][j]
        tally.records[task].append(Record(query, j, answer, score, outcome.kind, len(tally.costs), cost))
    tally.costs.append(cost)
    tally.outages.append(outcome.kind == "nothing")
