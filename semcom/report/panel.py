"""The panel "what the receiver got": one real sample, every system, at a low, a middle and a high SNR."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from semcom.report.curves import shorten, signed
from semcom.report.style import FAINT, INK, LOST, RIGHT, WRONG, Look, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from semcom.report.samples import Example, Outcome

ACROSS = 7  # systems side by side; more go below
TILE = (1.42, 1.64)  # inches
PAPER = "#F3F3F3"


@styled
def panel(example: Example, looks: Mapping[str, Look]) -> Figure:
    """The original at the left; for each system (column) and SNR (row) what was recovered, and the answer.

    Right answers are green with a check mark, wrong ones red with a cross, guesses without reception grey.
    """
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(outcome.system for outcome in example.outcomes))
    snrs = list(dict.fromkeys(outcome.snr_db for outcome in example.outcomes))
    bands = -(-len(labels) // ACROSS)
    across = -(-len(labels) // bands)
    figure = Figure(
        figsize=(TILE[0] * across + 2.0, (TILE[1] * len(snrs) + 0.35) * bands), dpi=120, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)  # type: ignore[union-attr, call-arg]
    left, right = cast(Any, figure.subfigures(1, 2, width_ratios=[1.75, TILE[0] * across + 0.25]))
    _original(left, example)
    grid = right.subplots(len(snrs) * bands, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for outcome in example.outcomes:
        band, column = divmod(labels.index(outcome.system), across)
        row = snrs.index(outcome.snr_db)
        axes = grid[band * len(snrs) + row, column]
        axes.set_axis_on()
        _tile(axes, outcome)
        if row == 0:
            title = "\n".join(_wrap(outcome.system, 21, 3))
            axes.set_title(title, fontsize=8, fontweight="bold")
            if outcome.system in looks:  # a system without a finished point has no colour yet
                axes.spines["top"].set(color=looks[outcome.system].colour, linewidth=3)
        if column == 0:
            axes.set_ylabel(f"{signed(outcome.snr_db)} dB", fontsize=9, fontweight="bold", labelpad=4)
    return figure


def _original(figure: SubFigure, example: Example) -> None:
    """The image, the question, its true answer, and the answers from everything and from nothing."""
    height = figure.bbox.height / figure.dpi
    side = 1.6  # inches
    axes = figure.add_axes((0.04, 1 - (side + 0.3) / height, 0.92, side / height))
    axes.imshow(example.image, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(FAINT)
    axes.set_title("original image", fontsize=8.5, fontweight="bold")
    y = 1 - (side + 0.42) / height
    query = example.query
    lines = [(text, INK, "bold") for text in _wrap(query.text or query.task, 26, 4)]
    lines += [(text, INK, "normal") for text in _wrap(f"true answer: {', '.join(query.truth[:1])}", 26, 3)]
    for name, known in (("from the original", example.ceiling), ("blind guess", example.blind)):
        if known is not None:
            mark, colour = _verdict(known[1])
            lines += [(text, colour, "normal") for text in _wrap(f"{name}: {known[0]} {mark}", 26, 2)]
    for text, colour, weight in lines:
        figure.text(0.04, y, text, color=colour, fontsize=8, fontweight=weight, va="top")
        y -= 0.165 / height


def _tile(axes: Axes, outcome: Outcome) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor(PAPER)
    axes.spines[:].set_color("#C4C4C4")
    axes.set_box_aspect(1)
    note = _draw(axes, outcome)
    if outcome.answer is None:
        answer, colour = "not applicable", FAINT
    elif outcome.recovered.kind == "nothing":
        answer, colour = f"guess: {shorten(outcome.answer, 14)}", LOST
    else:
        mark, colour = _verdict(outcome.score)
        answer = f"{shorten(outcome.answer, 18)} {mark}"
    axes.set_xlabel(answer, fontsize=8, fontweight="bold", color=colour, labelpad=2)
    axes.text(
        0.98,
        0.03,
        note,
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        fontsize=6,
        color=INK,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
    )


def _draw(axes: Axes, outcome: Outcome) -> str:
    """Draw the recovered thing; the note says how much it is."""
    thing, uses = outcome.recovered, f"{outcome.channel_uses:,} uses"
    if thing.image is not None:
        axes.imshow(thing.image, interpolation="nearest")
        return uses
    if thing.tokens is not None:
        tokens = np.nan_to_num(thing.tokens)
        limit = float(np.quantile(np.abs(tokens), 0.98)) or 1.0
        axes.imshow(tokens, cmap="PRGn", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        count = f"{len(tokens)} token{'s' if len(tokens) != 1 else ''} × {tokens.shape[1]}"
        return f"{count}, {uses}"
    if thing.embedding is not None:
        values = np.nan_to_num(thing.embedding)
        axes.bar(np.arange(len(values)), values, width=1.0, color="#A3527F")
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.margins(y=0.25)
        return f"{len(values)} values, {uses}"
    if thing.text is not None or thing.answer is not None:
        words = thing.text if thing.text is not None else f"answer: {thing.answer}"
        lines = _wrap(words or "(empty)", 22, 7)
        axes.text(
            0.05, 0.95, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=7, linespacing=1.2
        )
        return uses
    axes.text(
        0.5,
        0.55,
        "nothing\nreceived",
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=LOST,
        fontsize=8,
    )
    return uses if outcome.channel_uses else "nothing sent"


def _verdict(score: float) -> tuple[str, str]:
    return ("✓", RIGHT) if score >= 0.5 else ("✗", WRONG)


def _wrap(text: str, width: int, most: int) -> list[str]:
    """At most ``most`` lines, without matplotlib's mathematics."""
    lines = textwrap.wrap(shorten(text, width * most), width)
    return lines[:most] or [""]
