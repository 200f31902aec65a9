"""What a figure shows, said in sentences that are computed from its numbers and from nothing else."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

from semcom.report.curves import signed
from semcom.report.view import View, spread

if TYPE_CHECKING:
    import pandas as pd


def percent(row: pd.Series[Any]) -> str:
    """``81.0 % [77.1, 84.5]``"""
    return f"{100 * row['score']:.1f} % [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]"


def place(snr: float, budget: int) -> str:
    """``−5 dB and 512 channel uses``"""
    return f"{signed(snr)} dB and {budget:,} channel uses"


def lead(view: View, task: str, air: str, snr: float, budget: int) -> str:
    """Who leads at one point, by how much, and whether significantly; "" when nothing was run there."""
    found = [cell for cell in view.wins(task, air) if (cell.snr_db, cell.budget_uses) == (snr, budget)]
    if not found:
        return ""
    cell = found[0]
    at: dict[str, Any] = {"task": task, "air": air, "snr_db": snr, "budget_uses": budget}
    first = view.row(system=cell.winner, **at)
    assert first is not None  # a winner has a row
    where = f"At {place(snr, budget)}"
    if cell.verdict == "none":
        blind = view.reference("blind", task)
        assert blind is not None  # the verdict rests on it
        above = first["score"] > blind["score"]
        best = f": the best, {cell.winner}, has {percent(first)}" if above else ""
        return f"{where} nobody is significantly above the blind guess of {percent(blind)}{best}."
    if cell.margin == 0:
        rows = {label: view.row(system=label, **at) for label in view.systems(task, informed=False)}
        level = [label for label, row in rows.items() if row is not None and row["score"] == first["score"]]
        return f"{where} {', '.join(level)} share the lead with {percent(first)}."
    second = view.row(system=cell.second, **at)
    if second is None:
        return f"{where} {cell.winner} has {percent(first)}."
    gap = f"{100 * cell.margin:.1f} points over {cell.second} with {percent(second)}"
    doubt = "" if cell.verdict == "win" else "; the difference is not significant"
    return f"{where} {cell.winner} leads with {percent(first)}, {gap}{doubt}."


def ends(view: View, task: str, air: str) -> list[str]:
    """The leader at the scarcest point (lowest SNR, smallest budget) and at the richest one."""
    points = {(view.snrs[0], view.budgets[0]): None, (view.snrs[-1], view.budgets[-1]): None}
    return [text for snr, budget in points if (text := lead(view, task, air, snr, budget))]


def turnover(view: View, task: str, air: str) -> list[str]:
    """For each budget with a significant winner, who wins at which SNRs."""
    lines = []
    for budget in view.budgets:
        cells = [cell for cell in view.wins(task, air) if cell.budget_uses == budget]
        parts = []
        for winner, group in itertools.groupby(
            cells, lambda cell: cell.winner if cell.verdict == "win" else ""
        ):
            snrs = [signed(cell.snr_db) for cell in group]
            if winner:
                parts.append(
                    f"{winner} {f'from {snrs[0]} to {snrs[-1]}' if len(snrs) > 1 else f'at {snrs[0]}'} dB"
                )
        if parts:
            lines.append(f"Significant winners at {budget:,} channel uses: {', '.join(parts)}.")
    return lines


def frame_lines(view: View, task: str) -> list[str]:
    """Ceiling and blind; what is not applicable; which transmitter must know the question."""
    known = []
    for name, meaning in (
        ("ceiling", "the receiver's model on the original image"),
        ("blind", "the same model without any image"),
    ):
        row = view.reference(name, task)
        if row is not None:
            known.append(f"{name} ({meaning}) {percent(row)}")
    lines = [f"Horizontal lines: {'; '.join(known)}."] if known else []
    able = view.systems(task)
    missing = [label for label in view.kinds if label not in able]
    if missing:
        lines.append(f"Not applicable: {', '.join(missing)}.")
    informed = [label for label in able if label in view.informed]
    if informed:
        names = ", ".join(informed)
        lines.append(
            f"Dashed: {names} must know the question before it sends, so it does not compete for the lead."
        )
    return lines


def mcs_lines(view: View) -> list[str]:
    """How the envelope over modulation and coding was made, where there is one."""
    lines = []
    for air in view.airs:
        schemes = view.mcs(air)
        if len(schemes) > 1:
            lines.append(
                f"{air}: each point is the best of several modulation and coding schemes at equal channel "
                f"uses (chosen at least once: {', '.join(schemes)}); taking the best of noisy estimates "
                "lifts all curves slightly."
            )
    return lines


def snr_caption(view: View, task: str) -> list[str]:
    """Caption of the curves against SNR."""
    lines = ["Bands are 95 % intervals, clustered by image."]
    for air in view.airs:
        prefix = f"{air}: " if len(view.airs) > 1 else ""
        lines += [prefix + text for text in ends(view, task, air)]
    left = len(view.budgets) - len(spread(view.budgets, 4))
    if left:
        lines.append(f"{left} further budgets are in the tables.")
    return lines + frame_lines(view, task) + mcs_lines(view)


def uses_caption(view: View, task: str) -> list[str]:
    """Caption of the curves against channel uses."""
    lines = [
        "Systems stand where they really spend; a light bar marks the budget that they were allowed, a "
        "hollow marker a budget into which nothing fitted."
    ]
    frugal = []
    air, snr = view.airs[0], view.snrs[-1]
    for label in view.systems(task):
        row = view.row(task=task, air=air, system=label, snr_db=snr, budget_uses=view.budgets[-1])
        if row is not None and 0 < row["channel_uses"] < 0.5 * view.budgets[-1]:
            frugal.append(f"{label} {row['channel_uses']:.0f}")
    if frugal:
        lines.append(
            f"Of {view.budgets[-1]:,} channel uses, these spend less than half: {', '.join(frugal)}."
        )
    return lines


def map_caption(view: View) -> list[str]:
    """Caption of the winner map: how many cells each system wins."""
    lines = [
        "Each cell names the winner and its margin over the second in percentage points. Hatched: the two "
        "are not significantly apart (5 % level over all cells together, Holm)."
    ]
    for air in view.airs:
        for task in view.tasks:
            cells = view.wins(task, air)
            if not cells:
                continue
            won = Counter(cell.winner for cell in cells if cell.verdict == "win")
            parts = [f"{label} wins {count}" for label, count in won.most_common()]
            verdicts = Counter(cell.verdict for cell in cells)
            parts += [f"{verdicts['tie']} are ties"] if verdicts["tie"] else []
            parts += (
                [f"in {verdicts['none']} nobody is significantly above the blind guess"]
                if verdicts["none"]
                else []
            )
            where = f"{task} over {air}" if len(view.airs) > 1 else task
            lines.append(f"{where}: of {len(cells)} cells, {', '.join(parts)}.")
    informed = [label for label in view.kinds if label in view.informed]
    if informed:
        lines.append(f"Left out because it must know the question: {', '.join(informed)}.")
    return lines


def type_caption(view: View, task: str, air: str, snr: float, budget: int) -> list[str]:
    """Caption of the question-type map: where the first text system and the best picture system part."""
    lines = [f"{task} over {air} at {place(snr, budget)}, in percent."]
    at = {"task": task, "air": air, "snr_db": snr, "budget_uses": budget}
    scores: dict[str, dict[str, float]] = {}
    for kind in ("text", "image"):
        for label in (label for label in view.systems(task) if view.kinds[label] == kind):
            rows = view.points[(view.points["system"] == label) & view.points["applicable"]]
            for column, value in at.items():
                rows = rows[rows[column] == value]
            scores[label] = dict(zip(rows["question_type"], rows["score"].astype(float), strict=True))
    texts = [label for label in scores if view.kinds[label] == "text"]
    pictures = [label for label in scores if view.kinds[label] == "image" and "" in scores[label]]
    if not (texts and pictures):
        return lines
    text, picture = texts[0], max(pictures, key=lambda label: scores[label][""])
    gaps = {
        kind: scores[text][kind] - scores[picture][kind] for kind in scores[text] if kind in scores[picture]
    }
    gaps.pop("", None)
    for kind in dict.fromkeys(
        (max(gaps, key=gaps.__getitem__), min(gaps, key=gaps.__getitem__)) if gaps else ()
    ):
        gap = 100 * gaps[kind]
        words = f"{abs(gap):.0f} points {'ahead of' if gap > 0 else 'behind'}" if gap else "level with"
        lines.append(f"On “{kind}” {text} is {words} {picture}.")
    return lines


def outages(view: View) -> list[str]:
    """Systems that could not send anything at a budget."""
    lines = []
    for air in view.airs:
        for label in view.kinds:
            rows = view.select(air=air, system=label)
            spent = [rows.loc[rows["budget_uses"] == uses, "channel_uses"].max() for uses in view.budgets]
            none = [f"{uses:,}" for uses, most in zip(view.budgets, spent, strict=True) if most == 0]
            if none:
                where = f" over {air}" if len(view.airs) > 1 else ""
                what = f"fits no image into {' or '.join(none)} channel uses: blind guesses"
                lines.append(f"{label}{where} {what}.")
    return lines
