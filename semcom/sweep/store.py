"""The results file: SQLite in WAL mode. A point is there whole or not at all, whenever the process dies.

Answers come in chunk by chunk, one transaction each, and lie in ``samples`` unseen: readers see the samples of those
points alone that are in ``points``. A point is entered there, with its rows, in one transaction once its last chunk
has come. Readers work while a run writes.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from channels.errors import InputError
from semcom.sweep.part import Failure, Part
from semcom.sweep.plan import CHUNK, Group, Point
from semcom.sweep.rows import Column

FILE = "results.sqlite"
VERSION = 3
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
    question_type TEXT NOT NULL, text TEXT NOT NULL, truth TEXT NOT NULL, truths TEXT NOT NULL,
    number INTEGER NOT NULL, pixels INTEGER NOT NULL, UNIQUE (task, sample, query));
CREATE TABLE samples (
    point INTEGER NOT NULL, query INTEGER NOT NULL REFERENCES queries, score REAL,
    answer TEXT NOT NULL, kind TEXT NOT NULL, payload_bits INTEGER NOT NULL, channel_uses INTEGER NOT NULL,
    PRIMARY KEY (point, query)) WITHOUT ROWID;
CREATE TABLE chunks (
    point INTEGER NOT NULL, chunk INTEGER NOT NULL, messages INTEGER NOT NULL, payload_bits REAL, channel_uses REAL,
    cbr REAL, bpp REAL, outage REAL, PRIMARY KEY (point, chunk)) WITHOUT ROWID;
CREATE TABLE failures (
    point INTEGER PRIMARY KEY, chunk INTEGER NOT NULL, kind TEXT NOT NULL, error TEXT NOT NULL, trace TEXT NOT NULL);
"""
ASK = f"INSERT OR IGNORE INTO queries VALUES ({', '.join('?' * 10)})"
COPIED = ("rows", "corpus", "chunks")  # with the id of the point first
STARTED = "SELECT EXISTS (SELECT 1 FROM points) OR EXISTS (SELECT 1 FROM chunks)"
TABLES = ("meta", "points", "rows", "corpus", "queries", "samples", "chunks", "failures")
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
        self._asked: set[tuple[int, tuple[str, ...]]] = set()  # chunks and tasks whose queries are there

    @classmethod
    def create(
        cls, folder: Path, scenario: str, version: str, facts: Mapping[str, str] | None = None
    ) -> Store:
        """Open the file of a folder for writing; make it when it is not there, or holds no answer yet.

        :param facts: more to store beside the scenario, see :meth:`meta`.
        """
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
            if not connection.execute(STARTED).fetchone()[0]:
                meta = [("scenario", scenario), ("version", version), *(facts or {}).items()]
                connection.execute("DELETE FROM failures")
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
        """A stored fact: ``scenario`` (resolved YAML), ``version`` (of the program), ``fingerprint``, ``device``."""
        found = self.query("SELECT value FROM meta WHERE key = ?", key)
        if not found:
            raise InputError(f"{self.path}: damaged (no {key} in it); move it away and run again")
        return str(found[0][0])

    def started(self) -> bool:
        """Whether there is any answer, seen or not."""
        return bool(self.query(STARTED)[0][0])

    def finished(self) -> set[int]:
        """Ids of the points that are there."""
        return {id for (id,) in self.query("SELECT id FROM points")}

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with explained(self.path):
            return self.connection.execute(sql, values).fetchall()

    def stored(self) -> dict[int, set[int]]:
        """The chunks that are there of points that are not finished: point id -> chunks."""
        found: dict[int, set[int]] = {}
        for point, chunk in self.query(
            "SELECT point, chunk FROM chunks WHERE point NOT IN (SELECT id FROM points)"
        ):
            found.setdefault(point, set()).add(chunk)
        return found

    def add(self, part: Part) -> None:
        """Write the answers and the failures of one job, as far as they are not there already."""
        chunk = part.job.chunk
        asked = chunk, tuple(dict.fromkeys(query.task for query in part.asked))
        with explained(self.path), _transaction(self.connection) as db:
            if asked not in self._asked:
                db.executemany(ASK, part.asked)
            for answers in part.answers:
                here = "SELECT 1 FROM chunks WHERE point = ? AND chunk = ? UNION SELECT 1 FROM points WHERE id = ?"
                if db.execute(here, (answers.point.id, chunk, answers.point.id)).fetchone():
                    continue
                values = (answers.point.id, chunk, *answers.sums)
                db.execute(f"INSERT INTO chunks VALUES ({', '.join('?' * 8)})", values)
                rows = ((answers.point.id, *record) for record in answers.records)
                db.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            for failure in part.failures:
                self._fail(failure)
        self._asked.add(asked)

    def column(self, point: int, task: str) -> Column:
        """The answers that are there of one point (finished or not) and task, in the order of the data."""
        columns: list[list[Any]] = [[] for _ in fields(Column)]
        known: list[dict[Any, Any]] = [{} for _ in columns]  # equal values are one object: few answers differ
        with explained(self.path):
            rows = self.connection.execute(
                "SELECT q.sample, q.query, q.question_type, q.truths, s.answer, s.score, s.kind = 'nothing', "
                "s.payload_bits, s.channel_uses, q.pixels FROM samples s JOIN queries q ON q.id = s.query "
                "WHERE s.point = ? AND q.task = ? ORDER BY s.query",
                (point, task),
            )
            while some := rows.fetchmany(4096):
                for values, same, new in zip(columns, known, zip(*some, strict=True), strict=True):
                    values.extend(map(same.setdefault, new, new))
            column = Column(*columns)
            column.truths = [_truths(text) for text in column.truths]
            column.scores = [math.nan if score is None else score for score in column.scores]
        return column

    def sums(self, point: int) -> tuple[float, ...]:
        """What the messages of a point cost: :attr:`semcom.sweep.part.Answers.sums` over all chunks."""
        names = "messages, payload_bits, channel_uses, cbr, bpp, outage"
        rows = self.query(f"SELECT {names} FROM chunks WHERE point = ? ORDER BY chunk", point)
        return tuple(sum(column) for column in zip(*rows, strict=True))

    def finish(
        self,
        group: Group,
        point: Point,
        seed: int,
        rows: Sequence[tuple[str, dict[str, Any]]],
        corpus: Sequence[tuple[str, str, float]] = (),
    ) -> None:
        """Enter a point with its rows (task, row) and corpus metrics (task, metric, value): from now on it is seen."""
        with explained(self.path), _transaction(self.connection) as db:
            link = group.link
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
                [(point.id, task, *(_real(row[key]) for key in ROW)) for task, row in rows],
            )
            db.executemany("INSERT INTO corpus VALUES (?, ?, ?, ?)", [(point.id, *line) for line in corpus])

    def fail(self, failure: Failure) -> None:
        """Record what failed; its points are not tried again until :meth:`forgive`."""
        with explained(self.path), _transaction(self.connection):
            self._fail(failure)

    def _fail(self, failure: Failure) -> None:
        """The first chunk at which a point failed is the one that counts."""
        told = (failure.job.chunk, failure.kind, failure.error, failure.trace)
        for point in failure.points:
            if not self.connection.execute("SELECT 1 FROM points WHERE id = ?", (point,)).fetchone():
                self.copy_failure(point, *told)

    def forgive(self, groups: Sequence[Sequence[int]]) -> None:
        """Forget all failures, so that they are tried again.

        What else was computed with a failed point, from that chunk on, is forgotten too: it is computed again with
        that point beside it, as in a run in which nothing failed.

        :param groups: ids of the points that are worked on together
        """
        failed = self.failed()
        with explained(self.path), _transaction(self.connection) as db:
            for ids in groups:
                if not (chunks := [failed[id] for id in ids if id in failed]):
                    continue
                where = f"BETWEEN {ids[0]} AND {ids[-1]}"
                late = f"SELECT point FROM chunks WHERE point {where} AND chunk >= {min(chunks)}"
                db.execute(f"DELETE FROM points WHERE id IN ({late})")
                for name in ("rows", "corpus"):
                    db.execute(f"DELETE FROM {name} WHERE point IN ({late})")
                db.execute(
                    f"DELETE FROM samples WHERE point {where} AND query IN "
                    f"(SELECT id FROM queries WHERE number >= {CHUNK * min(chunks)})"
                )
                db.execute(f"DELETE FROM chunks WHERE point {where} AND chunk >= {min(chunks)}")
            db.execute("DELETE FROM failures")

    def failed(self) -> dict[int, int]:
        """Ids of the points that failed, and the first chunk at which each did."""
        return dict(self.query("SELECT point, chunk FROM failures"))

    def copy_point(self, source: Store, old: int, new: int) -> None:
        """Take over a finished point of another file under a new id. If it is here already, it must be the same.

        :raises InputError: it is here with other numbers
        """
        samples = source.query(
            "SELECT query, score, answer, kind, payload_bits, channel_uses FROM samples WHERE point = ?", old
        )
        asked = source.query(
            "SELECT * FROM queries WHERE id IN (SELECT query FROM samples WHERE point = ?)", old
        )
        tables = {name: source.query(f"SELECT * FROM {name} WHERE point = ?", old) for name in COPIED}
        if self.query("SELECT 1 FROM points WHERE id = ?", new):
            for name, rows in tables.items():
                here = self.query(f"SELECT * FROM {name} WHERE point = ?", new)
                if [row[1:] for row in here] != [row[1:] for row in rows]:
                    raise InputError(f"{source.path}: has a point that another shard has with other numbers")
            return
        point = source.query("SELECT * FROM points WHERE id = ?", old)[0]
        with explained(self.path), _transaction(self.connection) as db:
            db.execute(f"INSERT INTO points VALUES ({', '.join('?' * len(point))})", (new, *point[1:]))
            for name, rows in tables.items():
                if rows:
                    marks = ", ".join("?" * len(rows[0]))
                    db.executemany(f"INSERT INTO {name} VALUES ({marks})", [(new, *row[1:]) for row in rows])
            db.executemany(ASK, asked)
            db.executemany(
                "INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?)", [(new, *row) for row in samples]
            )

    def copy_failure(self, point: int, chunk: int, kind: str, error: str, trace: str) -> None:
        """Enter a failure of one point, unless it is known from an earlier chunk."""
        with explained(self.path):
            self.connection.execute(
                "INSERT INTO failures VALUES (?, ?, ?, ?, ?) ON CONFLICT (point) DO UPDATE SET chunk = "
                "excluded.chunk, kind = excluded.kind, error = excluded.error, trace = excluded.trace "
                "WHERE excluded.chunk < chunk",
                (point, chunk, kind, error, trace),
            )


@lru_cache(4096)
def _truths(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


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
    if missing := set(TABLES) - _tables(connection):
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
