"""Tables: every number from the frame, in every width."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from semcom.report.table import OUTAGE, score_table, terminal_text
from semcom.report.view import View
from tests.report.frames import BUDGETS, INFORMED, KINDS, SNRS, pick, random_frame

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=6, deadline=None)


@few
@given(seeds)
def test_cells_are_the_frame(seed: int) -> None:
    frame = random_frame(seed)
    view = View.of(frame, KINDS, INFORMED)
    for task in view.tasks:
        table = score_table(view, task, "rayleigh", 512)
        assert [label for label, _ in table.rows] == list(KINDS)
        assert table.columns == ("−5 dB", "5 dB", "15 dB")
        for column, snr in enumerate(SNRS):
            rows = pick(frame, task=task, snr_db=snr, budget_uses=512).set_index("system")
            rivals = rows.drop(index=list(INFORMED))["score"]
            for label, cells in table.rows:
                row, cell = rows.loc[label], cells[column]
                if not row["applicable"]:
                    assert (cell.score, cell.limits, cell.best) == ("n/a", "", False)
                    continue
                assert cell.score == f"{row['score']:.2f}"
                assert cell.limits == f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
                assert cell.lost == row["outage"] and cell.outage == (row["outage"] > 0.5)
                assert cell.best == (label == rivals.idxmax())


@given(seeds, st.integers(60, 200))
@few
def test_the_terminal_table_fits_its_width(seed: int, width: int) -> None:
    frame = random_frame(seed)
    text = terminal_text(View.of(frame, KINDS, INFORMED), 128, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    row = pick(frame, task="vqa", system="jpeg", snr_db=-5.0, budget_uses=128).iloc[0]
    mark = f" {OUTAGE}" if row["outage"] > 0.5 else ""
    limits = f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
    one, two = f"{row['score']:.2f} {limits}{mark}", f"{row['score']:.2f}{mark}"
    assert one in text or (width < 110 and two in text and limits in text)
    assert text.count("vqa (metric-vqa), rayleigh, 128 channel uses") == 1
    assert re.search(r"embedding +n/a", text)
    blind = pick(frame, task="vqa", system="blind").iloc[0]
    assert f"blind {blind['score']:.2f} [" in text


def test_the_middle_budget_is_the_default() -> None:
    view = View.of(random_frame(4), KINDS, INFORMED)
    assert f"{BUDGETS[len(BUDGETS) // 2]} channel uses" in terminal_text(view)


def test_markup_in_a_label_is_text() -> None:
    frame = random_frame(5).replace({"system": {"jpeg": "[bold]x[/nope]"}})
    assert "[bold]x[/nope]" in terminal_text(View.of(frame))
