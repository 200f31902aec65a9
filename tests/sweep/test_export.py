"""Exports are canonical and can be read back; shards that are joined equal the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import semcom
from channels.errors import InputError
from semcom import cli
from semcom.sweep import export
from semcom.sweep.merge import merge
from semcom.sweep.results import Results
from tests.sweep import fakes


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """All fakes."""
    return semcom.run(fakes.scenario(), tmp_path_factory.mktemp("export"))


def canonical(results: Results, folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in export.csv(results.folder, folder)}


def test_csv_reads_back_to_the_same_bits(results: Results, tmp_path: Path) -> None:
    files = export.csv(results.folder, tmp_path)
    assert [p.name for p in files] == ["points.csv", "samples.csv", "corpus.csv", "failures.csv"]
    frame = results.to_frame()
    back = pd.read_csv(files[0], float_precision="round_trip", keep_default_na=False, na_values=[""])
    for name in ("score", "ci_low", "ci_high", "cbr"):
        np.testing.assert_array_equal(back[name], frame[name])
    assert canonical(results, tmp_path / "again") == canonical(results, tmp_path / "once more")


def test_parquet_and_netcdf_hold_the_same(results: Results, tmp_path: Path) -> None:
    parts = {p.stem: pd.read_parquet(p) for p in export.parquet(results.folder, tmp_path)}
    pd.testing.assert_frame_equal(parts["points"], results.to_frame(), check_dtype=False)
    pd.testing.assert_frame_equal(parts["samples"], results.samples(), check_dtype=False)
    (path,) = export.netcdf(results.folder, tmp_path)
    with xr.open_dataset(path, engine="scipy") as cube:
        xr.testing.assert_equal(cube["score"].astype(float), results.to_xarray()["score"])
        assert cube.attrs["title"] == results.scenario.title


def test_command_line(results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(results.folder), "--csv", "--netcdf", "--out", str(tmp_path)]) == 0
    assert {Path(line).name for line in capsys.readouterr().out.splitlines()} >= {"points.csv", "results.nc"}
    assert cli.main(["export", str(results.folder)]) == 2
    assert "at least one of --csv, --parquet, --netcdf" in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path / "none"), "--csv"]) == 2


LINKS = ({"channel": "awgn", "mcs": ["qpsk-1/2", "qam16-1/2"]}, {"channel": "rayleigh", "coherence": 4})
WHOLE = fakes.scenario(link=list(LINKS), sweep={"snr_db": [-6, -1, 12], "channel_uses": [30, 400]})


@pytest.mark.parametrize(
    "parts",
    [
        [{"systems": ["fake-text", "fake-packets"]}, {"systems": ["fake-analog", "fake-answer"]}],
        [{"link": LINKS[0]}, {"link": LINKS[1]}],
        [
            {"sweep": {**WHOLE["sweep"], "snr_db": [-6, 12]}},
            {"sweep": {**WHOLE["sweep"], "snr_db": [-1, 12]}},
        ],
        [{"sweep": {**WHOLE["sweep"], "channel_uses": [u]}} for u in (30, 400)],
    ],
    ids=["systems", "links", "snr", "budgets"],
)
def test_joined_shards_equal_the_whole(parts: list[dict[str, Any]], tmp_path: Path) -> None:
    folders = [tmp_path / str(i) for i in range(len(parts))]
    for folder, part in zip(folders, parts, strict=True):
        semcom.run({**WHOLE, **part}, folder)
    joined = merge(folders, tmp_path / "joined")
    whole = semcom.run(WHOLE, tmp_path / "whole")
    assert joined.scenario == whole.scenario
    assert canonical(joined, tmp_path / "a") == canonical(whole, tmp_path / "b")
    fakes.CALLS.clear()
    semcom.run(tmp_path / "joined" / "scenario.yaml", tmp_path / "joined")  # complete: nothing to compute
    assert not fakes.CALLS


def test_a_hole_in_the_grid_is_filled_by_a_run(tmp_path: Path) -> None:
    for name, change in (("a", {"systems": ["fake-text"]}), ("b", {"systems": ["fake-packets"]})):
        semcom.run(
            {**fakes.scenario(), **change, "sweep": {"snr_db": [12], "channel_uses": [400]}}, tmp_path / name
        )
    part = {**fakes.scenario(), "systems": ["fake-text"], "sweep": {"snr_db": [3], "channel_uses": [400]}}
    semcom.run(part, tmp_path / "c")
    joined = merge([tmp_path / n for n in "abc"], tmp_path / "joined")
    assert joined.progress() == (2 + 3, 2 + 4)
    filled = semcom.run(tmp_path / "joined" / "scenario.yaml", tmp_path / "joined")
    sweep = {"snr_db": [3, 12], "channel_uses": [400]}
    whole = semcom.run(
        {**fakes.scenario(), "systems": ["fake-text", "fake-packets"], "sweep": sweep}, tmp_path / "w"
    )
    assert canonical(filled, tmp_path / "x") == canonical(whole, tmp_path / "y")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 12}, r"do not fit together \(seed: 11 -> 12\)"),
        ({"tasks": ["fake-numbers"]}, r"do not fit together \(tasks"),
        ({"data": {"name": "fake-pictures", "samples": 6}}, r"data\.samples: 5 -> 6"),
        (
            {"systems": [{"name": "fake-text", "repeat": 2}]},
            "'fake-text' has other options in .*label of its own",
        ),
    ],
)
def test_shards_that_do_not_fit(
    change: dict[str, Any], message: str, results: Results, tmp_path: Path
) -> None:
    semcom.run(fakes.scenario(**change), tmp_path / "other")
    with pytest.raises(InputError, match=message):
        merge([results.folder, tmp_path / "other"], tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_merge_touches_no_results(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    semcom.run(fakes.scenario(systems=["fake-text"]), tmp_path / "a")
    before = canonical(Results.open(tmp_path / "a"), tmp_path / "x")
    assert cli.main(["merge", str(results.folder), str(tmp_path / "a"), "--out", str(tmp_path / "a")]) == 2
    assert "holds results already" in capsys.readouterr().err
    assert canonical(Results.open(tmp_path / "a"), tmp_path / "y") == before
    assert cli.main(["merge", str(results.folder), "--out", str(tmp_path / "b")]) == 2
    assert cli.main(["merge", str(results.folder), str(tmp_path / "a"), "--out", str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'b'}: 26 of 26 points\n"
