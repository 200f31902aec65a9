"""Which operating points a scenario has, in which order, and which realisation of the channel each meets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from semcom.link import derive_seed
from semcom.scenario import Scenario
from semcom.schema import REFERENCES, LinkSpec, Named

CHUNK = 100  # images that are worked on together; fixed, so that no number depends on workers or machine


@dataclass(frozen=True)
class Point:
    """One operating point. ``id`` is its place in the plan."""

    id: int
    snr_db: float  # NaN for the reference rows
    draw: int


@dataclass(frozen=True)
class Group:
    """All points of one (system, link, budget): encoded once, sent at every SNR. The unit of work."""

    index: int
    system: Named
    link: LinkSpec | None  # None for the reference rows, which meet no channel
    budget_uses: int
    points: tuple[Point, ...]

    @property
    def title(self) -> str:
        """For a progress bar."""
        return self.system.label if self.link is None else f"{self.system.label}, {self.budget_uses} uses"


@dataclass(frozen=True, order=True)
class Job:
    """The unit of work: one chunk of images at some points of a group. Jobs are worked off in their order: system
    by system, chunk by chunk, so that budgets and links of one system share what they can."""

    place: int  # of the system in the plan
    chunk: int
    group: int
    points: tuple[int, ...]  # ids


def plan(scenario: Scenario) -> list[Group]:
    """The groups of a scenario: the reference rows, then system x link x budget (points: SNR x draw)."""

    def walk() -> Iterator[tuple[Named, LinkSpec | None, int, list[tuple[float, int]]]]:
        for name in REFERENCES:
            yield Named(name, label=name), None, 0, [(math.nan, 0)]
        meetings = [(snr, draw) for snr in scenario.snr_db for draw in range(scenario.draws)]
        for system in scenario.systems:
            if system.name not in REFERENCES:
                for link in scenario.links:
                    met = [m for m in meetings if link.snr_db is None or m[0] in link.snr_db]
                    for uses in scenario.channel_uses if met else ():
                        yield system, link, uses, met

    groups: list[Group] = []
    first = 0
    for system, link, uses, meetings in walk():
        points = tuple(Point(first + i, snr, draw) for i, (snr, draw) in enumerate(meetings))
        groups.append(Group(len(groups), system, link, uses, points))
        first += len(points)
    return groups


def realisation(scenario: Scenario, sample: str, point: Point) -> int:
    """Seed of the channel that an image meets at a point: the same for all systems, budgets, links and tasks.

    It depends on the SNR's value, not on its place in the list, so that a sweep over fewer SNRs repeats the same
    numbers. :class:`semcom.link.Link` derives one seed for each packet from it.
    """
    return derive_seed(scenario.seed, sample, float(point.snr_db), point.draw)
