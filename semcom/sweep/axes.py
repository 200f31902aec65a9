"""Sweeps over any field of a scenario, not only SNR and budget: one run for each combination of values."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from channels.errors import InputError
from semcom.fields import read_yaml
from semcom.scenario import Scenario
from semcom.sweep.pool import pool
from semcom.sweep.progress import Progress, Step
from semcom.sweep.results import Results
from semcom.sweep.run import run_in, shown

if TYPE_CHECKING:
    import pandas as pd

GRID = (
    "sweep.snr_db",
    "sweep.channel_uses",
)  # axes that a scenario has itself: they need no runs of their own
FILE = "axes.yaml"


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep: for each the values of its axes, and its results."""

    axes: tuple[str, ...]
    runs: tuple[tuple[dict[str, Any], Results], ...]

    @classmethod
    def open(cls, folder: str | Path) -> Sweep:
        """The sweep in a folder, as far as it is there."""
        path = Path(folder) / FILE
        try:
            stored = read_yaml(path.read_text("utf-8"), str(path))
            axes = {str(k): list(v) for k, v in stored.items()}
        except (OSError, AttributeError, TypeError, UnicodeDecodeError) as error:
            raise InputError(f"{folder}: no sweep here ({FILE} cannot be read)") from error
        places = [(values, Path(folder) / _name(values)) for values in _combinations(axes)]
        return cls(tuple(axes), tuple((v, Results.open(place)) for v, place in places if place.is_dir()))

    def to_frame(self) -> pd.DataFrame:
        """:meth:`Results.to_frame` of all runs, with one column more for each axis, in front and under its name."""
        import pandas as pd

        parts = []
        for values, results in self.runs:
            frame = results.to_frame()
            for place, (name, value) in enumerate(values.items()):
                # a list or mapping stands in a cell as its text
                frame.insert(place, name, value if isinstance(value, str | int | float) else str(value))
            parts.append(frame)
        return pd.concat(parts, ignore_index=True)


def sweep(
    scenario: str | Path | Mapping[str, Any] | Scenario,
    axes: Mapping[str, Sequence[Any]],
    out: str | Path | None = None,
    workers: int = 1,
    progress: Progress | bool = False,
    *,
    scheduler: str | None = None,
    retry_failed: bool = False,
    timeout: float | None = None,
    cache: bool = True,
    device: str = "cpu",
) -> Sweep:
    """Run a scenario at every combination of values.

    >>> sweep("quickstart", {"sweep.snr_db": [0, 10], "systems.visual-tokens.bits": [1, 4]})  # doctest: +SKIP

    :param axes: field of the scenario -> its values. Dots lead inwards; things in a list are named by their place,
        or by their label or name: ``link.coherence``, ``data.split``, ``systems.0.quality``, ``systems.jpeg``.
        ``sweep.snr_db`` and ``sweep.channel_uses`` are axes of one and the same run; every other combination is a
        run in a folder of its own under ``out``, on the same workers.
    :param out: ``runs/NAME-sweep`` by default. What is there already is not computed again, also when values are added.

    The others are those of :func:`semcom.run`.
    """
    base = Scenario.load(scenario)
    for name, given in axes.items():
        if isinstance(given, str | Mapping) or not isinstance(given, Sequence) or not len(given):
            raise InputError(f"axes: {name!r}: expected a list of values, got {given!r}")
    base = base.replace({name: list(axes[name]) for name in GRID if name in axes})
    own = {name: list(values) for name, values in axes.items() if name not in GRID}
    combinations = _combinations(own)
    scenarios = [base.replace(values) for values in combinations]  # finds what is wrong before anything runs
    folder = Path(out) if out is not None else Path("runs") / f"{base.name}-sweep"
    _write_axes(folder, own)
    runs = []
    with shown(progress) as report, pool(workers, scheduler) as crew:
        for number, (values, one) in enumerate(zip(combinations, scenarios, strict=True)):
            place = folder / _name(values)
            part = _part(report, number, len(combinations), _name(values))
            runs.append((values, run_in(crew, one, place, part, retry_failed, timeout, cache, device)))
    return Sweep(tuple(own), tuple(runs))


def _combinations(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _name(values: Mapping[str, Any]) -> str:
    """``systems.0.bits=2,link.coherence=8``: the name of the folder of a run."""
    return (
        ",".join(f"{key}={re.sub(r'[^A-Za-z0-9_.+-]+', '_', str(v))}" for key, v in values.items()) or "all"
    )


def _part(report: Progress, number: int, count: int, name: str) -> Progress:
    """The progress of one run as that of a part of the sweep. All runs are taken to have as many points."""

    def tell(step: Step) -> None:
        done, total = number * step.total + step.done, count * step.total
        report(Step(done, total, f"{name}: {step.current}", step.workers, step.reused, step.failed))

    return tell


def _write_axes(folder: Path, axes: Mapping[str, Sequence[Any]]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(yaml.safe_dump(dict(axes), sort_keys=False), "utf-8")
    except yaml.YAMLError as error:
        raise InputError(f"axes: only plain values can be axes ({error})") from error
    except OSError as error:
        raise InputError(f"{folder / FILE}: cannot be written ({error.strerror})") from error
