"""What users read results with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import semcom
from channels.errors import InputError
from semcom import stats
from semcom.sweep.results import Results
from tests.sweep import fakes

CONTRACT = [
    *(
        "system",
        "task",
        "channel",
        "modulation",
        "code_rate",
        "coding",
        "snr_db",
        "budget_uses",
        "seed",
        "draw",
    ),
    *(
        "samples",
        "metric",
        "score",
        "ci_low",
        "ci_high",
        "payload_bits",
        "channel_uses",
        "cbr",
        "bpp",
        "outage",
    ),
    *("applicable", "question_type"),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """All fakes over three links with two draws."""
    links = [
        {"channel": "rayleigh", "coherence": 4, "mcs": ["qpsk-1/2", "qam16-1/2"]},
        {"channel": "rayleigh", "coherence": 400},
    ]
    sweep = {"snr_db": [3, 12], "channel_uses": [30, 400], "draws": 2}
    folder = tmp_path_factory.mktemp("results")
    return semcom.run(fakes.scenario(link=links, sweep=sweep), folder)


def test_frame(results: Results) -> None:
    frame = results.to_frame()
    assert set(CONTRACT) <= set(frame.columns)
    assert not frame.duplicated(["point", "task", "question_type"]).any()
    assert frame["point"].is_monotonic_increasing
    reference = frame[frame["snr_db"].isna()]
    assert set(reference["system"]) == {"ceiling", "blind"} and (reference["budget_uses"] == 0).all()
    assert (reference["channel"] == "").all() and reference["code_rate"].isna().all()
    assert set(frame.loc[frame["channel"] != "", "channel"]) == {
        "rayleigh coherence=4",
        "rayleigh coherence=400",
    }
    scored = frame[frame["applicable"]]
    assert ((scored["ci_low"] <= scored["score"]) & (scored["score"] <= scored["ci_high"])).all()
    assert (frame["channel_uses"] <= frame["budget_uses"]).all()
    types = frame[frame["task"] == "fake-numbers"].groupby("point")["question_type"].agg(list)
    assert all(found == ["", "t0", "t1"] for found in types)


def test_xarray_holds_the_frame(results: Results) -> None:
    cube = results.to_xarray()
    assert dict(cube["score"].sizes) == {
        "system": 4,
        "task": 2,
        "link": 3,
        "budget_uses": 2,
        "snr_db": 2,
        "draw": 2,
    }
    frame = results.to_frame()
    rows = frame[(frame["question_type"] == "") & frame["snr_db"].notna()]
    for row in rows.sample(20, random_state=1).itertuples():
        cell = cube.sel(
            system=row.system,
            task=row.task,
            link=row.link,
            budget_uses=row.budget_uses,
            snr_db=row.snr_db,
            draw=row.draw,
        )
        np.testing.assert_equal(float(cell["score"]), row.score)
        np.testing.assert_equal(float(cell["outage"]), row.outage)
    assert float(cube["ceiling"].sel(task="fake-numbers")) == 1.0
    assert list(cube["system"].to_numpy()) == ["fake-text", "fake-packets", "fake-analog", "fake-answer"]


def test_samples_are_filtered(results: Results) -> None:
    everything = results.samples()
    some = results.samples(system="fake-packets", snr_db=3, draw=1, task="fake-numbers")
    expected = everything.query(
        "system == 'fake-packets' and snr_db == 3 and draw == 1 and task == 'fake-numbers'"
    )
    assert some.equals(expected.reset_index(drop=True)) and len(some) == 3 * 2 * 15
    assert len(results.samples(snr_db=None)) == 2 * 20  # the reference rows
    with pytest.raises(InputError, match="Did you mean 'system'"):
        results.samples(sistem="jpeg")


def test_compare_pairs_equal_images_and_draws(results: Results) -> None:
    found = results.compare("fake-text", "fake-packets", "fake-numbers")
    assert len(found) == 3 * 2 * 2
    row = found[(found["snr_db"] == 3) & (found["budget_uses"] == 400)].iloc[0]
    sides = [
        results.samples(system=s, link=row["link"], snr_db=3, budget_uses=400, task="fake-numbers")
        for s in ("fake-text", "fake-packets")
    ]
    a, b = (side.sort_values(["draw", "sample", "query"]) for side in sides)
    assert list(a["sample"]) == list(b["sample"])
    expected = stats.paired_difference(a["score"].tolist(), b["score"].tolist(), a["sample"].tolist())
    got = tuple(row[["difference", "ci_low", "ci_high", "p_value"]])
    assert got[0] == pytest.approx(a["score"].mean() - b["score"].mean())
    assert got == pytest.approx(expected, abs=0.02)  # the order of the pairs moves the bootstrap a little


def test_compare_is_corrected_for_the_number_of_points(results: Results) -> None:
    found = results.compare("fake-text", "fake-packets", "fake-numbers")
    assert list(found["p_holm"]) == list(stats.holm(found["p_value"]))
    assert (found["p_holm"] >= found["p_value"]).all() and (found["p_holm"] > found["p_value"]).any()


def test_draws_are_pooled_by_image(results: Results) -> None:
    """The interval over all draws takes the images as clusters; the report shows it."""
    pooled = results.pooled()
    at = {
        "system": "fake-packets",
        "link": "rayleigh coherence=4 qpsk-1/2 ldpc",
        "snr_db": 3.0,
        "budget_uses": 400,
    }
    part = results.samples(task="fake-numbers", **at)
    assert set(part["draw"]) == {0, 1}
    row = pooled
    for name, value in {**at, "task": "fake-numbers", "question_type": ""}.items():
        row = row[row[name] == value]
    (found,) = row.itertuples()
    mean, low, high = stats.interval(part["score"].tolist(), part["sample"].tolist(), True)
    assert (found.score, found.ci_low, found.ci_high) == pytest.approx((mean, low, high))
    assert len(pooled) == 3 * 2 * 2 * (
        4 * 3 + 2
    )  # links, budgets, SNRs; numbers in 3 rows, parity in 2 systems
    from semcom.report.view import View

    shown = View.of_results(results).select(
        task="fake-numbers", system="fake-packets", budget_uses=400, snr_db=3.0
    )
    coded = shown[(shown["air"] == "rayleigh coherence=4") & (shown["modulation"] == "qpsk")]
    if len(coded):
        assert coded["ci_low"].iloc[0] == pytest.approx(low)


def test_compare_with_a_reference(results: Results) -> None:
    above = results.compare("ceiling", "fake-text", "fake-numbers")
    below = results.compare("fake-text", "ceiling", "fake-numbers")
    assert len(above) == 12 and (above["difference"] >= 0).all()
    assert np.allclose(above["difference"], -below["difference"])


@pytest.mark.parametrize(
    ("first", "task", "message"),
    [
        ("fake-txt", "fake-numbers", "Did you mean 'fake-text'"),
        ("fake-text", "numbers", "Did you mean 'fake-numbers'"),
        ("fake-analog", "fake-parity", "not applicable"),
    ],
)
def test_compare_of_what_is_not_there(results: Results, first: str, task: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        results.compare(first, "fake-packets", task)


def test_corpus(results: Results) -> None:
    corpus = results.corpus()
    samples = results.samples(task="fake-numbers")
    expected = samples.assign(n=samples["answer"].str.len()).groupby("point")["n"].mean()
    assert list(corpus["score"]) == pytest.approx(list(expected))


def test_reading_while_nothing_is_finished(tmp_path: Path) -> None:
    from semcom.sweep.store import Store

    scenario = semcom.Scenario.load(fakes.scenario())
    with Store.create(tmp_path, scenario.to_yaml(), semcom.__version__):
        empty = Results.open(tmp_path)
        assert empty.progress() == (0, 26)
        assert len(empty.to_frame()) == len(empty.samples()) == 0
        assert empty.to_xarray()["score"].isnull().all()
        assert "0 of 26 points" in repr(empty)
