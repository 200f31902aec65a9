"""Cost at both ends, and which points no other beats in accuracy, channel uses and energy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from semcom.report.curves import score_label
from semcom.report.style import INK, plain, styled
from semcom.report.view import View
from semcom.sweep.cost import DEVICES, Costs, pareto

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HEAD = (
    "system",
    "budget",
    "end",
    "GFLOP",
    "parameters (M)",
    "median (ms)",
    "p95 (ms)",
    "memory (MiB)",
    "energy (mJ)",
)


def cost_rows(costs: Costs) -> list[list[str]]:
    """The table: two rows for each system and budget, in the order of :data:`HEAD`. Energy is that of computing."""
    rows = []
    for cost in costs.systems:
        for name, end, device in (
            ("transmitter", cost.transmitter, costs.transmitter),
            ("receiver", cost.receiver, costs.receiver),
        ):
            memory = "–" if math.isnan(end.peak_mib) else f"{end.peak_mib:.0f}"
            counts = f"{end.flops / 1e9:.3f}", f"{end.parameters / 1e6:.2f}"
            times = f"{end.median_ms:.1f}", f"{end.p95_ms:.1f}"
            joules = 1000 * end.flops * DEVICES[device].joules
            rows.append(
                [cost.system, f"{cost.budget_uses:,}", name, *counts, *times, memory, f"{joules:.3f}"]
            )
    return rows


def cost_lines(costs: Costs) -> list[str]:
    """How the numbers came about."""
    radio = costs.radio
    return [
        f"Measured on {costs.images} images, one at a time, on {costs.machine}; the receiver answers the questions "
        "of one task.",
        "FLOPs are torch's count (codecs outside torch count 0).",
        f"Energy of computing: transmitter {costs.transmitter} ({DEVICES[costs.transmitter].source}), receiver "
        f"{costs.receiver} ({DEVICES[costs.receiver].source}); at peak rate, a lower bound.",
        f"Energy of sending: path loss {radio.path_loss_db:.1f} dB, noise figure {radio.noise_figure_db:g} dB, "
        f"amplifier efficiency {radio.amplifier_efficiency:g}; {radio.bandwidth_mhz:g} MHz.",
    ]


def front(view: View, costs: Costs, task: str, air: str) -> pd.DataFrame:
    """All points of a task with their energy, and whether one is on the Pareto front (column ``front``)."""
    points = view.select(task=task, air=air)
    points = points[points["applicable"] & points["system"].isin(view.systems(task, informed=False))]
    points = costs.energies(points)
    return points.assign(front=pareto(points, "score", ("channel_uses", "energy_j")) if len(points) else [])


@styled
def pareto_figure(view: View, costs: Costs, task: str, air: str) -> Figure:
    """Score against energy of one image; the larger the mark, the more channel uses; ringed: on the front."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    points = front(view, costs, task, air)
    figure = Figure(figsize=(6.4, 4.2), dpi=120, layout="constrained")
    axes: Any = figure.subplots()
    most = max(1.0, float(points["channel_uses"].max()))
    for label, part in points.groupby("system", sort=False):
        look = view.looks[str(label)]
        size = 12 + 120 * (part["channel_uses"] / most) ** 0.5
        axes.scatter(
            1000 * part["energy_j"],
            part["score"],
            s=size,
            c=look.colour,
            marker=look.marker,
            alpha=0.75,
            label=label,
        )
    best = points[points["front"]]
    axes.scatter(
        1000 * best["energy_j"], best["score"], s=190, facecolors="none", edgecolors=INK, linewidths=1.0
    )
    axes.set_xscale("log")
    axes.set_xlabel("energy of one image, computing and sending (mJ)")
    axes.set_ylabel(score_label(view.metric(task)))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    axes.set_title(f"{task}, {air}", loc="left")
    axes.legend(fontsize=8, frameon=False)
    plain(axes)
    return figure


def pareto_lines(view: View, costs: Costs, task: str, air: str) -> list[str]:
    """What to see in the figure."""
    points = front(view, costs, task, air)
    best = points[points["front"]]
    names = ", ".join(dict.fromkeys(best["system"]))
    return [
        f"All SNRs and budgets of {task} over {air}; larger marks spend more channel uses.",
        f"Ringed: {len(best)} of {len(points)} points that no other beats in score, channel uses and energy together "
        f"({names}). Scores are estimates: neighbours of the front may belong to it.",
    ]
