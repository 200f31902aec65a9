"""Scores with their intervals as tables: for the terminal and for the HTML report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semcom.report.curves import signed
from semcom.report.view import View, spread

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

OUTAGE = "∅"  # more than half of the images of this point were not received
LEGEND = f"score [95 % interval]; {OUTAGE} over half are blind guesses after an outage; n/a not applicable"
ONE_LINE, TWO_LINES = 24, 15  # width of a column with the interval beside the score, or under it


@dataclass(frozen=True)
class Cell:
    """One entry. ``best``: the highest of its column among the systems that do not know the question."""

    score: str
    limits: str = ""  # of the interval; empty where there is no score
    best: bool = False
    lost: float = 0.0  # share of answers after an outage

    @property
    def outage(self) -> bool:
        """Most answers are blind guesses."""
        return self.lost > 0.5


@dataclass(frozen=True)
class Table:
    """System x SNR for one task, channel and budget; ``reference`` rows have one value for all columns."""

    task: str
    air: str
    metric: str
    budget: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    references: tuple[tuple[str, str], ...]


def score_table(view: View, task: str, air: str, budget: int) -> Table:
    """The table of one task. A point that was not run yet is an en dash; one that cannot be computed says so."""
    snrs = view.snrs
    rows: list[tuple[str, tuple[Cell, ...]]] = []
    selected = view.select(task=task, air=air, budget_uses=budget)
    for label in view.kinds:
        rows.append(
            (
                label,
                tuple(_cell(view, label, budget, snr, selected[selected["snr_db"] == snr]) for snr in snrs),
            )
        )
    references = []
    for name in ("ceiling", "blind"):
        row = view.reference(name, task)
        if row is not None:
            references.append((name, " ".join(interval(row))))
    columns = tuple(f"{signed(snr)} dB" for snr in snrs)
    return Table(task, air, view.metric(task), budget, columns, tuple(rows), tuple(references))


def interval(row: pd.Series[Any]) -> tuple[str, str]:
    """``0.87`` and ``[0.83, 0.90]``"""
    return f"{row['score']:.2f}", f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]"


def _cell(view: View, label: str, budget: int, snr: float, column: pd.DataFrame) -> Cell:
    """The entry of one system in the rows of one SNR."""
    found = column[column["system"] == label]
    if found.empty:
        return Cell("failed" if (label, budget, snr) in view.failed else "–")
    row = found.iloc[0]
    if not row["applicable"]:
        return Cell("n/a")
    rivals = column.loc[~column["system"].isin(view.informed), "score"]
    best = label not in view.informed and row["score"] >= rivals.max() and row["outage"] < 1
    return Cell(*interval(row), bool(best), float(row["outage"]))


def rich_table(view: View, task: str, air: str, budget: int, width: int) -> RenderableType:
    """A table of ``width`` characters: intervals go on a second line and SNRs are thinned out to fit."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    table = score_table(view, task, air, budget)
    label_width = min(max(len(label) for label, _ in table.rows), 22)
    count = len(table.columns)
    stacked = label_width + 4 + ONE_LINE * count > width
    fits = max(2, (width - label_width - 4) // TWO_LINES) if stacked else count
    shown = spread(list(range(count)), fits)
    about = [f"{name} {score}" for name, score in table.references]
    if len(shown) < count:
        about.append(f"{len(shown)} of {count} SNRs: the report has all")
    grid = Grid(
        title=Text(f"{task} ({table.metric}), {air}, {budget:,} channel uses"),
        caption=Text("; ".join(about)),
        title_style="bold",
        title_justify="left",
        caption_justify="left",
        caption_style="",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    grid.add_column("system", width=label_width, overflow="fold")
    for index in shown:
        grid.add_column(table.columns[index], justify="right", no_wrap=True)
    for label, cells in table.rows:
        grid.add_row(Text(label), *(_text(cells[index], stacked) for index in shown))
    return grid


def rich_tables(view: View, budget: int | None = None, width: int = 100) -> list[RenderableType]:
    """One table for each channel and task, at ``budget`` (by default the middle one), and the legend."""
    from rich.text import Text

    budget = budget if budget is not None else view.budgets[len(view.budgets) // 2]
    tables = [rich_table(view, task, air, budget, width) for air in view.airs for task in view.tasks]
    return [*tables, Text(LEGEND, "dim")]


def _text(cell: Cell, stacked: bool) -> Any:
    from rich.text import Text

    mark = f" {OUTAGE}" if cell.outage else "  " if cell.limits else ""
    one = f"{cell.score} {cell.limits}".rstrip() + mark
    two = f"{cell.score}{mark}\n{cell.limits}" if cell.limits else cell.score
    return Text(two if stacked else one, "bold green" if cell.best else "dim" if cell.outage else "")


def terminal_text(view: View, budget: int | None = None, width: int = 100, colour: bool = False) -> str:
    """:func:`rich_tables` as text."""
    import io

    from rich.console import Console

    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    for grid in rich_tables(view, budget, width):
        console.print(grid)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()
