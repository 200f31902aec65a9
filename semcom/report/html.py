"""One self-contained HTML page: summary, figures, tables, conventions, scenario."""

from __future__ import annotations

import base64
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from semcom.report import sentences
from semcom.report.costs import HEAD, cost_lines, cost_rows
from semcom.report.curves import signed
from semcom.report.table import score_table
from semcom.report.view import View, spread
from semcom.sweep.cost import Costs

CONVENTIONS = (
    (
        "channel use",
        "One complex symbol. Everything sent is charged: payload, parity, CRC, filler, headers, pilots, "
        "retransmissions.",
    ),
    ("SNR", "Es/N0 per receive antenna in dB, averaged over the fading; not Eb/N0."),
    ("budget", "The channel uses that one image may cost. A system that cannot meet it is an outage."),
    ("CBR", "Channel bandwidth ratio: channel uses / (3 H W) of the original image."),
    ("bpp", "Payload bits / (H W) of the original image."),
    (
        "grant",
        "The receiver is scheduled: it knows the channel uses and the modulation and coding scheme of each "
        "packet, from which the payload's length follows. No length field is sent.",
    ),
    ("outage", "Nothing usable was received. It is shown and scored as the blind guess, never left out."),
    ("ceiling, blind", "The receiver's model on the original image, and without any image."),
    (
        "interval",
        "95 %, with the image as the unit of sampling: Wilson at the effective sample size for right/wrong "
        "scores, a BCa bootstrap over images otherwise. Systems are compared in pairs on the same images and fades; "
        "p-values are corrected for the number of cells (Holm).",
    ),
    (
        "capacity bound",
        "Where a channel is named so: the same bits under an ideal code, which no real code beats.",
    ),
    (
        "realisations",
        "All systems meet the same fading and noise, drawn from the seed, the image, the SNR and the draw.",
    ),
)
PACKAGES = ("torch", "sionna", "transformers", "numpy", "matplotlib")


@dataclass(frozen=True)
class Shown:
    """A figure in the report."""

    name: str
    title: str
    lines: Sequence[str]
    png: bytes
    width: int = 900  # CSS pixels

    @property
    def base64(self) -> str:
        """The picture as it stands in a data URI."""
        return base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class About:
    """What the page says of the run beside its numbers."""

    title: str
    scenario: str
    data: str
    seed: int
    version: str
    done: int
    planned: int
    failures: Sequence[Mapping[Hashable, Any]] = ()  # as Results.failures()


def page(
    view: View,
    about: About,
    figures: Sequence[Shown],
    notes: Sequence[str] = (),
    measured: Costs | None = None,
) -> str:
    """The report as HTML. Everything that comes from data is escaped. ``measured``: what ``semcom cost`` found."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    env = Environment(
        loader=PackageLoader("semcom", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    css = (resources.files("semcom") / "report" / "report.css").read_text("utf-8")
    tables = [
        score_table(view, task, air, budget)
        for task in view.tasks
        for air in view.airs
        for budget in view.budgets
    ]
    return env.get_template("report.html.j2").render(
        **vars(about),
        css=Markup(css),
        commit=commit(),
        images=f"{int(view.points['samples'].max()):,}",
        summary=summary(view),
        figures=figures,
        notes=notes,
        tables=tables,
        costs=costs(view),
        measured=None
        if measured is None
        else {"head": HEAD, "rows": cost_rows(measured), "lines": cost_lines(measured)},
        outages=sentences.outages(view),
        conventions=CONVENTIONS,
        software="Report drawn with "
        + ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
        + ".",
    )


def summary(view: View) -> list[dict[str, Any]]:
    """The leaders of each task at the scarcest and the richest point, and who wins significantly."""
    blocks = []
    for air in view.airs:
        for task in view.tasks:
            title = f"{task} over {air}" if len(view.airs) > 1 else task
            if lines := sentences.ends(view, task, air) + sentences.turnover(view, task, air):
                blocks.append({"title": title, "lines": lines})
    return blocks


def costs(view: View) -> dict[str, Any]:
    """Payload, channel uses, CBR, bpp and outages of every system and budget."""
    task, snrs = view.tasks[0], spread(view.snrs, 3)
    several = len(view.airs) > 1
    rows = []
    for label in view.kinds:
        for air in view.airs:
            for budget in view.budgets:
                found = view.select(task=task, air=air, system=label, budget_uses=budget)
                if found.empty:
                    continue
                best = found.iloc[-1]
                lost = found.set_index("snr_db")["outage"]
                rows.append(
                    [
                        label,
                        *([air] if several else []),
                        f"{budget:,}",
                        *(_number(best[name], form) for name, form in _COSTS),
                        *(_number(100 * lost.get(snr, math.nan), ".0f") + " %" for snr in snrs),
                    ]
                )
    return {"task": task, "several": several, "snrs": [signed(snr) for snr in snrs], "rows": rows}


_COSTS = (("payload_bits", ",.0f"), ("channel_uses", ",.0f"), ("cbr", ".4f"), ("bpp", ".3f"))


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


def commit() -> str:
    """The commit of the running source tree, with ``+`` when it was changed; "" when installed."""
    import subprocess

    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
