"""The work itself: one group of operating points, from images to answers.

Every image is encoded once for each (system, link, budget), or not at all where the cache on disk has its message, and
sent at all SNRs and draws together. A reception is then answered once, whatever number of points it appears in:
error-free ones and outages (most of them) have a known outcome, other distinct ones are decoded once for each content.
What is worked on together is fixed by the scenario alone (chunks of images, slices of points), so that no number
depends on workers, resuming or order. Where a system fails on what it received, its points are tried one by one, and
only those that fail are lost.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from channels.errors import InputError
from channels.links.bler import cache_folder
from semcom.link import Link
from semcom.scenario import Scenario
from semcom.schema import LinkSpec
from semcom.sweep.cache import Cache
from semcom.sweep.chunk import Chunk, Outcome, Sending, clean, digest, sendings
from semcom.sweep.part import Answers, Failure, OutOfTime, Part
from semcom.sweep.plan import CHUNK, Group, Job, plan, realisation
from semcom.sweep.rows import Asked, Cost, Record, query_id
from semcom.systems.base import image_key
from semcom.types import Budget, Dataset, Image, Message, Query, Reception, Recovered, System

SYMBOLS_AT_ONCE = 2**24  # bounds what is in the air together, in channel uses
KEPT = 2**24  # bytes of images that are not read again for the next system


@dataclass(frozen=True)
class Known:
    """Outcomes of one system and chunk that its groups share, each under a digest of what was worked on together.

    ``perfect``: of the error-free receptions, for budgets that send the same bytes. ``heard``: of all that a group
    received, for links that differ only in what an analog message does not use (modulation, code).
    """

    system: str = ""
    chunk: int = -1
    perfect: dict[str, dict[int, Outcome]] = field(default_factory=dict)
    heard: dict[str, dict[tuple[int, str], Outcome]] = field(default_factory=dict)


class Engine:
    """The parts of a scenario, built once in each process.

    :param device: of the models given by name.
    :param key: hash of code and weights, under which transmitted messages are looked up and kept on disk; None does
        without.
    """

    def __init__(self, scenario: Scenario, device: str = "cpu", key: str | None = None) -> None:
        from semcom import data, systems, tasks

        self.scenario = scenario
        self.dataset: Dataset = data.load(scenario.data.name, **scenario.data.options)
        if not len(self.dataset):
            raise InputError(f"data: {scenario.data.name!r} with {scenario.data.options} has no samples")
        models = systems.Models(scenario.dual, scenario.generative, decide=self._decide, device=device)
        self.tasks = {t.name: tasks.create(t.name, models, self.dataset, **t.options) for t in scenario.tasks}
        self._places = {name: place for place, name in enumerate(self.tasks)}
        self.systems = {s.label: systems.create(s.name, models, **s.options) for s in scenario.systems}
        self.links = {s.label: _link(s) for s in scenario.links}
        self.groups = plan(scenario)
        self._cache = None if key is None else Cache(cache_folder())
        self._key = f"{key} {device}"
        self._chunks: OrderedDict[int, Chunk] = OrderedDict()
        self._blind: OrderedDict[tuple[str, int], list[list[str]]] = OrderedDict()
        self._known = Known()

    @property
    def chunks(self) -> int:
        """How many chunks the data has."""
        return -(-len(self.dataset) // CHUNK)

    def chunk(self, index: int) -> Chunk:
        """Read one chunk; the latest are kept, as far as their images fit into :data:`KEPT` bytes."""
        if index not in self._chunks:
            stop = min(len(self.dataset), (index + 1) * CHUNK)
            samples = [self.dataset[i] for i in range(index * CHUNK, stop)]
            queries = {name: [task.queries(s) for s in samples] for name, task in self.tasks.items()}
            self._chunks[index] = Chunk(index, samples, queries)
            while len(self._chunks) > 1 and sum(c.bytes for c in self._chunks.values()) > KEPT:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end(index)
        return self._chunks[index]

    def forget(self) -> None:
        """Drop what is remembered of earlier answers (not the models)."""
        self._blind.clear()
        self._known = Known()

    def run(self, job: Job) -> Part:
        """One chunk of images at the points of a job."""
        group, chunk = self.groups[job.group], self.chunk(job.chunk)
        able = self.applicable(group)
        points = [point for point in group.points if point.id in job.points]
        part = Part(job, [Answers(point) for point in points], self._asked(chunk, able))
        if group.link is None:
            self._reference(group.system.name, chunk, part.answers[0])
        else:
            self._radio(group, chunk, able, part)
        for answers in part.answers:
            answers.close()
        return part

    def _asked(self, chunk: Chunk, tasks: Sequence[str]) -> list[Asked]:
        """The queries of a chunk."""
        found = []
        for name in tasks:
            for i, queries in enumerate(chunk.queries[name]):
                number, (height, width) = chunk.index * CHUNK + i, chunk.size(i)
                for j, query in enumerate(queries):
                    id = query_id(self._places[name], number, j)
                    told = query.type, query.text, " | ".join(query.truth), json.dumps(query.truth)
                    found.append(Asked(id, name, query.sample, j, *told, number, height * width))
        return found

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
            while len(self._blind) > 4 * len(self.tasks):  # the latest chunks
                self._blind.popitem(last=False)
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

    def _reference(self, name: str, chunk: Chunk, tally: Answers) -> None:
        """Ceiling (the original image at the receiver) or blind (nothing)."""
        samples = range(len(chunk.samples))
        sent = [Sending(i, tuple(chunk.asked(i, list(self.tasks))), Message()) for i in samples]
        images = [Recovered(image=s.image) if name == "ceiling" else Recovered() for s in chunk.samples]
        for sending, outcome in zip(sent, self._ask(chunk, sent, images), strict=True):
            self._note(chunk, sending, outcome, 0, tally)

    def _radio(self, group: Group, chunk: Chunk, able: Sequence[str], part: Part) -> None:
        """Encode a chunk, send it at every point, answer what is distinct, and note it all down."""
        assert group.link is not None
        if (self._known.system, self._known.chunk) != (group.system.label, chunk.index):
            self._known = Known(group.system.label, chunk.index)
        link, system, points = self.links[group.link.label], self.systems[group.system.label], part.answers
        sent = sendings(
            system, chunk, able, link.budget(group.budget_uses), partial(self._transmit, group, part)
        )
        perfect = [None if (r := clean(s.message)) is None else r.key for s in sent]
        outcomes: dict[tuple[int, str], Outcome] = {}
        analog = any(s.message.symbols is not None for s in sent)
        heard = hashlib.blake2b(repr([(s.sample, s.asked) for s in sent]).encode(), digest_size=16)
        lost: set[int] = set()
        step = max(1, SYMBOLS_AT_ONCE // max(1, len(sent) * group.budget_uses))
        for start in range(0, len(points), step):
            meetings = [(a, i) for a in points[start : start + step] for i in range(len(sent))]
            air = link.send(
                [sent[i].message for _, i in meetings],
                [a.point.snr_db for a, _ in meetings],
                [realisation(self.scenario, chunk.samples[sent[i].sample].id, a.point) for a, i in meetings],
            )
            _within(group, air)
            keys = [(i, reception.key) for (_, i), reception in zip(meetings, air, strict=True)]
            met = dict(zip(keys, air, strict=True))
            heard.update(repr(keys).encode())
            outcomes.update(self._known.heard.get(heard.hexdigest(), {}))
            try:
                self._answer(group, chunk, sent, perfect, met, outcomes)
                if analog and not part.failures:
                    self._known.heard[heard.hexdigest()] = dict(outcomes)
            except OutOfTime:
                raise
            except Exception:  # at which points?
                for a in points[start : start + step]:
                    own = {key: met[key] for (b, _), key in zip(meetings, keys, strict=True) if b is a}
                    try:
                        self._answer(group, chunk, sent, perfect, own, outcomes)
                    except OutOfTime:
                        raise
                    except Exception as error:
                        part.failures.append(Failure.of(part.job, error, [a.point.id]))
            lost = {id for failure in part.failures for id in failure.points}
            for (a, i), key, reception in zip(meetings, keys, air, strict=True):
                if a.point.id not in lost:
                    self._note(chunk, sent[i], outcomes[key], reception.ledger.channel_uses, a)
        part.answers = [a for a in part.answers if a.point.id not in lost]

    def _answer(
        self,
        group: Group,
        chunk: Chunk,
        sent: Sequence[Sending],
        perfect: Sequence[str | None],
        met: Mapping[tuple[int, str], Reception],
        outcomes: dict[tuple[int, str], Outcome],
    ) -> None:
        """Add the outcomes of the receptions that are new. Keys: (which sending, key of the reception)."""
        system = self.systems[group.system.label]
        new = {key: reception for key, reception in met.items() if key not in outcomes}
        for known in [key for key in new if key[1] == perfect[key[0]]]:
            outcomes[known] = self._perfect(chunk, system, sent)[known[0]]
            del new[known]
        answered = self.receive(chunk, system, [sent[i] for i, _ in new], list(new.values()))
        outcomes.update(zip(new, answered, strict=True))

    def _transmit(
        self,
        group: Group,
        part: Part,
        images: Sequence[Image],
        budget: Budget,
        queries: Sequence[Query] | None,
    ) -> list[Message]:
        """What the system sends: from the cache on disk, or computed."""
        system, reused = self.systems[group.system.label], False
        if self._cache is None:
            messages = system.transmit(images, budget, queries)
        else:
            named = group.system
            known = (self._key, named.name, sorted(named.options.items()), [image_key(i) for i in images])
            told = (queries, self.scenario.tasks) if system.needs_query else ()
            key = hashlib.blake2b(repr((known, told)).encode(), digest_size=16).hexdigest()
            messages, reused = self._cache.transmit(
                key, budget, lambda b: system.transmit(images, b, queries)
            )
        if reused:
            part.reused += len(images)
        else:
            part.encoded += len(images)
        return messages

    def _note(self, chunk: Chunk, sending: Sending, outcome: Outcome, uses: int, tally: Answers) -> None:
        """One record for each query of the sending."""
        height, width = chunk.size(sending.sample)
        cost = Cost(int(sending.message.payload_bits), int(uses), height * width)
        number = chunk.index * CHUNK + sending.sample
        for (task, j), (answer, score) in outcome.answers.items():
            id = query_id(self._places[task], number, j)
            tally.records.append(Record(id, float(score), answer, outcome.kind, *cost[:2]))
        tally.costs.append(cost)
        tally.outages.append(outcome.kind == "nothing")

    def _perfect(self, chunk: Chunk, system: System, sent: Sequence[Sending]) -> dict[int, Outcome]:
        """Outcomes of the error-free receptions of a whole chunk; shared by budgets that send the same bytes."""
        memo, key = self._known.perfect, digest([s.message for s in sent])
        if key not in memo:
            good = {i: r for i, s in enumerate(sent) if (r := clean(s.message)) is not None}
            answered = self.receive(chunk, system, [sent[i] for i in good], list(good.values()))
            memo[key] = dict(zip(good, answered, strict=True))
        return memo[key]


def _within(group: Group, air: Sequence[Reception]) -> None:
    """A system that spends more than its budget would win unfairly."""
    most = max((reception.ledger.channel_uses for reception in air), default=0)
    if most > group.budget_uses:
        raise RuntimeError(
            f"system {group.system.label!r} spent {most} channel uses, but its budget is {group.budget_uses}"
        )


def _link(spec: LinkSpec) -> Link:
    return Link(spec.channel, spec.options, spec.modulation, spec.code_rate, spec.coding, **spec.features)
