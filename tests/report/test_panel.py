"""The panel of real samples: every kind of thing is drawn, and verdicts have their colours."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from semcom.report.panel import panel
from semcom.report.samples import Example, Outcome
from semcom.report.style import FAINT, LOST, RIGHT, WRONG, looks
from semcom.types import Query, Recovered

KINDS = {"jpeg": "image", "caption": "text", "embedding": "embedding", "tokens": "tokens", "decide": "answer"}
NAUGHTY = "a $x$ 100 % \\frac{ \x00 \u202e line\nline" + " word" * 100


def example(outcomes: list[Outcome], text: str = "what colour ?") -> Example:
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    query = Query("vqa", "sample-3", text, truth=("red",))
    return Example(image, query, "awgn", 512, tuple(outcomes), ("red", 1.0), ("blue", 0.0))


def things() -> dict[str, Recovered]:
    rng = np.random.default_rng(1)
    return {
        "jpeg": Recovered(image=rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)),
        "caption": Recovered(text="a red circle"),
        "embedding": Recovered(embedding=rng.normal(size=32).astype(np.float32)),
        "tokens": Recovered(tokens=rng.normal(size=(5, 8)).astype(np.float32)),
        "decide": Recovered(answer="red"),
    }


def tiles(outcomes: list[Outcome]) -> dict[tuple[str, float], Axes]:
    """The axes of each outcome, by its place in the grid."""
    figure = panel(example(outcomes), looks(KINDS))
    figure.canvas.draw()
    grid = [axes for axes in figure.subfigs[1].axes if axes.axison]
    labels = list(dict.fromkeys(outcome.system for outcome in outcomes))
    snrs = list(dict.fromkeys(outcome.snr_db for outcome in outcomes))
    assert len(grid) == len(outcomes)
    return {
        (label, snr): grid[j * len(labels) + i]
        for i, label in enumerate(labels)
        for j, snr in enumerate(snrs)
    }


def test_each_kind_is_drawn_as_what_it_is() -> None:
    outcomes = [Outcome(label, 5.0, thing, "red", 1.0, 100) for label, thing in things().items()]
    axes = {label: one for (label, _), one in tiles(outcomes).items()}
    assert np.array_equal(axes["jpeg"].images[0].get_array(), things()["jpeg"].image)
    assert np.array_equal(axes["tokens"].images[0].get_array(), things()["tokens"].tokens)
    heights = [bar.get_height() for bar in axes["embedding"].patches]  # type: ignore[attr-defined]
    assert np.array_equal(heights, things()["embedding"].embedding)
    texts = {label: " ".join(text.get_text() for text in one.texts) for label, one in axes.items()}
    assert "a red circle" in texts["caption"] and "answer: red" in texts["decide"]
    assert "5 tokens × 8, 100 uses" in texts["tokens"] and "32 values" in texts["embedding"]
    assert axes["jpeg"].get_ylabel() == "5 dB"


def test_verdicts_have_colours_and_marks() -> None:
    image = things()["jpeg"]
    outcomes = [
        Outcome("jpeg", -5.0, Recovered(), "red", 1.0, 400),
        Outcome("jpeg", 0.0, image, "blue", 0.0, 400),
        Outcome("jpeg", 5.0, image, "red", 0.6, 400),
        Outcome("jpeg", 9.0, image, None, 0.0, 400),
    ]
    found = tiles(outcomes)
    said = {
        snr: (axes.xaxis.label.get_text(), axes.xaxis.label.get_color()) for (_, snr), axes in found.items()
    }
    assert said[-5.0] == ("guess: red", LOST)
    assert said[0.0] == ("blue ✗", WRONG)
    assert said[5.0] == ("red ✓", RIGHT)
    assert said[9.0] == ("not applicable", FAINT)
    lost = " ".join(text.get_text() for text in found["jpeg", -5.0].texts)
    assert "nothing\nreceived" in lost


def test_nothing_from_the_air_breaks_the_drawing() -> None:
    strange = [
        Recovered(text=NAUGHTY),
        Recovered(text=""),
        Recovered(embedding=np.array([np.nan, np.inf, 1.0], np.float32)),
        Recovered(tokens=np.full((1, 4), np.nan, np.float32)),
        Recovered(tokens=np.zeros((3, 4), np.float32)),
        Recovered(answer=NAUGHTY),
    ]
    outcomes = [Outcome("caption", float(i), thing, NAUGHTY, 0.0, 0) for i, thing in enumerate(strange)]
    figure = panel(example(outcomes, NAUGHTY), looks(KINDS))
    figure.canvas.draw()


def test_many_systems_go_below_each_other() -> None:
    labels = [f"system {index}" for index in range(10)]
    outcomes = [Outcome(label, snr, Recovered(), "red", 0.0, 0) for label in labels for snr in (0.0, 5.0)]
    figure = panel(example(outcomes), looks(dict.fromkeys(labels, "image")))
    assert [axes.get_title() for axes in figure.subfigs[1].axes if axes.get_title()] == labels
    assert len(figure.subfigs[1].axes) == 20
