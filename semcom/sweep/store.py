"""The results file: SQLite in WAL mode, one transaction for each operating point with its rows and samples.

A point is there whole or not at all, whenever the process dies; readers work while a run writes.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from channels.errors import InputError
from semcom.sweep.engine import PointResult
from semcom.sweep.plan import Group

FILE = "results.sqlite"
VERSION = 1
APPLICATION = 0x5E3C0301  # marks the file as ours

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE points (
    id INTEGER PRIMARY KEY, system TEXT NOT NULL, link TEXT, channel TEXT, modulation TEXT, code_rate REAL,
    coding TEXT, entry INTEGER, snr_db REAL, budget_uses INTEGER NOT NULL, seed INTEGER NOT NULL,
    draw INTEGER NOT NULL);
CREATE TABLE rows (
    point INTEGER NOT NULL REFERENCES points, task TEXT NOT NULL, question_type TEXT NOT NULL, metric TEXT NOT NULL,
    applicable INTEGER NOT NULL, samples INTEGER NOT NULL, queries INTEGER NOT NULL, score REAL, ci_low REAL,
    ci_high REAL, payload_bits REAL, channel_uses REAL, cbr REAL, bpp REAL, outage REAL,
    PRIMARY KEY (point, task, question_type)) WITHOUT ROWID;
CREATE TABLE corpus (
    point INTEGER NOT NULL REFERENCES points, task TEXT NOT NULL, metric TEXT NOT NULL, score REAL,
    PRIMARY KEY (point, task, metric)) WITHOUT ROWID;
CREATE TABLE queries (
    id INTEGER PRIMARY KEY, task TEXT NOT NULL, sample TEXT NOT NULL, query INTEGER NOT NULL,
    question_type TEXT NOT NULL, text TEXT NOT NULL, truth TEXT NOT NULL, UNIQUE (task, sample, query));
CREATE TABLE samples (
    point INTEGER NOT NULL REFERENCES points, query INTEGER NOT NULL REFERENCES queries, score REAL,
    answer TEXT NOT NULL, kind TEXT NOT NULL, payload_bits INTEGER NOT NULL, channel_uses INTEGER NOT NULL,
    PRIMARY KEY (point, query)) WITHOUT ROWID;
"""
ROW = (
    "question_type",
    "metric",
    "applicable",
    "samples",
    "queries",
    "score",
    "ci_low",
    "ci_high",
    "payload_bits",
    "channel_uses",
    "cbr",
    "bpp",
    "outage",
)


class Store:
    """An open results file. Use as a context manager."""

    def __init__(self, connection: sqlite3.Connection, path: Path, lock: IO[str] | None = None) -> None:
        self.connection, self.path, self._lock = connection, path, lock
        self._queries: dict[tuple[str, str, int], int] = {}

    @classmethod
    def create(cls, folder: Path, scenario: str, version: str) -> Store:
        """Open the file of a folder for writing; make it when it is not there, or holds no point yet."""
        path = folder / FILE
        with explained(path):
            folder.mkdir(parents=True, exist_ok=True)
            lock = _lock(folder)
            connection = sqlite3.connect(path, isolation_level=None, timeout=10)
            if not _tables(connection):  # new, or the process that made it died at once
                connection.execute("PRAGMA journal_mode = WAL")
                with _transaction(connection):
                    for statement in SCHEMA.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {APPLICATION}")
                    connection.execute(f"PRAGMA user_version = {VERSION}")
            _check(connection, path)
            connection.execute("PRAGMA synchronous = NORMAL")
            if not connection.execute("SELECT count(*) FROM points").fetchone()[0]:
                meta = [("scenario", scenario), ("version", version)]
                connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta)
        return cls(connection, path, lock)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether the folder holds a results file (perhaps without a single point)."""
        path = folder / FILE
        with explained(path):
            if not path.is_file():
                return False
            with contextlib.closing(_open(path)) as connection:
                return bool(_tables(connection))

    @classmethod
    def read(cls, folder: Path) -> Store:
        """Open for reading; also from a folder that cannot be written."""
        path = folder / FILE
        with explained(path):
            connection = _open(path) if path.is_file() else None
            if connection is None or not _tables(connection):
                raise InputError(f"{folder}: no results here (no {FILE} with points); make some: semcom run")
            _check(connection, path)
        return cls(connection, path)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.connection.close()
        if self._lock is not None:
            self._lock.close()

    def meta(self, key: str) -> str:
        """A stored fact: ``scenario`` (resolved YAML), ``version`` (of the program)."""
        found = self.query("SELECT value FROM meta WHERE key = ?", key)
        if not found:
            raise InputError(f"{self.path}: damaged (no {key} in it); move it away and run again")
        return str(found[0][0])

    def finished(self) -> set[int]:
        """Ids of the points that are there."""
        return {id for (id,) in self.query("SELECT id FROM points")}

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with explained(self.path):
            return self.connection.execute(sql, values).fetchall()

    def add(self, group: Group, result: PointResult, seed: int) -> None:
        """Write one point whole."""
        with explained(self.path), _transaction(self.connection) as db:
            link, point = group.link, result.point
            where = (
                (link.label, link.channel, link.modulation, link.code_rate, link.coding, link.entry)
                if link
                else (None,) * 6
            )
            db.execute(
                f"INSERT INTO points VALUES ({', '.join('?' * 12)})",
                (
                    point.id,
                    group.system.label,
                    *where,
                    _real(point.snr_db),
                    group.budget_uses,
                    seed,
                    point.draw,
                ),
            )
            db.executemany(
                f"INSERT INTO rows (point, task, {', '.join(ROW)}) VALUES ({', '.join('?' * (2 + len(ROW)))})",
                [(point.id, task, *(_real(row[key]) for key in ROW)) for task, row in result.rows],
            )
            db.executemany(
                "INSERT INTO corpus VALUES (?, ?, ?, ?)", [(point.id, *line) for line in result.corpus]
            )
            db.executemany(
                "INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        point.id,
                        self._query_id(task, r.query.sample, r.index, r.query),
                        _real(r.score),
                        r.answer,
                        r.kind,
                        r.cost.payload_bits,
                        r.cost.channel_uses,
                    )
                    for task, records in result.records.items()
                    for r in records
                ],
            )

    def _query_id(self, task: str, sample: str, index: int, query: Any) -> int:
        """Id of a query; it is entered when it is new."""
        key = (task, sample, index)
        if key not in self._queries:
            self.connection.execute(
                "INSERT OR IGNORE INTO queries (task, sample, query, question_type, text, truth) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (*key, query.type, query.text, " | ".join(query.truth)),
            )
            found = self.connection.execute(
                "SELECT id FROM queries WHERE task = ? AND sample = ? AND query = ?", key
            )
            self._queries[key] = int(found.fetchone()[0])
        return self._queries[key]


def _lock(folder: Path) -> IO[str]:
    """Hold the folder for writing as long as the returned file is open; the system lets go when the process dies."""
    lock = (folder / ".lock").open("w")
    with contextlib.suppress(ImportError):  # no fcntl on Windows: two runs are not kept apart there
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise InputError(f"{folder}: another run is writing here; wait, or give another --out") from None
    return lock


def _real(value: Any) -> Any:
    """SQLite has no NaN: it is stored as NULL. numpy numbers become Python's."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Is it ours, whole enough to read, and of this version?"""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise InputError(f"{path}: not a results file of semcom; move it away or give another folder")
    if version != VERSION:
        raise InputError(
            f"{path}: written by another version of semcom (format {version}, this one reads {VERSION})"
        )
    if missing := {"meta", "points", "rows", "corpus", "queries", "samples"} - _tables(connection):
        raise sqlite3.DatabaseError(f"it lacks {', '.join(sorted(missing))}")


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _open(path: Path) -> sqlite3.Connection:
    """A connection that only reads."""
    uri = path.resolve().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=10)
    try:
        _tables(connection)
    except (
        sqlite3.OperationalError
    ):  # WAL wants to write beside the file; where nobody can, nobody is writing either
        connection.close()
        connection = sqlite3.connect(f"{uri}?immutable=1", uri=True)
    return connection


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """What goes wrong with the file, as one :class:`InputError` that says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise InputError(f"{path}: cannot be written or read ({error}); finished points are kept") from error
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path}: damaged ({error}); move it away and run again") from error
    except InputError:
        raise
    except (ValueError, TypeError) as error:  # bytes that are no text, texts where numbers should be
        raise InputError(f"{path}: damaged ({error}); move it away and run again") from error
    except OSError as error:
        raise InputError(f"{error.filename or path}: {error.strerror}") from error
