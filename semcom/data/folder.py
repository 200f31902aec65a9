"""A folder of images with a table of what is true of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from channels.errors import InputError
from semcom.data.files import choose_columns, existing_folder, inside, read_csv, read_json, texts
from semcom.data.records import Record, Records, close, read_questions, window
from semcom.data.registry import DATASETS

ROLES = ("file", "label", "caption", "question", "answer", "type")
SUFFIXES = (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


@DATASETS.register("folder", source="images and a CSV or JSON table")
class Folder(Records):
    """Images of a folder with labels, captions or questions from a CSV or JSON table.

    The table has the columns ``file`` (relative to the folder) and any of ``label``, ``caption``,
    ``question`` with ``answer``, and ``type`` (of the question). An image may have several rows: their
    captions and questions add up. JSON is a list of such objects, in which a caption or an answer may be a
    list. Blank and NaN cells are left out.

    ``folder``: the path. ``table``: the table (default: labels.csv or labels.json in the folder; when there
    is none, the name of the subfolder that an image lies in is its label). ``columns``: role -> name of the
    column, None for unused. ``candidates``: closed answer set of open questions, see
    :func:`semcom.data.records.close`. ``samples``, ``offset``, ``shuffle`` (a seed), ``size`` (square,
    pixels): which images, and how large.
    """

    def __init__(
        self,
        folder: str,
        table: str | None = None,
        columns: Mapping[str, str | None] | None = None,
        candidates: int = 1000,
        samples: int | None = None,
        offset: int = 0,
        size: int | None = None,
        shuffle: int | None = None,
    ) -> None:
        root = existing_folder("data.folder", folder)
        path = _table(root, table)
        records = _by_subfolder(root) if path is None else _by_table(root, path, columns)
        labels = sorted({r.label for r in records if r.label is not None})
        records = close(records, candidates)
        chosen = [records[i] for i in window(len(records), samples, offset, shuffle, str(path or root))]
        super().__init__(f"folder/{root.resolve().name}", labels, chosen, size)


def _table(root: Path, table: str | None) -> Path | None:
    if table is not None:
        path = Path(table).expanduser()
        path = path if path.is_absolute() or path.is_file() else root / path
        if not path.is_file():
            raise InputError(f"data.table: there is no file {table!r}")
        if path.suffix.lower() not in (".csv", ".json"):
            raise InputError(f"data.table is {table!r}; it must be a .csv or a .json file")
        return path
    found = [root / name for name in ("labels.csv", "labels.json") if (root / name).is_file()]
    if len(found) > 1:
        raise InputError(f"{str(root)!r} has both labels.csv and labels.json; choose one with data.table")
    return found[0] if found else None


def _by_subfolder(root: Path) -> list[Record]:
    files = sorted(p for p in root.glob("*/*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{str(root)!r} has neither labels.csv, labels.json nor subfolders of images")
    names = [p.relative_to(root).as_posix() for p in files]
    return [Record(name, inside(root, name, str(root)), label=name.split("/")[0]) for name in names]


def _by_table(root: Path, path: Path, columns: Mapping[str, str | None] | None) -> list[Record]:
    header, rows = read_csv(path) if path.suffix.lower() == ".csv" else _json_rows(path)
    if not rows:
        raise InputError(f"{path}: there are no samples in it")
    column = choose_columns(header, ROLES, columns, "file", str(path))
    grouped: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for number, row in enumerate(rows, start=1):
        where = f"{path}: row {number}"
        file = row.get(column["file"])
        if not isinstance(file, str) or not file.strip():
            raise InputError(f"{where}: the file name is {file!r}")
        grouped[file.strip()].append((where, {role: row.get(name) for role, name in column.items()}))
    return [_record(root, file, cells) for file, cells in grouped.items()]


def _record(root: Path, file: str, rows: list[tuple[str, dict[str, Any]]]) -> Record:
    captions: list[str] = []
    labels: list[str] = []
    questions = []
    for where, cells in rows:
        captions += texts(cells.get("caption"), "caption", where)
        labels += texts(cells.get("label"), "label", where)
        questions += read_questions(cells.get("question"), cells.get("answer"), cells.get("type"), where)
    if len(set(labels)) > 1:
        raise InputError(
            f"{rows[-1][0]}: {file!r} has the labels {labels[0]!r} and {labels[-1]!r}; one is allowed"
        )
    return Record(
        id=file,
        image=inside(root, file, rows[0][0]),
        captions=tuple(dict.fromkeys(captions)),
        label=labels[0] if labels else None,
        questions=tuple(dict.fromkeys(questions)),
    )


def _json_rows(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    rows = read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected a list of objects, found {type(rows).__name__}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise InputError(f"{path}: row {number} is {type(row).__name__}, not an object")
    return list(dict.fromkeys(key for row in rows for key in row)), rows
