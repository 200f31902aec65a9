"""The artists of the figures hold the numbers of the frame."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from semcom.report import curves, maps
from semcom.report.style import INK, ink_on, lighten, looks
from semcom.report.view import View
from tests.report.frames import BUDGETS, INFORMED, KINDS, SNRS, pick, random_frame

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=4, deadline=None)


def line(axes: Axes, label: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """x and y of the line of a system."""
    found = [one for one in axes.lines if one.get_label() == label]
    assert len(found) == 1
    return np.asarray(found[0].get_xdata()), np.asarray(found[0].get_ydata())


def bands(axes: Axes) -> list[np.ndarray[Any, Any]]:
    """The corners of every interval band."""
    found = [c for c in axes.collections if isinstance(c, FillBetweenPolyCollection)]
    return [np.asarray(c.get_paths()[0].vertices) for c in found]


def words(axes: Axes) -> list[str]:
    """The texts inside the axes."""
    return [text.get_text() for text in axes.texts]


@few
@given(seeds)
def test_curves_and_bands_are_the_frame(seed: int) -> None:
    frame = random_frame(seed)
    view = View.of(frame, KINDS, INFORMED)
    for task in ("vqa", "captioning"):
        figure = curves.against_snr(view, task)
        assert len(figure.axes) == len(BUDGETS)
        for axes, budget in zip(figure.axes, BUDGETS, strict=True):
            assert f"{budget} channel uses" in axes.get_title() and "CBR" in axes.get_title()
            drawn = bands(axes)
            silent = []
            for label in view.systems(task):
                rows = pick(frame, task=task, system=label, budget_uses=budget).sort_values("snr_db")
                x, y = line(axes, label)
                assert x.tolist() == list(SNRS) and y.tolist() == rows["score"].tolist()
                if rows["channel_uses"].max() == 0:
                    silent.append(label)
                    continue
                corners = {(a, b) for a, b in drawn.pop(0).tolist()}
                for column in ("ci_low", "ci_high"):
                    assert set(zip(SNRS, rows[column], strict=True)) <= corners
            assert not drawn
            notes = [word.replace("\n", " ") for word in words(axes) if word.startswith("no image fits")]
            assert notes == ([f"no image fits: {', '.join(silent)}"] if silent else [])
            for name in ("ceiling", "blind"):
                row = pick(frame, task=task, system=name).iloc[0]
                assert line(axes, name)[1].tolist() == [row["score"]] * 2
                spans = [patch for patch in axes.patches if patch.get_y() == row["ci_low"]]  # type: ignore[attr-defined]
                assert spans and spans[0].get_height() == pytest.approx(row["ci_high"] - row["ci_low"])  # type: ignore[attr-defined]


@few
@given(seeds)
def test_channel_uses_are_those_spent(seed: int) -> None:
    frame = random_frame(seed)
    view = View.of(frame, KINDS, INFORMED)
    figure = curves.against_uses(view, "vqa")
    for axes, snr in zip(figure.axes, SNRS, strict=True):
        assert axes.get_xscale() == "log"
        for label in view.systems("vqa"):
            rows = pick(frame, task="vqa", system=label, snr_db=snr).sort_values("budget_uses")
            sent = rows[rows["channel_uses"] > 0]
            x, y = line(axes, label)
            assert x.tolist() == sent["channel_uses"].tolist() and y.tolist() == sent["score"].tolist()


def test_axes_say_what_they_show_and_in_which_unit() -> None:
    view = View.of(random_frame(5, ("awgn", "rayleigh")), KINDS, INFORMED)
    for figure in (curves.against_snr(view, "vqa"), curves.against_uses(view, "vqa"), maps.winner_map(view)):
        assert any(axes.get_ylabel() for axes in figure.axes)
    snr = curves.against_snr(view, "vqa")
    assert all("(dB)" in axes.get_xlabel() for axes in snr.axes)
    assert [axes.get_ylabel() for axes in snr.axes[:: len(BUDGETS)]] == ["vqa metric vqa (%)"] * 2
    assert {"awgn", "rayleigh"} <= {word for axes in snr.axes for word in words(axes)}
    assert all("channel uses" in axes.get_xlabel() for axes in curves.against_uses(view, "vqa").axes)
    panels = maps.winner_map(view).axes
    assert panels[0].get_ylabel() == "budget (channel uses)" and "(dB)" in panels[-1].get_xlabel()
    types = maps.type_map(view, "vqa", "awgn", 5.0, 128)
    assert types is not None
    assert types.axes[0].get_xlabel() == "question type" and types.axes[1].get_ylabel().endswith("(%)")


def test_every_line_is_labelled_at_its_end() -> None:
    view = View.of(random_frame(6), KINDS, INFORMED)
    last = curves.against_snr(view, "vqa").axes[-1]
    labels = [text for text in last.texts if not text.get_text().startswith("no image")]
    assert {text.get_text() for text in labels} == {*KINDS, "ceiling", "blind"}
    heights = sorted(text.get_position()[1] for text in labels)
    assert min(np.diff(heights)) > 0.04  # 12 points of text on 160 points of axis, at the least
    assert heights[0] >= 0 and heights[-1] <= 1


@few
@given(seeds)
def test_the_map_shows_the_wins(seed: int) -> None:
    view = View.of(random_frame(seed), KINDS, INFORMED)
    figure = maps.winner_map(view)
    for axes, task in zip(figure.axes, view.tasks, strict=True):
        shown = [word for word in words(axes) if word]
        wins = view.wins(task, "rayleigh")
        assert len(shown) == len(wins)
        for text, win in zip(shown, wins, strict=True):
            margin = f"+{100 * win.margin:.1f}"
            if win.verdict == "none":
                assert text == "none"
            elif win.verdict == "tie":
                assert text == f"tie\n{margin}"
            else:
                assert text.replace("-\n", "-") == f"{win.winner}\n{margin}"
        hatched = [patch for patch in axes.patches if patch.get_hatch()]
        assert len(hatched) == sum(win.verdict == "tie" for win in wins)


def test_long_names_become_letters_with_a_key() -> None:
    label = "visual-tokens with a very long description"
    frame = random_frame(7).replace({"system": {"jpeg": label}})
    frame.loc[frame["system"] == label, ["score", "ci_low", "ci_high"]] = [0.99, 0.985, 1.0]
    frame.loc[(frame["system"] != label) & frame["snr_db"].notna(), ["score", "ci_low", "ci_high"]] = [
        0.5,
        0.4,
        0.6,
    ]
    view = View.of(frame, informed=INFORMED)
    figure = maps.winner_map(view)
    assert all(text.startswith("A\n") for axes in figure.axes for text in words(axes))
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert key[0].startswith("A  visual-tokens with")


@few
@given(seeds)
def test_the_type_map_is_the_frame(seed: int) -> None:
    frame = random_frame(seed)
    view = View.of(frame, KINDS, INFORMED)
    figure = maps.type_map(view, "vqa", "rayleigh", 15.0, 512)
    assert figure is not None
    axes = figure.axes[0]
    rows = [tick.get_text() for tick in axes.get_yticklabels()]
    columns = [tick.get_text() for tick in axes.get_xticklabels()]
    assert (rows[0], rows[-1]) == ("ceiling", "blind")
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    for y, label in enumerate(rows):
        for x, kind in enumerate(columns):
            where = {"task": "vqa", "system": label, "question_type": kind}
            where |= {} if label in ("ceiling", "blind") else {"snr_db": 15.0, "budget_uses": 512}
            score = pick(frame, **where)["score"].iloc[0]
            assert texts[x + 0.5, y + 0.5] == f"{100 * score:.0f}"
    caption = [
        pick(frame, task="vqa", system="caption-text", snr_db=15.0, budget_uses=512, question_type=kind)
        for kind in columns
    ]
    scores = [float(rows["score"].iloc[0]) for rows in caption]
    assert scores == sorted(scores, reverse=True)
    assert maps.type_map(view, "captioning", "rayleigh", 15.0, 512) is None


def test_a_system_looks_the_same_everywhere_and_like_no_other() -> None:
    view = View.of(random_frame(8), KINDS, INFORMED)
    found: dict[str, set[tuple[str, Any]]] = {label: set() for label in KINDS}
    for task in view.tasks:
        for figure in (curves.against_snr(view, task), curves.against_uses(view, task)):
            for axes in figure.axes:
                for one in axes.lines:
                    if one.get_label() in found:
                        found[str(one.get_label())].add((to_hex(one.get_color()), one.get_marker()))
    assert all(len(seen) == 1 for seen in found.values())
    assert len(set.union(*found.values())) == len(KINDS)
    many = looks({f"system {index}": "image" for index in range(12)})
    assert len({(look.colour, look.marker) for look in many.values()}) == 12


@pytest.mark.parametrize("colour", ["#000000", "#0072B2", "#D55E00", "#F0A04B", "#FFFFFF", "#808080"])
def test_ink_contrasts_with_its_ground(colour: str) -> None:
    """The chosen ink has at least the contrast of the other one (WCAG 2), up to the ink not being quite black."""

    def luminance(value: str) -> float:
        parts = matplotlib.colors.to_rgb(value)
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    def contrast(one: str) -> float:
        low, high = sorted((luminance(one), luminance(colour)))
        return (high + 0.05) / (low + 0.05)

    other = INK if ink_on(colour) == "white" else "white"
    assert contrast(ink_on(colour)) >= 0.75 * contrast(other)
    assert contrast(ink_on(colour)) >= 3.5
    assert lighten(colour, 1.0) == (1.0, 1.0, 1.0)


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    view = View.of(random_frame(9), KINDS, INFORMED)
    figures: list[Figure] = [curves.against_snr(view, "vqa"), maps.winner_map(view)]
    assert dict(matplotlib.rcParams) == before
    assert all(figure.number is None if hasattr(figure, "number") else True for figure in figures)


def test_one_point_is_enough() -> None:
    frame = random_frame(10, labels=("jpeg",))
    frame = frame[frame["snr_db"].isna() | ((frame["snr_db"] == 5.0) & (frame["budget_uses"] == 128))]
    view = View.of(frame, KINDS)
    for figure in (curves.against_snr(view, "vqa"), curves.against_uses(view, "vqa"), maps.winner_map(view)):
        figure.canvas.draw()
