"""The numbers behind the figures, against brute force on random frames."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.errors import InputError
from semcom.report.view import View, spread
from tests.report.frames import BUDGETS, INFORMED, KINDS, SNRS, pick, random_frame

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=8, deadline=None)


@few
@given(seeds)
def test_the_winner_is_the_argmax(seed: int) -> None:
    frame = random_frame(seed)
    view = View.of(frame, KINDS, INFORMED)
    for task in ("vqa", "captioning"):
        wins = view.wins(task, "rayleigh")
        assert [(win.budget_uses, win.snr_db) for win in wins] == [(b, s) for b in BUDGETS for s in SNRS]
        blind = pick(frame, task=task, system="blind").iloc[0]
        for win in wins:
            best: list[tuple[float, str, float, float]] = []
            for row in pick(frame, task=task, snr_db=win.snr_db, budget_uses=win.budget_uses).itertuples():
                if row.system not in INFORMED and not math.isnan(row.score):
                    best.append((row.score, row.system, row.ci_low, row.ci_high))
            best.sort(reverse=True)
            assert (win.winner, win.second) == (best[0][1], best[1][1])
            assert win.margin == pytest.approx(best[0][0] - best[1][0])
            expected = "win" if best[0][2] > best[1][3] else "tie"
            assert win.verdict == ("none" if best[0][2] <= blind.ci_high else expected)


@few
@given(seeds)
def test_the_paired_test_decides_corrected_for_its_number(seed: int) -> None:
    frame = random_frame(seed)
    asked: list[tuple[str, str]] = []

    def judge(p: float) -> list[str]:
        asked.clear()

        def p_value(first: pd.Series[Any], second: pd.Series[Any]) -> float:
            asked.append((first["system"], second["system"]))
            return p

        wins = View.of(frame, KINDS, INFORMED, p_value).wins("vqa", "rayleigh")
        assert {(win.winner, win.second) for win in wins} | {(win.winner, "blind") for win in wins} == set(
            asked
        )
        return [win.verdict for win in wins]

    assert "none" in judge(
        0.051 / 2
    )  # two comparisons for each cell, all with this p: Holm multiplies by their number
    number = len(asked)
    assert set(judge(0.0499 / number)) <= {"win", "none"}  # none: where the blind guess has the higher score
    assert judge(0.0499 / number).count("win") >= judge(0.0501 / number).count("win") == 0


@few
@given(seeds)
def test_the_envelope_takes_the_best_scheme_of_each_point(seed: int) -> None:
    schemes = (("qpsk", 0.2), ("qpsk", 0.5), ("qam16", 0.5))
    frame = random_frame(seed, ("awgn", "rayleigh"), schemes)
    view = View.of(frame, KINDS, INFORMED)
    assert view.airs == ["awgn", "rayleigh"]
    for label in view.systems("vqa"):
        for snr in SNRS:
            where = {"task": "vqa", "system": label, "snr_db": snr, "budget_uses": BUDGETS[0]}
            rows = pick(frame, channel="rayleigh", **where)
            best = rows.loc[rows["score"].idxmax()]
            row = view.row(air="rayleigh", **where)
            assert row is not None
            for column in ("score", "ci_low", "ci_high", "modulation", "code_rate", "link", "outage"):
                assert row[column] == best[column]
            kind = view.row("texture", air="rayleigh", **where)
            source = pick(frame, channel="rayleigh", question_type="texture", link=best["link"], **where)
            assert kind is not None and kind["score"] == source["score"].iloc[0]
    assert set(view.mcs("awgn")) <= {"qpsk rate 0.2", "qpsk rate 0.5", "qam16 rate 0.5"}


@few
@given(seeds)
def test_draws_are_pooled(seed: int) -> None:
    frame = random_frame(seed, draws=3)
    row = View.of(frame).row(task="vqa", air="rayleigh", system="jpeg", snr_db=5.0, budget_uses=512)
    draws = pick(frame, task="vqa", system="jpeg", snr_db=5.0, budget_uses=512)
    assert row is not None and len(draws) == 3
    for column in ("score", "ci_low", "ci_high", "channel_uses", "outage"):
        assert row[column] == pytest.approx(draws[column].mean())


def test_an_ideal_code_is_a_row_of_its_own() -> None:
    frame = random_frame(1)
    ideal = frame[frame["channel"] != ""].assign(coding="ideal", link="ideal", score=0.999)
    view = View.of(pd.concat([frame, ideal]), KINDS)
    assert view.airs == ["rayleigh", "rayleigh, capacity bound"]
    row = view.row(task="vqa", air="rayleigh", system="jpeg", snr_db=5.0, budget_uses=512)
    assert row is not None and row["score"] < 0.999


def test_what_a_view_says_of_a_run() -> None:
    view = View.of(random_frame(2), KINDS, INFORMED)
    assert view.tasks == ["vqa", "captioning"]
    assert (view.snrs, view.budgets) == (list(SNRS), list(BUDGETS))
    assert "embedding" in view.systems("vqa") and "embedding" not in view.systems("captioning")
    assert "decide-at-transmitter" not in view.systems("vqa", informed=False)
    assert view.cbr(512) == pytest.approx(512 / (3 * 64 * 64))
    assert view.row(task="captioning", system="embedding", snr_db=5.0, budget_uses=128) is None
    assert view.reference("ceiling", "vqa", "texture") is not None
    assert view.reference("ceiling", "retrieval") is None


@few
@given(seeds)
def test_a_part_of_a_run_is_a_view_too(seed: int) -> None:
    """Whatever points of a run are there, the view holds them and nothing else."""
    frame = random_frame(seed)
    part = frame.sample(frac=0.4, random_state=seed)
    view = View.of(part, KINDS, INFORMED)
    there = part[part["snr_db"].notna() & (part["question_type"] == "") & part["applicable"]]
    for task in view.tasks:
        for win in view.wins(task, "rayleigh"):
            cell = there[(there["task"] == task) & (there["snr_db"] == win.snr_db)]
            cell = cell[(cell["budget_uses"] == win.budget_uses) & ~cell["system"].isin(INFORMED)]
            assert win.winner == cell.loc[cell["score"].idxmax(), "system"]


def test_a_frame_without_points_is_refused() -> None:
    frame = random_frame(3)
    with pytest.raises(InputError, match="no finished operating point"):
        View.of(frame[frame["snr_db"].isna()])
    with pytest.raises(InputError, match="no column ci_low, score"):
        View.of(frame.drop(columns=["score", "ci_low"]))


@given(st.lists(st.integers(), min_size=1, max_size=30, unique=True), st.integers(2, 8))
def test_spread_keeps_the_ends(values: list[int], count: int) -> None:
    chosen = spread(values, count)
    assert len(chosen) == min(count, len(values)) == len(set(chosen))
    assert (chosen[0], chosen[-1]) == (values[0], values[-1])
    assert chosen == [value for value in values if value in chosen]
