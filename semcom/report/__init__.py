"""Figures, tables and one self-contained HTML page from the results of a run.

>>> import semcom, semcom.report
>>> results = semcom.Results.open("runs/quickstart")  # doctest: +SKIP
>>> print(semcom.report.terminal_table(results))  # doctest: +SKIP
>>> semcom.report.write(results, "runs/quickstart")  # doctest: +SKIP
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from channels.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from semcom.report.view import View
    from semcom.sweep.cost import Costs
    from semcom.sweep.results import Results

__all__ = ["terminal_table", "write"]

FORMATS = ("png", "svg", "pdf")


def terminal_table(
    results: Results, budget: int | None = None, width: int | None = None, colour: bool | None = None
) -> str:
    """Scores with intervals, system x SNR, one table for each channel and task.

    :param budget: channel uses; the middle one of the scenario by default.
    :param width: in characters, by default the terminal's; intervals wrap and SNRs are thinned out to fit.
    :param colour: with terminal colours; by default when the output is a terminal.
    """
    import os
    import shutil
    import sys

    from semcom.report.table import terminal_text
    from semcom.report.view import View

    view = View.of_results(results)
    if budget is not None and budget not in view.budgets:
        raise InputError(f"budget {budget}: this run has {', '.join(map(str, view.budgets))} channel uses")
    width = width if width is not None else max(60, shutil.get_terminal_size((110, 24)).columns)
    colour = colour if colour is not None else sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return terminal_text(view, budget, width, bool(colour))


def write(
    results: Results, out: str | Path, formats: Sequence[str] = ("png",), examples: int = 2
) -> list[Path]:
    """Write ``figures/*`` and ``report.html`` into ``out`` and return their paths, the report last.

    :param formats: of the figure files: ``png``, ``svg``, ``pdf``.
    :param examples: how many samples to send again for the panel "what the receiver got"; 0 for none.
    """
    from semcom.report.html import About, page
    from semcom.report.view import View
    from semcom.sweep.cost import Costs

    for name in formats:
        if name not in FORMATS:
            raise InputError(f"figure format {name!r}: expected one of {', '.join(FORMATS)}")
    view = View.of_results(results)
    scenario = results.scenario
    done, planned = results.progress()
    about = About(
        scenario.title,
        scenario.to_yaml(),
        scenario.data.name,
        scenario.seed,
        results.version,
        done,
        planned,
        results.failures().to_dict("records"),
    )
    notes: list[str] = []
    costs = Costs.load(results.folder)
    drawn = draw(view) + _fronts(view, costs) + _panels(results, view, examples, notes)
    folder, paths, shown = Path(out) / "figures", [], []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, title, lines, figure in drawn:
            one = _shown(name, title, lines, figure)
            shown.append(one)
            for suffix in formats:
                path = folder / f"{name}.{suffix}"
                path.write_bytes(one.png if suffix == "png" else _bytes(figure, suffix))
                paths.append(path)
        report = Path(out) / "report.html"
        report.write_text(page(view, about, shown, notes, costs), "utf-8")
    except OSError as error:
        raise InputError(f"the report cannot be written to {str(out)!r}: {error.strerror}") from error
    return [*paths, report]


Drawn = tuple[str, str, list[str], "Figure"]  # file name, title, caption, figure


def draw(view: View) -> list[Drawn]:
    """All figures that come from scores."""
    from semcom.report import curves, maps, sentences

    figures: list[Drawn] = []
    tasks = [task for task in view.tasks if view.systems(task)]
    if any(view.systems(task, informed=False) for task in tasks):
        title = "Which system wins where"
        figures.append(("winners", title, sentences.map_caption(view), maps.winner_map(view)))
    for task in tasks:
        title = f"{task}: score against SNR"
        figures.append(
            (f"snr-{task}", title, sentences.snr_caption(view, task), curves.against_snr(view, task))
        )
        title = f"{task}: score against channel uses"
        figures.append(
            (f"uses-{task}", title, sentences.uses_caption(view, task), curves.against_uses(view, task))
        )
        point = (view.airs[0], view.snrs[-1], view.budgets[len(view.budgets) // 2])
        types = maps.type_map(view, task, *point)
        if types is not None:
            title = f"{task}: what each system can answer"
            figures.append((f"types-{task}", title, sentences.type_caption(view, task, *point), types))
    return figures


def _fronts(view: View, costs: Costs | None) -> list[Drawn]:
    """The Pareto front of each task on the first channel, where costs were measured (``semcom cost``)."""
    from semcom.report.costs import front, pareto_figure, pareto_lines

    if costs is None:
        return []
    tasks, air = [task for task in view.tasks if view.systems(task, informed=False)], view.airs[0]
    return [
        (
            f"pareto-{task}",
            f"{task}: score, channel uses and energy",
            pareto_lines(view, costs, task, air),
            pareto_figure(view, costs, task, air),
        )
        for task in tasks
        if len(front(view, costs, task, air))
    ]


def _panels(results: Results, view: View, count: int, notes: list[str]) -> list[Drawn]:
    """The sample panels; where the data or the models are not at hand, a note says so instead."""
    from semcom.report.curves import signed
    from semcom.report.panel import panel
    from semcom.report.samples import examples

    if count < 1:
        return []
    try:
        found = examples(results.scenario, count)
    except InputError as error:
        notes.append(f"The panel “what the receiver got” is missing: {error}")
        return []
    except Exception as error:  # a system that failed in the run fails here, too
        notes.append(f"The panel “what the receiver got” is missing: {type(error).__name__}: {error}")
        return []
    figures: list[Drawn] = []
    for index, example in enumerate(found):
        snrs = ", ".join(signed(snr) for snr in dict.fromkeys(o.snr_db for o in example.outcomes))
        lines = [
            f"Sample {example.query.sample}, number {index + 1} of the data, not picked; {example.budget:,} "
            f"channel uses over {example.air} at {snrs} dB, with the channel realisations of the run.",
            "Green: right; red: wrong; grey: a blind guess because nothing was received, or not applicable.",
            "Visual tokens are rows of features, an embedding is a bar for each of its values.",
        ]
        figures.append((f"panel-{index + 1}", "What the receiver got", lines, panel(example, view.looks)))
    return figures


def _shown(name: str, title: str, lines: list[str], figure: Figure) -> Shown:
    from semcom.report.html import Shown

    return Shown(name, title, lines, _bytes(figure, "png"), round(92 * figure.get_size_inches()[0]))


def _bytes(figure: Figure, suffix: str) -> bytes:
    import matplotlib

    buffer = io.BytesIO()
    plain = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
    with matplotlib.rc_context({"svg.hashsalt": "semcom"}):  # equal figures are equal files
        figure.savefig(buffer, format=suffix, dpi=150, metadata=plain)
    return buffer.getvalue()


if TYPE_CHECKING:
    from semcom.report.html import Shown
