"""Reading what other people wrote: JSON and CSV files, paths inside a folder, values of a table.

Everything wrong with a file is an :class:`~channels.errors.InputError` that names the file and the place in
it.
"""

from __future__ import annotations

import csv
import difflib
import json
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from channels.errors import InputError, unknown


def whole(field: str, value: Any, low: int, high: int | None = None) -> int:
    """``value`` if it is a whole number of at least ``low`` (and at most ``high``)."""
    wanted = f"at least {low}" if high is None else f"from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputError(f"{field} is {value!r}; it must be a whole number, {wanted}")
    if value < low or (high is not None and value > high):
        raise InputError(f"{field} is {value}; it must be {wanted}")
    return int(value)


def existing_folder(field: str, path: str | Path) -> Path:
    """The folder ``path``, which must exist."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.is_file() else "does not exist"
        raise InputError(f"{field}: {str(path)!r} {what}")
    return folder


def inside(folder: Path, name: Any, where: str) -> Path:
    """The path of the existing file ``name`` in ``folder``; names that lead out of the folder are refused.

    ``name`` comes from a data file and is not trusted: it must be relative, and after ``..`` and symbolic
    links are resolved it must still lie in ``folder``.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InputError(f"{where}: {name!r} is not a file name")
    try:
        path = (folder / name).resolve()
        relative = not (PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive)
        if not relative or not path.is_relative_to(folder.resolve()):
            raise InputError(f"{where}: the path {name!r} leaves the folder {str(folder)!r}")
        if not path.is_file():
            raise InputError(f"{where}: there is no file {name!r} in {str(folder)!r}")
    except (OSError, RuntimeError) as error:  # a name too long for the system; a loop of symbolic links
        raise InputError(f"{where}: {name!r} is not a usable file name ({error})") from error
    return path


def read_text(path: Path) -> str:
    """The text of a UTF-8 file (a byte order mark is dropped)."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: line {line} is not UTF-8 text") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except RecursionError as error:
        raise InputError(f"{path}: the JSON is nested too deeply") from error


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The header and the rows of a comma-separated file."""
    reader = csv.reader(read_text(path).splitlines(keepends=True), strict=True)
    rows: list[dict[str, str]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        repeated = {name for name in header if header.count(name) > 1}
        if repeated:
            raise InputError(f"{path}: the column {sorted(repeated)[0]!r} appears twice")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{path}: line {reader.line_num} has {len(cells)} fields, the header has {len(header)} "
                    "(put quotes around a text that contains a comma)"
                )
            rows.append(dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: {error}") from error
    return header, rows


def member(record: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """``record[key]``, which must exist and be of ``kind``."""
    if not isinstance(record, Mapping):
        raise InputError(f"{where}: expected an object with the field {key!r}, found {type(record).__name__}")
    if key not in record:
        raise InputError(f"{where}: no field {key!r}; it has: {', '.join(map(str, record)) or 'nothing'}")
    value = record[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{where}: the field {key!r} cannot be {value!r:.80}")
    return value


def texts(value: Any, key: str, where: str) -> list[str]:
    """A cell as a list of texts: blanks, None and NaN are left out, numbers written out, lists flattened.

    A mapping stands for its member ``key``, as in ``[{"answer": "red"}, {"answer": "dark red"}]``.
    """
    if value is None or (isinstance(value, numbers.Real) and math.isnan(value)):
        return []
    if isinstance(value, str):
        text = " ".join(value.split())
        return [text] if text and text not in ("nan", "NaN") else []
    if isinstance(value, numbers.Real):
        return [str(value).lower() if isinstance(value, bool) else f"{value:.15g}"]
    if isinstance(value, Mapping) and key in value:
        return texts(value[key], key, where)
    if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
        return [text for item in value for text in texts(item, key, where)]
    raise InputError(f"{where}: {key} must be a text or a list of texts, not {value!r:.80}")


def choose_columns(
    existing: Sequence[str],
    roles: Sequence[str],
    columns: Mapping[str, str | None] | None,
    required: str,
    where: str,
) -> dict[str, str]:
    """Which existing column plays which role.

    A role is played by the column that ``columns`` names (None: by no column), or else by the column of its
    own name. A column whose name nearly is a role, such as ``captions``, is an error rather than silently
    unused.
    """
    listing = f"It has: {', '.join(existing) or 'no columns'}."
    asked = dict(columns or {})
    chosen: dict[str, str] = {}
    for role in asked:
        if role not in roles:
            raise unknown("role in data.columns", role, roles)
    for role in roles:
        name = asked.get(role, role)
        if name is None:
            continue
        if name in existing:
            chosen[role] = name
            continue
        near = difflib.get_close_matches(str(name), [c for c in existing if c not in roles], n=1, cutoff=0.75)
        hint = f" Did you mean {near[0]!r}? Then set data.columns: {{{role}: {near[0]}}}." if near else ""
        if role in asked or role == required or near:
            raise InputError(f"{where}: no column {name!r} (for the {role}).{hint} {listing}")
    if ("question" in chosen) != ("answer" in chosen):
        raise InputError(f"{where}: questions need both a question and an answer column. {listing}")
    if not chosen.keys() & {"label", "caption", "question"}:
        raise InputError(f"{where}: no column for a label, a caption or a question. {listing}")
    return chosen
