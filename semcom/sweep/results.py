"""Results of a run: a tidy frame, a labelled cube, single answers, paired comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from channels.errors import InputError, unknown
from semcom.fields import read_yaml
from semcom.scenario import Scenario, from_dict
from semcom.schema import REFERENCES, LinkSpec
from semcom.sweep.plan import Group, plan
from semcom.sweep.store import ROW, Store, explained

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

POINT = ("system", "channel", "modulation", "code_rate", "coding", "snr_db", "budget_uses", "seed", "draw")
COLUMNS = ("system", "task", *POINT[1:], *ROW, "link", "point")
NUMBERS = ("score", "ci_low", "ci_high", "payload_bits", "channel_uses", "cbr", "bpp", "outage")
FAILURE = ("system", "link", "budget_uses", "snr_db", "points", "kind", "error", "trace")
ANSWER = ("task", "sample", "query", "question_type", "text", "truth", "answer", "score", "kind", "outage")


class Results:
    """The results in a folder, finished or still growing; every call reads what is there at that moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with Store.read(folder) as store:
            raw = read_yaml(store.meta("scenario"), "stored scenario")
            self.version = store.meta("version")
        self.scenario: Scenario = from_dict(raw, folder.name)
        self._groups: dict[int, Group] = {p.id: g for g in plan(self.scenario) for p in g.points}

    @classmethod
    def open(cls, folder: str | Path) -> Results:
        """The results of ``semcom run --out FOLDER``."""
        return cls(Path(folder))

    def __repr__(self) -> str:
        done, total = self.progress()
        return f"Results({str(self.folder)!r}: {self.scenario.title!r}, {done} of {total} points)"

    def progress(self) -> tuple[int, int]:
        """(finished, planned) operating points."""
        with Store.read(self.folder) as store:
            return len(store.finished()), len(self._groups)

    def to_frame(self) -> pd.DataFrame:
        """One row for each operating point, task and question type, in the order of the plan.

        * system, task, seed, draw, snr_db (Es/N0 in dB, NaN for the reference rows), budget_uses (channel uses that
          one image may cost): as in the scenario; channel, modulation, code_rate, coding, link (its label): empty for
          the reference rows; point: id of the operating point, also in :meth:`samples`
        * question_type: "" for all queries of the task; metric: what score is; applicable: whether the task can be
          answered from what the system delivers (score is NaN otherwise); samples: images; queries: answers
        * score, ci_low, ci_high: mean with its 95 % interval, clustered by image
        * payload_bits, channel_uses: means of what was sent for one image; cbr: channel uses / (3 H W); bpp: payload
          bits / (H W); outage: share of answers that are blind guesses because nothing was received
        """
        import pandas as pd

        with Store.read(self.folder) as store:
            points = ", ".join(f"p.{name}" for name in (*POINT, "link", "id"))
            rows = store.query(
                f"SELECT {points}, r.task, {', '.join(f'r.{name}' for name in ROW)} FROM rows r "
                "JOIN points p ON p.id = r.point"
            )
            with explained(store.path):
                return self._tidy(pd.DataFrame(rows, columns=[*POINT, "link", "point", "task", *ROW]))

    def _tidy(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Types, names of channels, and the order of the plan."""
        frame["channel"] = frame["link"].map(_channel_names(self.scenario.links)).fillna("").astype(str)
        for name in ("modulation", "coding", "link"):
            frame[name] = frame[name].fillna("").astype(str)
        for name in ("snr_db", "code_rate", *NUMBERS):
            frame[name] = frame[name].astype(float)
        frame["applicable"] = frame["applicable"].astype(bool)
        order = {task.name: i for i, task in enumerate(self.scenario.tasks)}
        frame["place"] = frame["task"].map(order)
        frame = frame.sort_values(["point", "place", "question_type"], kind="stable", ignore_index=True)
        return frame[list(COLUMNS)]

    def to_xarray(self) -> xr.Dataset:
        """A cube over (system, task, link, budget_uses, snr_db, draw) of the rows over all queries.

        The reference rows are the variables ``ceiling`` and ``blind`` over (task). Points that are not there are NaN.
        """
        import xarray as xr

        frame = self.to_frame()
        frame = frame[frame["question_type"] == ""]
        radio = frame[frame["link"] != ""]
        axes = ["system", "task", "link", "budget_uses", "snr_db", "draw"]
        cube = xr.Dataset.from_dataframe(radio.set_index(axes)[list(NUMBERS)])
        planned = [g for g in self._groups.values() if g.link is not None]
        coordinates: dict[str, list[Any]] = {
            "system": list(dict.fromkeys(g.system.label for g in planned)),
            "task": [task.name for task in self.scenario.tasks],
            "link": [link.label for link in self.scenario.links],
            "budget_uses": list(self.scenario.channel_uses),
            "snr_db": list(self.scenario.snr_db),
            "draw": list(range(self.scenario.draws)),
        }
        cube = cube.reindex(coordinates)
        for name in REFERENCES:
            rows = frame[frame["system"] == name].set_index("task")["score"]
            cube[name] = xr.DataArray(rows.reindex(coordinates["task"]).to_numpy(), dims="task")
        cube["snr_db"].attrs["units"] = "dB"
        cube.attrs |= {"title": self.scenario.title, "seed": self.scenario.seed, "semcom": self.version}
        return cube

    def corpus(self) -> pd.DataFrame:
        """Metrics of whole test sets (BLEU-4, CIDEr-D), which single answers do not have: one row each."""
        import pandas as pd

        with Store.read(self.folder) as store:
            rows = store.query(
                "SELECT p.system, p.link, p.snr_db, p.budget_uses, p.draw, c.task, c.metric, c.score "
                "FROM corpus c JOIN points p ON p.id = c.point ORDER BY p.id, c.task, c.metric"
            )
        names = ["system", "link", "snr_db", "budget_uses", "draw", "task", "metric", "score"]
        return pd.DataFrame(rows, columns=names)

    def samples(self, **where: Any) -> pd.DataFrame:
        """Single answers, for example ``samples(system="jpeg", snr_db=10, task="vqa")``.

        Columns: point, system, link, snr_db, budget_uses, draw, task, sample, query (its number), question_type, text,
        truth, answer, score, kind (what the receiver held), outage, payload_bits, channel_uses.
        """
        import pandas as pd

        columns = {
            **{name: f"p.{name}" for name in ("system", "link", "snr_db", "budget_uses", "draw")},
            **{name: f"q.{name}" for name in ANSWER[:6]},
            **{name: f"s.{name}" for name in ("answer", "score", "kind")},
            "outage": "s.kind = 'nothing'",
            **{name: f"s.{name}" for name in ("payload_bits", "channel_uses")},
        }
        for name in where:
            if name not in columns:
                raise unknown("column of the samples:", name, columns)
        given = " AND ".join(f"{columns[name]} IS ?" for name in where)
        with Store.read(self.folder) as store:
            rows = store.query(
                f"SELECT s.point, {', '.join(columns.values())} FROM samples s JOIN points p ON p.id = s.point "
                f"JOIN queries q ON q.id = s.query {'WHERE ' + given if where else ''} "
                "ORDER BY s.point, q.task, q.sample, q.query",
                *where.values(),
            )
        frame = pd.DataFrame(rows, columns=["point", *columns])
        frame["outage"] = frame["outage"].astype(bool)
        return frame

    def failures(self) -> pd.DataFrame:
        """What could not be computed: one row for each error of a system, link and budget.

        Columns: system, link, budget_uses, snr_db (a list, as text), points (how many are missing for it), kind
        (exception, bad input, out of memory, time-out, worker died), error (one line), trace (of the first point).
        """
        import pandas as pd

        with Store.read(self.folder) as store:
            found = store.query("SELECT point, kind, error, trace FROM failures ORDER BY point")
        same: dict[tuple[int, str, str], list[int]] = {}
        traces: dict[tuple[int, str, str], str] = {}
        for point, kind, error, trace in found:
            key = (self._groups[point].index, kind, error)
            same.setdefault(key, []).append(point)
            traces.setdefault(key, trace)
        rows = []
        for (_, kind, error), points in same.items():
            group = self._groups[points[0]]
            snrs = dict.fromkeys(f"{p.snr_db:g}" for p in group.points if p.id in points and group.link)
            label = group.link.label if group.link else ""
            trace = traces[group.index, kind, error]
            where = (group.system.label, label, group.budget_uses, ", ".join(snrs), len(points))
            rows.append((*where, kind, error, trace))
        return pd.DataFrame(rows, columns=list(FAILURE))

    def failed(self) -> frozenset[tuple[str, int, float]]:
        """(system, budget, SNR) of what could not be computed."""
        with Store.read(self.folder) as store:
            failed = store.failed()
        return frozenset(
            (group.system.label, group.budget_uses, point.snr_db)
            for id in failed
            for group in [self._groups[id]]
            for point in group.points
            if point.id == id
        )

    def compare(self, first: str, second: str, task: str) -> pd.DataFrame:
        """Paired difference ``first - second`` on the same images and realisations, at every point that both have.

        Columns: link, snr_db, budget_uses, difference, ci_low, ci_high (95 %), p_value (two-sided), p_holm (the same,
        corrected for the number of rows; Holm 1979). A reference row (``ceiling``, ``blind``) is compared with every
        point.
        """
        import pandas as pd

        from semcom import stats

        keys = ["link", "snr_db", "budget_uses"]
        left, right = (self._scores(label, task) for label in (first, second))
        pair = ["sample", "query"]
        both = [*keys, "draw", *pair]
        if first in REFERENCES or second in REFERENCES:
            reference, other = (left, right) if first in REFERENCES else (right, left)
            reference = other[both].merge(reference[[*pair, "score"]], on=pair)
            left, right = (reference, other) if first in REFERENCES else (other, reference)
        merged = left[[*both, "score"]].merge(right[[*both, "score"]], on=both, suffixes=("_a", "_b"))
        groups = merged.groupby(keys, dropna=False, sort=False)
        rows = []
        for key, part in groups:
            found = stats.paired_difference(
                part["score_a"].tolist(),
                part["score_b"].tolist(),
                part["sample"].tolist(),
                flips=stats.flips_for(groups.ngroups),
            )
            rows.append((*key, *found))
        frame = pd.DataFrame(rows, columns=[*keys, "difference", "ci_low", "ci_high", "p_value"])
        return frame.assign(p_holm=stats.holm(frame["p_value"]))

    def pooled(self) -> pd.DataFrame:
        """Scores over all channel draws together, with intervals clustered by image.

        One row for each system, link, budget, SNR, task and question type of which all draws are finished. Columns:
        those, score, ci_low, ci_high.
        """
        import pandas as pd

        from semcom.sweep.rows import Column, summarise

        frame = self.to_frame()
        key = ["system", "link", "budget_uses", "snr_db", "task"]
        frame = frame[frame["applicable"] & (frame["question_type"] == "")]
        rows = []
        with Store.read(self.folder) as store:
            for names, points in frame.groupby(key, sort=False)["point"]:
                if len(points) < self.scenario.draws:
                    continue
                draws = [store.column(int(point), str(names[-1])) for point in points]
                for row in summarise(Column.together(draws), "", binary=True):
                    rows.append((*names, row["question_type"], row["score"], row["ci_low"], row["ci_high"]))
        return pd.DataFrame(rows, columns=[*key, "question_type", "score", "ci_low", "ci_high"])

    def _scores(self, label: str, task: str) -> pd.DataFrame:
        known = [*REFERENCES, *(s.label for s in self.scenario.systems)]
        if label not in known:
            raise unknown("system of this run:", label, known)
        if task not in [t.name for t in self.scenario.tasks]:
            raise unknown("task of this run:", task, [t.name for t in self.scenario.tasks])
        frame = self.samples(system=label, task=task)
        if frame.empty:
            raise InputError(f"{label!r} has no answers in task {task!r} (not applicable, or not finished)")
        return frame


def _channel_names(links: tuple[LinkSpec, ...]) -> dict[str, str]:
    """Label of the link -> name of its channel; with options and features where it is there in several variants."""
    variants: dict[str, set[str]] = {}
    for link in links:
        variants.setdefault(link.channel, set()).add(link.air)
    return {link.label: link.channel if len(variants[link.channel]) == 1 else link.air for link in links}
