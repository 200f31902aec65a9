"""Accuracy against SNR and against channel uses, with 95 % intervals."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from semcom.report.style import BLIND, CEILING, INK, Look, plain, styled
from semcom.report.view import View, spread

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = (3.1, 2.9)  # inches
LABELS = 1.9  # inches kept for the labels at the right


@styled
def against_snr(view: View, task: str, budgets: list[int] | None = None) -> Figure:
    """Score against SNR: one panel for each budget (at most four), one row of panels for each channel."""
    budgets = budgets or spread(view.budgets, 4)
    figure, grid = _panels(len(view.airs), len(budgets))
    low = _floor(view, task)
    for row, air in zip(grid, view.airs, strict=True):
        ends: dict[str, float] = {}
        for axes, budget in zip(row, budgets, strict=True):
            silent = []
            for label in view.systems(task):
                points = view.select(task=task, air=air, system=label, budget_uses=budget)
                points = points[points["applicable"]]
                if points.empty:
                    continue
                if points["channel_uses"].max() > 0:
                    _band(axes, points["snr_db"], points, view.looks[label])
                    _line(axes, points["snr_db"], points["score"], view.looks[label], label)
                else:
                    silent.append(label)
                    _line(axes, points["snr_db"], points["score"], view.looks[label], label, alpha=0.35)
                if axes is row[-1]:
                    ends[label] = float(points["score"].iloc[-1])
            _say_silent(axes, silent)
            pad = 0.03 * max(1.0, view.snrs[-1] - view.snrs[0])
            axes.set_xlim(view.snrs[0] - pad, view.snrs[-1] + pad)
            axes.set_xticks(spread(view.snrs, 8))
            axes.set_title(f"{budget:,} channel uses{_ratio(view.cbr(budget))}")
            axes.set_xlabel("SNR $E_s/N_0$ (dB)")
            _frame(axes, view, task, low)
        _finish(row, view, task, air, ends)
    return figure


@styled
def against_uses(view: View, task: str, snrs: list[float] | None = None) -> Figure:
    """Score against the mean number of channel uses really spent: one panel for each SNR (at most three).

    A light bar marks the budget where less was spent; a hollow marker at the budget: nothing was sent.
    """
    snrs = snrs or spread(view.snrs, 3)
    ticks = _use_ticks(view)
    figure, grid = _panels(len(view.airs), len(snrs))
    low = _floor(view, task)
    for row, air in zip(grid, view.airs, strict=True):
        ends: dict[str, float] = {}
        for axes, snr in zip(row, snrs, strict=True):
            for label in view.systems(task):
                points = view.select(task=task, air=air, system=label, snr_db=snr)
                points = points[points["applicable"]]
                if points.empty:
                    continue
                look = view.looks[label]
                sent = points[points["channel_uses"] > 0]
                lost = points[points["channel_uses"] <= 0]
                _band(axes, sent["channel_uses"], sent, look)
                _line(axes, sent["channel_uses"], sent["score"], look, label)
                _bars(axes, sent["channel_uses"], sent["budget_uses"], sent["score"], look)
                axes.plot(
                    lost["budget_uses"],
                    lost["score"],
                    linestyle="none",
                    marker=look.marker,
                    markersize=5,
                    markerfacecolor="white",
                    markeredgecolor=look.colour,
                    alpha=0.6,
                )
                if axes is row[-1]:
                    ends[label] = float(points["score"].iloc[-1])
            axes.set_xscale("log", base=2)
            axes.set_xlim(*_use_limits(view))
            axes.set_xticks(ticks, [f"{uses:,g}" for uses in ticks])
            axes.minorticks_off()
            axes.set_title(f"SNR {signed(snr)} dB")
            axes.set_xlabel("mean channel uses per image (log scale)")
            _frame(axes, view, task, low)
        _finish(row, view, task, air, ends)
    return figure


def score_label(metric: str) -> str:
    """The axis label of a metric; every metric is a share from 0 to 1, shown in percent."""
    return f"{metric.replace('-', ' ').replace('_', ' ')} (%)"


def _panels(rows: int, columns: int) -> tuple[Figure, list[list[Axes]]]:
    from matplotlib.figure import Figure

    size = (PANEL[0] * columns + LABELS, PANEL[1] * rows + 0.3)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    return figure, [list(row) for row in grid]


def _band(axes: Axes, x: pd.Series[Any], points: pd.DataFrame, look: Look) -> None:
    low, high = points["ci_low"], points["ci_high"]
    axes.fill_between(x, low, high, color=look.colour, alpha=0.14, linewidth=0)


def _say_silent(axes: Axes, labels: list[str]) -> None:
    """Under the axis, the systems into whose budget no image fits: they stand on the blind line."""
    if labels:
        text = textwrap.fill(
            f"no image fits: {', '.join(shorten(label, 40) for label in labels)}", 56, break_on_hyphens=False
        )
        axes.annotate(
            text,
            (0.5, 0),
            (0, -34),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7.5,
            color="#5A5A5A",
        )


def _line(
    axes: Axes, x: pd.Series[Any], y: pd.Series[Any], look: Look, label: str, alpha: float = 1.0
) -> None:
    axes.plot(
        x,
        y,
        alpha=alpha,
        color=look.colour,
        linestyle=look.line,
        linewidth=1.6,
        marker=look.marker,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        label=label,
        zorder=3,
    )


def _bars(
    axes: Axes, uses: pd.Series[Any], budgets: pd.Series[Any], scores: pd.Series[Any], look: Look
) -> None:
    """From the channel uses spent, a faint line to a light bar at the budget."""
    for spent, budget, score in zip(uses, budgets, scores, strict=True):
        if spent < 0.97 * budget:
            axes.plot([spent, budget], [score, score], color=look.colour, alpha=0.35, linewidth=0.7)
            axes.plot([budget], [score], color=look.colour, alpha=0.45, marker="|", markersize=7)


def _frame(axes: Axes, view: View, task: str, low: float) -> None:
    """Ceiling and blind with their bands, the score axis, and the light frame."""
    from matplotlib.ticker import PercentFormatter

    for name, look in (("ceiling", CEILING), ("blind", BLIND)):
        reference = view.reference(name, task)
        if reference is None:
            continue
        axes.axhspan(reference["ci_low"], reference["ci_high"], color=INK, alpha=0.07, linewidth=0)
        axes.axhline(reference["score"], color=look.colour, linestyle=look.line, linewidth=1.1, label=name)
    plain(axes)
    axes.set_ylim(low, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))


def _finish(row: list[Axes], view: View, task: str, air: str, ends: dict[str, float]) -> None:
    """The y label, the channel's name where there are several, and the labels at the line ends."""
    row[0].set_ylabel(f"{task} {score_label(view.metric(task))}")
    if len(view.airs) > 1:
        row[0].annotate(
            air,
            (0, 1),
            (-34, 20),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=10,
            fontweight="bold",
        )
    entries = [(label, end, view.looks[label]) for label, end in ends.items()]
    for name, look in (("ceiling", CEILING), ("blind", BLIND)):
        reference = view.reference(name, task)
        if reference is not None:
            entries.append((name, float(reference["score"]), look))
    label_ends(row[-1], entries)


def label_ends(axes: Axes, entries: list[tuple[str, float, Look]]) -> None:
    """Write each name beside the end of its line, moved apart just enough to be read, with a leader."""
    if not entries:
        return
    from scipy.optimize import isotonic_regression

    entries = sorted(entries, key=lambda entry: entry[1])
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    ends = np.array([(end - low) / (high - low) for _, end, _ in entries])
    gap = min(12.5 / (72 * 0.78 * PANEL[1]), 1.0 / max(1, len(entries) - 1))
    steps = gap * np.arange(len(entries))
    places = isotonic_regression(ends - steps).x + steps  # the nearest places that keep the order and the gap
    places = np.minimum(places, 1.0 - (steps[-1] - steps))
    places = np.maximum(places, steps)
    for (name, _, look), end, place in zip(entries, ends, places, strict=True):
        axes.plot(
            [1.0, 1.05, 1.075],
            [end, place, place],
            transform=axes.transAxes,
            clip_on=False,
            color=look.colour,
            linewidth=0.8,
            alpha=0.7,
        )
        axes.plot(
            [1.075, 1.14],
            [place, place],
            transform=axes.transAxes,
            clip_on=False,
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markevery=[1],
            markersize=5,
            linewidth=1.4,
        )
        axes.text(1.175, place, shorten(name, 40), transform=axes.transAxes, va="center", fontsize=8)
    axes.set_xlim(left, right)


def shorten(text: str, width: int) -> str:
    """``text`` cut to ``width`` characters, with an ellipsis, and without matplotlib's mathematics."""
    text = text if len(text) <= width else text[: width - 1] + "…"
    return text.replace("$", r"\$")


def signed(value: float) -> str:
    """A number with a true minus sign."""
    return f"{value:g}".replace("-", "−")


def _floor(view: View, task: str) -> float:
    """The lower end of the score axis: the next tenth under everything drawn."""
    rows = view.select(task=task)
    lows = [float(rows.loc[rows["applicable"], "ci_low"].min())]
    blind = view.reference("blind", task)
    if blind is not None:
        lows.append(float(blind["ci_low"]))
    return max(-0.02, np.floor(10 * min(lows)) / 10 - 0.02)


def _use_limits(view: View) -> tuple[float, float]:
    spent = view.points.loc[view.points["channel_uses"] > 0, "channel_uses"]
    low = min([float(view.budgets[0]), *([float(spent.min())] if len(spent) else [])])
    return low / 1.25, view.budgets[-1] * 1.25


def _use_ticks(view: View) -> list[float]:
    """The budgets, and below the smallest one every quarter of it down to the fewest channel uses spent."""
    ticks = [float(uses) for uses in spread(view.budgets, 5)]
    while ticks[0] / 4 >= max(1.0, _use_limits(view)[0]):
        ticks.insert(0, ticks[0] / 4)
    return ticks


def _ratio(cbr: float) -> str:
    return f" (CBR {cbr:.2g})" if np.isfinite(cbr) else ""
