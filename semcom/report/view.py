"""What figures, tables and sentences are drawn from: the results frame, pooled, and its best-MCS envelope."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from channels.errors import InputError
from semcom.report.style import Look, looks

if TYPE_CHECKING:
    import pandas as pd

    from semcom.sweep.results import Results

POINT = ["air", "task", "system", "budget_uses", "snr_db", "question_type"]
MCS = ["modulation", "code_rate"]
NUMBERS = ["score", "ci_low", "ci_high", "payload_bits", "channel_uses", "cbr", "bpp", "outage"]
COLUMNS = {*POINT[1:], *MCS, *NUMBERS, "channel", "coding", "link", "samples", "metric", "applicable"}

PValue = Callable[["pd.Series[Any]", "pd.Series[Any]"], float]


@dataclass(frozen=True)
class Win:
    """The winner at one operating point, and the second ("" for a single system) with the margin over it.

    ``verdict``: ``none`` when even the winner is not significantly better than the blind guess, ``tie`` when it is
    not significantly better than the second, else ``win``.
    """

    budget_uses: int
    snr_db: float
    winner: str
    second: str
    margin: float  # score difference; NaN for a single system
    verdict: Literal["win", "tie", "none"]


@dataclass(frozen=True, eq=False)
class View:
    """One run, ready to draw.

    ``points`` has one row for each air (channel, or its capacity bound), task, system, budget, SNR and
    question type: the best modulation and code rate of that point. ``references`` has the rows of ``ceiling``
    and ``blind``. ``kinds`` says what each system carries, in display order; ``informed`` are the systems
    whose transmitter must know the question. ``p_value`` compares two rows of ``points`` on the same images.
    """

    points: pd.DataFrame
    references: pd.DataFrame
    kinds: Mapping[str, str]
    informed: frozenset[str] = frozenset()
    p_value: PValue | None = None
    failed: frozenset[tuple[str, int, float]] = (
        frozenset()
    )  # (system, budget, SNR) with points that could not be computed
    _wins: dict[tuple[str, str], list[Win]] = field(default_factory=dict, repr=False)

    @classmethod
    def of_results(cls, results: Results) -> View:
        """From a run; ties are judged by the paired test on its single answers."""
        from semcom import stats
        from semcom.schema import REFERENCES
        from semcom.systems import SYSTEMS

        kinds, informed = {}, []
        for system in results.scenario.systems:
            carries = getattr(SYSTEMS.find(system.name).make, "carries", "nothing")
            kinds[system.label] = carries if isinstance(carries, str) else "nothing"
            if getattr(SYSTEMS.find(system.name).make, "needs_query", False) is True:
                informed.append(system.label)

        def answers(row: pd.Series[Any]) -> pd.DataFrame:
            where = ["system", "task"]
            if row["system"] not in REFERENCES:  # those meet no channel: one row stands beside every point
                where += ["link", "snr_db", "budget_uses"]
            return results.samples(**{name: _plain(row[name]) for name in where})

        def p_value(first: pd.Series[Any], second: pd.Series[Any]) -> float:
            on = ["sample", "query"] if second["system"] in REFERENCES else ["draw", "sample", "query"]
            both = answers(first).merge(answers(second), on=on, suffixes=("_a", "_b"))
            if both.empty:
                return 1.0
            return stats.paired_difference(both["score_a"], both["score_b"], both["sample"].tolist())[3]

        pooled = results.pooled() if results.scenario.draws > 1 else None
        return cls.of(results.to_frame(), kinds, informed, p_value, results.failed(), pooled)

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        kinds: Mapping[str, str] | None = None,
        informed: Iterable[str] = (),
        p_value: PValue | None = None,
        failed: Iterable[tuple[str, int, float]] = (),
        pooled: pd.DataFrame | None = None,
    ) -> View:
        """From a results frame (``Results.to_frame()``). Draws and seeds are pooled.

        :param pooled: intervals over all draws together (``Results.pooled()``)
        :raises InputError: the frame lacks columns or holds no finished point
        """
        missing = sorted(COLUMNS - set(frame.columns))
        if missing:
            raise InputError(f"the results frame has no column {', '.join(missing)}")
        reference = frame["snr_db"].isna()
        if reference.all():
            raise InputError("the results hold no finished operating point yet: nothing to report")
        points = frame[~reference].copy()
        points["air"] = points["channel"].astype(str) + points["coding"].map(_coding)
        known, broken = dict(kinds or {}), frozenset(failed)
        shown = {*points["system"], *(label for label, _, _ in broken)}
        labels = [*known, *(label for label in points["system"].unique() if label not in known)]
        return cls(
            envelope(_with_intervals(pool(points, ["air", *MCS]), pooled)),
            pool(frame[reference].assign(air=""), ["air"]),
            {label: known.get(label, "nothing") for label in labels if label in shown},
            frozenset(informed),
            p_value,
            broken,
        )

    @functools.cached_property
    def looks(self) -> dict[str, Look]:
        """Colour and marker of each system."""
        return looks(self.kinds)

    @functools.cached_property
    def _columns(self) -> dict[str, NDArray[Any]]:
        return {column: self.points[column].to_numpy() for column in POINT}

    @property
    def airs(self) -> list[str]:
        """The channels, in order of appearance."""
        return [str(air) for air in self.points["air"].unique()]

    @property
    def tasks(self) -> list[str]:
        """The tasks, in order of appearance."""
        return [str(task) for task in self.points["task"].unique()]

    @property
    def snrs(self) -> list[float]:
        """The SNR values, in dB, ascending."""
        return sorted(float(snr) for snr in self.points["snr_db"].unique())

    @property
    def budgets(self) -> list[int]:
        """The budgets, in channel uses, ascending."""
        return sorted(int(uses) for uses in self.points["budget_uses"].unique())

    def select(self, question_type: str = "", **where: Any) -> pd.DataFrame:
        """The rows of ``points`` with these values, ascending in budget and SNR."""
        chosen = self._columns["question_type"] == question_type
        for column, value in where.items():
            chosen = chosen & (self._columns[column] == value)
        return self.points[chosen].sort_values(["budget_uses", "snr_db"], kind="stable")

    def row(self, question_type: str = "", **where: Any) -> pd.Series[Any] | None:
        """The only row with these values; None when the point is missing or not applicable."""
        rows = self.select(question_type, **where)
        rows = rows[rows["applicable"]]
        return None if rows.empty else rows.iloc[0]

    def reference(self, name: str, task: str, question_type: str = "") -> pd.Series[Any] | None:
        """The row of ``ceiling`` or ``blind``; None where it was not run."""
        r = self.references
        rows = r[(r["system"] == name) & (r["task"] == task) & (r["question_type"] == question_type)]
        return None if rows.empty or math.isnan(rows["score"].iloc[0]) else rows.iloc[0]

    def systems(self, task: str, informed: bool = True) -> list[str]:
        """The systems that this task can be answered from, in display order."""
        rows = self.select(task=task)
        able = set(rows.loc[rows["applicable"], "system"])
        return [label for label in self.kinds if label in able and (informed or label not in self.informed)]

    def metric(self, task: str) -> str:
        """The name of the task's metric."""
        return str(self.select(task=task)["metric"].iloc[0])

    def cbr(self, budget: int) -> float:
        """Channel bandwidth ratio of a budget: channel uses / (3 H W). NaN when nothing was ever sent."""
        sent = self.points[(self.points["channel_uses"] > 0) & (self.points["cbr"] > 0)]
        return float(budget * (sent["cbr"] / sent["channel_uses"]).mean()) if len(sent) else math.nan

    def wins(self, task: str, air: str) -> list[Win]:
        """Who wins at each budget and SNR, ascending in both; computed once."""
        if (task, air) not in self._wins:
            self._wins[task, air] = wins(self, task, air)
        return self._wins[task, air]

    def mcs(self, air: str) -> list[str]:
        """The modulations and code rates that the envelope of this air used, for example ``qpsk 1/2``."""
        rows = self.points.loc[self.points["air"] == air, MCS].drop_duplicates().sort_values(MCS)
        return [f"{row.modulation} rate {row.code_rate:.3g}" for row in rows.itertuples()]


def _coding(name: str) -> str:
    """What stands behind the channel's name for a coding; the default goes without saying."""
    bounds = {
        "ldpc": "",
        "ideal": ", capacity bound",
        "finite": ", finite-length bound",
        "uncoded": ", uncoded",
    }
    return bounds.get(name, f", {name}")


def pool(frame: pd.DataFrame, extra: list[str]) -> pd.DataFrame:
    """One row for each point and MCS: the mean over draws and seeds.

    Scores and interval limits are averaged. The draws share their images, so the mean of the limits is a safe
    (too wide) interval of the mean score; see :func:`_with_intervals`.
    """
    keys = list(dict.fromkeys([*POINT, *extra]))
    rules: dict[str, Any] = dict.fromkeys(NUMBERS, "mean")
    rules |= {"samples": "max", "metric": "first", "applicable": "all"}
    rules["link"] = "first"
    frame = frame.assign(**{column: frame[column].astype(float) for column in NUMBERS})
    frame["applicable"] = frame["applicable"].astype(bool)
    return frame.groupby(keys, dropna=False, sort=False).agg(rules).reset_index()


def _with_intervals(points: pd.DataFrame, pooled: pd.DataFrame | None) -> pd.DataFrame:
    """The rows with the intervals of ``pooled`` where it has them."""
    if pooled is None:
        return points
    key = ["system", "link", "budget_uses", "snr_db", "task", "question_type"]
    merged = points.merge(pooled[[*key, "ci_low", "ci_high"]], on=key, how="left", suffixes=("", "_pooled"))
    for name in ("ci_low", "ci_high"):
        merged[name] = merged[f"{name}_pooled"].fillna(merged[name])
    return merged[list(points.columns)]


def envelope(points: pd.DataFrame) -> pd.DataFrame:
    """The best MCS of each point, by its overall score; the rows of question types follow it."""
    whole = points[points["question_type"] == ""]
    key = POINT[:-1]
    best = whole.sort_values(["score", "ci_low"], ascending=False, kind="stable").drop_duplicates(key)
    chosen = best[[*key, *MCS]]
    return points.merge(chosen, on=[*key, *MCS], how="inner")


def wins(view: View, task: str, air: str) -> list[Win]:
    """The winner of each point; transmitters that must know the question do not compete."""
    competing = view.systems(task, informed=False)
    rows = view.select(task=task, air=air)
    rows = rows[rows["applicable"] & rows["system"].isin(competing)]
    blind = view.reference("blind", task)
    cells = []
    for _, cell in rows.groupby(["budget_uses", "snr_db"]):
        ranked = cell.sort_values("score", ascending=False, kind="stable")
        cells.append((ranked.iloc[0], ranked.iloc[1] if len(ranked) > 1 else None))
    against_blind = [(first, blind) for first, _ in cells if blind is not None]
    against_second = [(first, second) for first, second in cells if second is not None]
    found = better([*against_blind, *against_second], view.p_value)
    above = iter(found[: len(against_blind)])
    ahead = iter(found[len(against_blind) :])
    won = []
    for first, second in cells:
        verdict: Literal["win", "tie", "none"] = "win"
        tied = second is not None and not next(ahead)
        if blind is not None and not next(above):
            verdict = "none"
        elif tied:
            verdict = "tie"
        margin = math.nan if second is None else float(first["score"] - second["score"])
        rival = "" if second is None else str(second["system"])
        point = int(first["budget_uses"]), float(first["snr_db"])
        won.append(Win(*point, str(first["system"]), rival, margin, verdict))
    return won


def better(pairs: Sequence[tuple[pd.Series[Any], pd.Series[Any]]], p_value: PValue | None) -> list[bool]:
    """Whether the first row of each pair is significantly better than the second, at the 5 % level for all together.

    By the paired test on the same images, corrected for the number of pairs (Holm); without single answers, where
    the intervals lie apart.
    """
    from semcom import stats

    if p_value is None:
        return [bool(first["ci_low"] > second["ci_high"]) for first, second in pairs]
    corrected = stats.holm([p_value(first, second) for first, second in pairs])
    return [
        bool(first["score"] > second["score"] and p <= 0.05)
        for (first, second), p in zip(pairs, corrected, strict=True)
    ]


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's, for SQL."""
    return value.item() if hasattr(value, "item") else value


def spread(values: list[Any], count: int) -> list[Any]:
    """At most ``count`` of the values, evenly spread, first and last included."""
    if len(values) <= count:
        return list(values)
    return [values[round(index * (len(values) - 1) / (count - 1))] for index in range(count)]
