"""The results file: whole points, honest messages about damage."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

import semcom
from channels.errors import InputError
from semcom.sweep.results import Results
from semcom.sweep.store import FILE, Store
from tests.sweep import fakes


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A folder with results."""
    sweep = {"snr_db": [12], "channel_uses": [400]}
    semcom.run(fakes.scenario(systems=["fake-text"], sweep=sweep), tmp_path)
    return tmp_path


def test_no_results(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="no results here"):
            Results.open(folder)
    (tmp_path / FILE).touch()
    with pytest.raises(InputError, match="no results here"):
        Results.open(tmp_path)


def test_text_file(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("results, honestly\n" * 100)
    with pytest.raises(InputError, match="damaged"):
        Results.open(tmp_path)
    with pytest.raises(InputError, match="damaged"):
        semcom.run(fakes.scenario(), tmp_path)
    assert (tmp_path / FILE).read_text().startswith("results, honestly")


def test_foreign_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(InputError, match="not a results file of semcom"):
        Results.open(tmp_path)


def test_other_format_version(finished: Path) -> None:
    with sqlite3.connect(finished / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match=r"another version of semcom \(format 99"):
        Results.open(finished)


def test_lost_table(finished: Path) -> None:
    with sqlite3.connect(finished / FILE) as connection:
        connection.execute("DROP TABLE corpus")
    with pytest.raises(InputError, match=r"damaged \(it lacks corpus"):
        Results.open(finished)


def test_random_damage_is_reported_or_harmless(finished: Path) -> None:
    """Whatever bytes are hit: the old numbers, or one InputError."""
    good = (finished / FILE).read_bytes()
    expected = Results.open(finished).to_frame().to_csv()
    seed = np.random.SeedSequence().entropy
    rng = np.random.default_rng(seed)
    reported = 0
    for _ in range(40):
        bad = np.frombuffer(good, np.uint8).copy()
        at = rng.integers(0, len(bad) - 256)
        bad[at : at + 256] = rng.integers(0, 256, 256)
        cut = len(bad) if rng.random() < 0.5 else int(rng.integers(1, len(bad)))
        (finished / FILE).write_bytes(bad[:cut].tobytes())
        for beside in ("-wal", "-shm"):
            (finished / (FILE + beside)).unlink(missing_ok=True)
        try:
            frame = Results.open(finished).to_frame()
        except InputError:
            reported += 1
        else:
            assert list(frame.columns) == expected.split("\n")[0].split(",")[1:], f"seed {seed}"
    assert reported > 10, f"seed {seed}"


def test_a_point_is_whole_or_not_there(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.create(finished, "", "") as store:
        before = store.query("SELECT count(*) FROM rows")
        from semcom.scenario import Scenario
        from semcom.sweep.engine import Engine
        from semcom.sweep.plan import plan

        scenario = Scenario.load(fakes.scenario())
        group = plan(scenario)[-1]
        result = Engine(scenario).run(group)[0]
        monkeypatch.setattr(store, "_query_id", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.add(group, result, 1)
        assert store.query("SELECT count(*) FROM rows") == before
        assert result.point.id not in store.finished()


def test_disk_full(finished: Path) -> None:
    with Store.create(finished, "", "") as store:
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count = {pages}")
        from semcom.scenario import Scenario
        from semcom.sweep.engine import Engine
        from semcom.sweep.plan import plan

        scenario = Scenario.load(fakes.scenario(data={"name": "fake-pictures", "samples": 200}))
        group = plan(scenario)[-1]
        result = Engine(scenario).run(group)[-1]
        with pytest.raises(InputError, match=r"full.*finished points are kept"):
            store.add(group, result, 1)
    assert len(Results.open(finished).samples(system="fake-text")) == 20
