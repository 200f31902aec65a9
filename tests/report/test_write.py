"""The whole report of real runs of the engine, on small fake systems over the real channel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import semcom
from channels.errors import InputError
from semcom import report, stats
from semcom.report.samples import examples
from semcom.report.view import View
from semcom.sweep.results import Results
from tests.sweep import fakes


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Four fakes over AWGN."""
    return semcom.run(fakes.scenario(), tmp_path_factory.mktemp("run"))


def test_files_are_written_and_named(results: Results, tmp_path: Path) -> None:
    paths = report.write(results, tmp_path / "deep" / "out", examples=1)
    names = [path.relative_to(tmp_path / "deep" / "out").as_posix() for path in paths]
    assert names == [
        "figures/winners.png",
        "figures/snr-fake-numbers.png",
        "figures/uses-fake-numbers.png",
        "figures/types-fake-numbers.png",
        "figures/snr-fake-parity.png",
        "figures/uses-fake-parity.png",
        "figures/panel-1.png",
        "report.html",
    ]
    for path in paths[:-1]:
        assert path.read_bytes().startswith(b"\x89PNG")
    page = paths[-1].read_text("utf-8")
    assert page.count("<figure") == 7 and "fake-pictures" in page and "seed: 11" in page
    again = report.write(results, tmp_path / "again", examples=1)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_vector_formats(results: Results, tmp_path: Path) -> None:
    paths = report.write(results, tmp_path, formats=("svg",), examples=0)
    assert {path.suffix for path in paths} == {".svg", ".html"}
    assert paths[0].read_bytes().count(b"<svg") == 1
    with pytest.raises(InputError, match=r"'gif'.*png, svg, pdf"):
        report.write(results, tmp_path, formats=("gif",))


def test_the_panel_shows_what_was_scored(results: Results) -> None:
    """Samples that are sent again meet the same channel: their answers are those in the store."""
    found = examples(results.scenario, count=3, budgets=[400], task="fake-numbers")
    stored = results.samples(task="fake-numbers", budget_uses=400)
    checked = 0
    for index, example in enumerate(found):
        for outcome in example.outcomes:
            rows = stored[(stored["system"] == outcome.system) & (stored["snr_db"] == outcome.snr_db)]
            rows = rows[(rows["sample"] == f"picture-{index}") & (rows["query"] == index)]
            assert len(rows) == 1
            row = rows.iloc[0]
            assert (outcome.answer, outcome.score) == (row["answer"], row["score"])
            assert (outcome.recovered.kind, outcome.channel_uses) == (row["kind"], row["channel_uses"])
            checked += 1
        assert example.blind is not None and example.blind[0] == "7"
        assert example.ceiling is not None and example.ceiling[1] == 1.0
    assert checked == 3 * 4 * 3


def test_what_a_task_cannot_use_is_shown_without_an_answer(results: Results) -> None:
    outcomes = examples(results.scenario, count=1, task="fake-parity")[0].outcomes
    analog = [outcome for outcome in outcomes if outcome.system == "fake-analog"]
    assert len(analog) == 3 and all(outcome.answer is None for outcome in analog)


def test_ties_are_judged_on_pairs(results: Results) -> None:
    """The p-value of two rows is the paired test on their single answers."""
    view = View.of_results(results)
    assert view.informed == {"fake-answer"}
    assert view.kinds["fake-analog"] == "embedding"
    assert view.p_value is not None
    at = {"task": "fake-numbers", "snr_db": -1.0, "budget_uses": 400}
    first, second = (view.row(air="awgn", system=label, **at) for label in ("fake-text", "fake-packets"))
    blind = view.reference("blind", "fake-numbers")
    assert first is not None and second is not None and blind is not None
    keys = ["sample", "query"]
    left = results.samples(system="fake-text", **at).sort_values(keys)
    others = {"fake-packets": at, "blind": {"task": "fake-numbers"}}
    for row, (label, where) in zip((second, blind), others.items(), strict=True):
        right = results.samples(system=label, **where).sort_values(keys)
        assert left[keys].to_numpy().tolist() == right[keys].to_numpy().tolist()
        expected = stats.paired_difference(left["score"], right["score"], left["sample"].tolist())[3]
        assert view.p_value(first, row) == pytest.approx(expected)


def test_the_terminal_table(results: Results) -> None:
    text = report.terminal_table(results, width=100)
    assert "fake-numbers (accuracy), awgn, 400 channel uses" in text and "fake-answer" in text
    assert report.terminal_table(results, 30, 100, colour=True) != report.terminal_table(results, 30, 100)
    with pytest.raises(InputError, match="budget 31: this run has 30, 400"):
        report.terminal_table(results, budget=31)


def test_a_panel_that_cannot_be_made_is_a_note(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise InputError("the folder of pictures is gone")

    monkeypatch.setattr("semcom.report.samples.examples", fail)
    paths = report.write(results, tmp_path)
    assert not [path for path in paths if path.name.startswith("panel")]
    assert "the folder of pictures is gone" in paths[-1].read_text("utf-8")


def test_a_place_that_cannot_be_written_is_one_clear_error(results: Results, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        report.write(results, tmp_path / "file", examples=0)


def test_a_run_without_points_is_refused(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    empty: pd.DataFrame = results.to_frame().iloc[:0]
    monkeypatch.setattr(Results, "to_frame", lambda self: empty)
    with pytest.raises(InputError, match="no finished operating point"):
        report.terminal_table(results)
    assert not np.any(empty["score"])


def test_importing_the_report_is_cheap() -> None:
    code = "import sys, semcom.report; print(sorted({'matplotlib', 'torch', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
