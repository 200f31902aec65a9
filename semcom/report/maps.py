"""Two maps: which system wins where, and what each system can answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from semcom.report.curves import score_label, shorten, signed
from semcom.report.style import FAINT, INK, ink_on, lighten, styled
from semcom.report.view import View, Win

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOBODY = "#E9E9E9"
CELL = (0.78, 0.56)  # inches


@styled
def winner_map(view: View) -> Figure:
    """Which system wins at each SNR and budget: one panel for each channel and task.

    A cell has the winner's colour and its margin over the second in percentage points. A difference that is
    not significant is a hatched tie in the colours of the two; ``none``: nobody is significantly above the blind guess.
    """
    from matplotlib.figure import Figure

    panels = [(air, task) for air in view.airs for task in view.tasks if view.systems(task, informed=False)]
    columns = 1 if len(view.snrs) > 9 or len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    width = (CELL[0] * len(view.snrs) + 0.9) * columns
    height = (CELL[1] * len(view.budgets) + 0.75) * rows + 0.45
    figure = Figure(figsize=(max(width, 8.5), max(height, 2.6)), dpi=120, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    found = [view.wins(task, air) for air, task in panels]
    shown: set[str] = set()
    for cells in found:
        shown |= {cell.winner for cell in cells} | {cell.second for cell in cells if cell.verdict == "tie"}
    labels = [label for label in view.kinds if label in shown]
    room = int(15 * (figure.get_size_inches()[0] / columns - 0.9) / len(view.snrs))  # letters across a cell
    names = {label: _name(label, room) for label in labels}
    if any(len(part) > room for name in names.values() for part in name.split("\n")):
        names = {label: _letter(index) for index, label in enumerate(labels)}
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.set_axis_off()
            continue
        air, task = panels[index]
        _map(axes, view, found[index], names)
        axes.set_title(f"{task}, {air}" if len(view.airs) > 1 else task, fontweight="bold")
        if index % columns == 0:
            axes.set_ylabel("budget (channel uses)")
        if index >= len(panels) - columns:
            axes.set_xlabel("SNR $E_s/N_0$ (dB)")
    _key(figure, view, names)
    return figure


@styled
def type_map(view: View, task: str, air: str, snr: float, budget: int) -> Figure | None:
    """Systems x question types at one point, in percent; None when the task has no question types.

    Columns run from what the first text system answers best to what it cannot answer (without a text system:
    from the ceiling's best to its worst).
    """
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure

    types = [kind for kind in view.points.loc[view.points["task"] == task, "question_type"].unique() if kind]
    if not types:
        return None
    rows: list[tuple[str, list[float]]] = []
    for label in view.systems(task):
        found = [
            view.row(kind, task=task, air=air, snr_db=snr, budget_uses=budget, system=label) for kind in types
        ]
        rows.append((label, [np.nan if row is None else float(row["score"]) for row in found]))
    for position, name in ((0, "ceiling"), (len(rows) + 1, "blind")):
        found = [view.reference(name, task, kind) for kind in types]
        if any(row is not None for row in found):
            rows.insert(position, (name, [np.nan if row is None else float(row["score"]) for row in found]))
    texts = [scores for label, scores in rows if view.kinds.get(label) == "text"]
    order = np.argsort(-np.nan_to_num(np.array((texts or [rows[0][1]])[0])), kind="stable")
    table = np.array([scores for _, scores in rows])[:, order]
    figure = Figure(figsize=(2.4 + 0.66 * len(types), 1.5 + 0.36 * len(rows)), dpi=120, layout="constrained")
    axes = figure.subplots()
    mesh = axes.pcolormesh(table, cmap="cividis", vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
    axes.set_facecolor("#F4F4F4")
    for (y, x), score in np.ndenumerate(table):
        missing = bool(np.isnan(score))
        colour = FAINT if missing else ink_on(to_hex(mesh.cmap(float(score))))
        axes.text(
            x + 0.5,
            y + 0.5,
            "n/a" if missing else f"{100 * score:.0f}",
            color=colour,
            **_CENTRE,
            fontsize=8.5,
        )
    axes.set_xticks(
        np.arange(len(types)) + 0.5, [shorten(types[i], 24) for i in order], rotation=30, ha="right"
    )
    axes.set_yticks(np.arange(len(rows)) + 0.5, [shorten(label, 36) for label, _ in rows])
    axes.invert_yaxis()
    axes.tick_params(length=0, labelsize=8.5, labelcolor=INK)
    for tick, (label, _) in zip(axes.get_yticklabels(), rows, strict=True):
        if label in view.kinds:
            tick.set_fontweight("bold")
        else:
            tick.set_fontstyle("italic")
    axes.spines[:].set_visible(False)
    axes.set_xlabel("question type")
    bar = figure.colorbar(mesh, ax=axes, pad=0.015, aspect=18)
    bar.set_label(f"{task} {score_label(view.metric(task))}")
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25", "50", "75", "100"])
    bar.ax.tick_params(labelsize=8, length=2)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


_CENTRE: dict[str, Any] = {"ha": "center", "va": "center"}


def _map(axes: Axes, view: View, cells: list[Win], names: dict[str, str]) -> None:
    """The cells of one panel, equally spaced whatever the values of the SNR and the budget are."""
    from matplotlib.patches import Rectangle

    for cell in cells:
        x, y = view.snrs.index(cell.snr_db), view.budgets.index(cell.budget_uses)
        look = view.looks[cell.winner]
        margin = "" if np.isnan(cell.margin) else f"+{100 * cell.margin:.1f}"
        if cell.verdict == "none":
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=NOBODY, edgecolor="white", linewidth=1.5))
            axes.text(x + 0.5, y + 0.5, "none", color="#6A6A6A", fontsize=8, **_CENTRE)
            continue
        if cell.verdict == "tie":
            face: Any = lighten(look.colour, 0.65)
            stripes = lighten(view.looks[cell.second].colour, 0.45)
            axes.add_patch(
                Rectangle((x, y), 1, 1, facecolor=face, edgecolor=stripes, hatch="////", linewidth=0)
            )
            axes.add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor="white", linewidth=1.5))
            first, second = names[cell.winner], names[cell.second]
            title = f"tie {first}·{second}" if len(first + second) < 4 else "tie"
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
            axes.text(x + 0.5, y + 0.5, f"{title}\n{margin}", color=INK, fontsize=8, bbox=box, **_CENTRE)
            continue
        face = look.colour
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=face, edgecolor="white", linewidth=1.5))
        name = names[cell.winner]
        size = 10 if len(name) == 1 else 7.5
        text = f"{name}\n{margin}" if margin else name
        axes.text(x + 0.5, y + 0.5, text, color=ink_on(face), fontsize=size, linespacing=1.1, **_CENTRE)
    axes.set_xlim(0, len(view.snrs))
    axes.set_ylim(0, len(view.budgets))
    axes.set_xticks(np.arange(len(view.snrs)) + 0.5, [signed(snr) for snr in view.snrs])
    axes.set_yticks(np.arange(len(view.budgets)) + 0.5, [f"{uses:,}" for uses in view.budgets])
    axes.tick_params(length=0, labelsize=8, labelcolor=INK)
    axes.spines[:].set_visible(False)


def _key(figure: Figure, view: View, names: dict[str, str]) -> None:
    """The colour key, with letters where the cells hold letters."""
    from matplotlib.patches import Patch

    handles = []
    for label, name in names.items():
        text = shorten(label, 40) if len(name) > 1 else f"{name}  {shorten(label, 40)}"
        handles.append(Patch(facecolor=view.looks[label].colour, label=text))
    tie = "tie: first and second not significantly apart"
    handles += [
        Patch(facecolor="#F2F2F2", edgecolor=FAINT, hatch="////", linewidth=0, label=tie),
        Patch(facecolor=NOBODY, label="none: nobody significantly above the blind guess"),
        Patch(facecolor="none", label="+x: percentage points over the second"),
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8,
        handlelength=1.3,
        columnspacing=1.2,
    )


def _name(label: str, room: int) -> str:
    """A label on at most two lines, for a cell of ``room`` letters."""
    if len(label) <= room or "-" not in label:
        return label
    cuts = [index for index, letter in enumerate(label) if letter == "-"]
    cut = min(cuts, key=lambda index: abs(index - len(label) / 2))
    return f"{label[: cut + 1]}\n{label[cut + 1 :]}"


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else str(index - 25)
