"""A few samples sent again through the systems and the link, so that a run need not store what was received.

The channel realisations are those of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semcom.types import Image, Query, Recovered, Sample

if TYPE_CHECKING:
    from semcom.scenario import Scenario
    from semcom.schema import LinkSpec
    from semcom.sweep.engine import Engine
    from semcom.tasks import Task

PREFERRED = ("vqa", "classification", "captioning", "retrieval")  # the first that a scenario has is shown


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one system delivered of one sample at one SNR; ``answer`` is None where it is not applicable."""

    system: str
    snr_db: float
    recovered: Recovered
    answer: str | None
    score: float
    channel_uses: int


@dataclass(frozen=True, eq=False)
class Example:
    """One sample and question, with the outcomes in the order systems x SNRs."""

    image: Image
    query: Query
    air: str
    budget: int
    outcomes: tuple[Outcome, ...]
    ceiling: tuple[str, float] | None
    blind: tuple[str, float] | None


def examples(
    scenario: Scenario,
    count: int = 2,
    snrs: Sequence[float] | None = None,
    budgets: Sequence[int] | None = None,
    link: int = 0,
    task: str | None = None,
) -> list[Example]:
    """The first ``count`` samples of the data, sent by every system; the i-th is asked its i-th question.

    :param snrs: dB; the lowest, middle and highest of the scenario by default.
    :param budgets: channel uses, taken in turn; by default the scenario's middle one, then its largest.
    :param link: which of the scenario's links.
    :param task: the task that asks; by default VQA where the scenario has it.
    """
    from semcom.report.view import spread
    from semcom.sweep.engine import Engine

    snrs = list(snrs) if snrs is not None else spread(sorted(scenario.snr_db), 3)
    if budgets is None:
        ordered = sorted(scenario.channel_uses)
        budgets = [ordered[len(ordered) // 2], ordered[-1]]
    engine = Engine(scenario)
    known = [name for name in PREFERRED if name in engine.tasks] or list(engine.tasks)
    asker = engine.tasks[task or known[0]]
    found: list[Example] = []
    for index in range(len(engine.dataset)):
        if len(found) == count:
            break
        sample = engine.dataset[index]
        if queries := asker.queries(sample):
            query, budget = queries[len(found) % len(queries)], budgets[len(found) % len(budgets)]
            found.append(_example(engine, scenario.links[link], asker, sample, query, snrs, budget))
    return found


def _example(
    engine: Engine,
    spec: LinkSpec,
    asker: Task,
    sample: Sample,
    query: Query,
    snrs: Sequence[float],
    budget: int,
) -> Example:
    """One sample through every system, at every SNR."""
    from semcom.schema import REFERENCES
    from semcom.sweep.plan import Point, realisation

    air, (height, width) = engine.links[spec.label], sample.image.shape[:2]
    outcomes = []
    for named in engine.scenario.systems:
        if named.name in REFERENCES:
            continue
        system = engine.systems[named.label]
        told = [query] if system.needs_query else None
        messages = system.transmit([sample.image], air.budget(budget), told)
        for snr in snrs:
            seed = realisation(engine.scenario, sample.id, Point(0, snr, 0))
            receptions = air.send(messages, snr, [seed])
            thing = system.receive(receptions, [(height, width)], told)[0]
            answer, score = _ask(asker, thing, query) if system.carries in asker.accepts else (None, 0.0)
            outcomes.append(
                Outcome(named.label, snr, thing, answer, score, receptions[0].ledger.channel_uses)
            )
    ceiling = _known(*_ask(asker, Recovered(image=sample.image), query))
    blind = _known(*_ask(asker, Recovered(), query))
    return Example(sample.image, query, spec.label, budget, tuple(outcomes), ceiling, blind)


def _ask(task: Task, thing: Recovered, query: Query) -> tuple[str | None, float]:
    if thing.kind not in task.accepts and thing.kind != "nothing":
        return None, 0.0
    answer = task.answer([thing], [query])[0]
    return answer, task.score(answer, query)


def _known(answer: str | None, score: float) -> tuple[str, float] | None:
    return None if answer is None else (answer, score)
