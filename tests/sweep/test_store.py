"""The results file: whole points, honest messages about damage."""

from __future__ import annotations

import pickle
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import semcom
from channels.errors import InputError
from semcom.scenario import Scenario
from semcom.sweep.engine import Engine
from semcom.sweep.finish import Finisher
from semcom.sweep.plan import Job
from semcom.sweep.results import Results
from semcom.sweep.rows import Record
from semcom.sweep.store import FILE, Store
from tests.sweep import fakes

SMALL = fakes.scenario(systems=["fake-text"], sweep={"snr_db": [12, 13], "channel_uses": [400]})


PLACES = [("points", "id"), *((table, "point") for table in ("rows", "corpus", "samples", "chunks"))]


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A folder with results."""
    semcom.run(SMALL, tmp_path)
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


class Dies:
    """What dies when it is written."""

    def __conform__(self, protocol: object) -> object:
        raise ZeroDivisionError


def test_answers_come_from_another_process_as_they_are() -> None:
    engine = Engine(Scenario.load(SMALL))
    group = engine.groups[-1]
    part = engine.run(Job(0, 0, group.index, tuple(point.id for point in group.points)))
    there = pickle.loads(pickle.dumps(part))
    assert there == part and type(there.answers[0].records[0]) is Record
    part.answers[0].records = []
    assert pickle.loads(pickle.dumps(part)) == part


def test_a_point_is_whole_or_not_there(finished: Path) -> None:
    """Neither half an answer sheet nor half a summary is ever there."""
    engine = Engine(Scenario.load(SMALL))
    group = engine.groups[-1]
    point = group.points[0]
    with Store.create(finished, "", "") as store:
        for table, key in PLACES:
            store.connection.execute(f"DELETE FROM {table} WHERE {key} = {point.id}")
        part = engine.run(Job(0, 0, group.index, tuple(p.id for p in group.points)))
        whole = part.answers[0].records
        part.answers[0].records = [*whole[:5], whole[5]._replace(query=Dies())]
        with pytest.raises(ZeroDivisionError):
            store.add(part)
        part.answers[0].records = whole
        assert store.query("SELECT count(*) FROM samples WHERE point = ?", point.id) == [(0,)]
        assert store.stored() == {}
        store.add(part)
        assert store.stored() == {point.id: {0}}  # the finished point of the group was left alone
        assert Results.open(finished).samples(snr_db=point.snr_db).empty  # there, but not seen
        with pytest.raises(KeyError):
            store.finish(group, point, 1, [("fake-numbers", {"question_type": "", "metric": "accuracy"})])
        assert point.id not in store.finished()
        Finisher(engine, store)(group, point)
    assert len(Results.open(finished).samples(snr_db=point.snr_db)) == 20


def test_disk_full(finished: Path) -> None:
    engine = Engine(Scenario.load({**SMALL, "data": {"name": "fake-pictures", "samples": 200}}))
    group = engine.groups[-1]
    with Store.create(finished, "", "") as store:
        store.connection.execute(f"DELETE FROM points WHERE id = {group.points[0].id}")
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count = {pages}")
        part = engine.run(Job(0, 1, group.index, tuple(p.id for p in group.points)))
        with pytest.raises(InputError, match=r"full.*finished points are kept"):
            store.add(part)
    assert len(Results.open(finished).samples(system="fake-text")) == 20
