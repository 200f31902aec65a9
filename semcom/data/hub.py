"""Any Hugging Face data set, by name or by path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from channels.errors import InputError
from semcom.data.files import choose_columns, inside, texts
from semcom.data.records import Record, Records, close, read_questions, window
from semcom.data.registry import DATASETS

ROLES = ("image", "caption", "label", "question", "answer", "type")
READERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}


@DATASETS.register("hub", source="huggingface.co/datasets, or a local copy")
class Hub(Records):
    """Any Hugging Face data set with a column of images: one row, one sample.

    ``dataset``: a name on the hub, a folder (parquet files, an image folder, or one written by
    ``save_to_disk``) or a file such as test.parquet. ``config``, ``split``: as for ``datasets.load_dataset``.
    ``columns``: role -> column for the roles image, caption, label, question, answer, type (default: the
    column of the role's name; None: unused). A caption may be a list; an answer may be a list, one from each
    person asked. Class numbers become class names. No code of a data set is ever run. ``candidates``,
    ``samples``, ``offset``, ``shuffle``, ``size``: as for ``folder``.
    """

    def __init__(
        self,
        dataset: str,
        split: str = "test",
        config: str | None = None,
        columns: Mapping[str, str | None] | None = None,
        candidates: int = 1000,
        samples: int | None = None,
        offset: int = 0,
        size: int | None = None,
        shuffle: int | None = None,
    ) -> None:
        import datasets

        table = _load(dataset, config, split)
        where = f"{dataset} ({split})"
        column = choose_columns(table.column_names, ROLES, columns, "image", where)
        rows = window(len(table), samples, offset, shuffle, where)
        names = _class_names(table, column.get("label"))
        try:
            table = table.cast_column(column["image"], datasets.Image(decode=False))
        except Exception as error:  # pyarrow's errors have no common base with those of datasets
            raise InputError(
                f"{where}: the column {column['image']!r} does not hold images ({error})"
            ) from error
        told = {role: name for role, name in column.items() if role != "image"}
        text_table = table.select_columns(list(told.values()))
        every = [  # all rows, for the answer set; their texts only
            _record(i, {role: row[name] for role, name in told.items()}, names, f"{where}: row {i}")
            for i, row in enumerate(text_table)
        ]
        labels = names or sorted({r.label for r in every if r.label is not None})
        every = close(every, candidates)
        super().__init__(f"hub/{Path(dataset).name}/{split}", labels, [every[i] for i in rows], size)
        self._files = table.select(rows).select_columns([column["image"]])
        self._column = column["image"]
        path = Path(dataset).expanduser()
        self._folders = (path.parent if path.is_file() else path, Path(datasets.config.HF_CACHE_HOME))

    def source(self, index: int) -> Path | bytes:
        """The image as bytes, or as a path inside the data set's own folder or the hub's cache."""
        cell = self._files[index][self._column]
        where = f"{self.name}: row {self.records[index].id}"
        if cell is None:
            raise InputError(f"{where} has no image")
        if cell["bytes"] is not None:
            return bytes(cell["bytes"])
        name = str(cell["path"] or "").replace("\0", "")
        path = Path(os.path.realpath(name))
        for folder in (folder.resolve() for folder in self._folders if folder.is_dir()):
            if path.is_relative_to(folder):
                return inside(folder, path.relative_to(folder).as_posix(), where)
        raise InputError(f"{where}: the image path {name!r} leaves the data set's folder")


def _load(name: str, config: str | None, split: str) -> Any:
    import datasets

    path = Path(name).expanduser()
    try:
        if path.is_file():
            if path.suffix.lower() not in READERS:
                raise InputError(f"data.dataset is {name!r}; a file must be one of: {', '.join(READERS)}")
            return datasets.load_dataset(
                READERS[path.suffix.lower()], data_files={split: str(path)}, split=split
            )
        if any((path / mark).is_file() for mark in ("state.json", "dataset_dict.json")):
            stored = datasets.load_from_disk(str(path))
            if isinstance(stored, datasets.Dataset):
                return stored
            if split not in stored:
                raise InputError(f"data.split is {split!r}; {name!r} has: {', '.join(stored)}")
            return stored[split]
        return datasets.load_dataset(str(path) if path.is_dir() else name, config, split=split)
    except InputError:
        raise
    except ConnectionError as error:
        raise InputError(
            f"data set {name!r} is not on this machine and the hub cannot be reached. Download it "
            "where there is a network and give the path of its folder or parquet file as data.dataset."
        ) from error
    except Exception as error:  # datasets passes on whatever pyarrow, fsspec and its own builders raise
        raise InputError(f"data set {name!r}, split {split!r}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    cause = error.__cause__ if type(error).__name__ == "DatasetGenerationError" and error.__cause__ else error
    return str(cause).strip().split("\n")[0] or type(cause).__name__


def _class_names(table: Any, column: str | None) -> list[str]:
    feature = table.features.get(column) if column else None
    return list(getattr(feature, "names", None) or [])


def _record(index: int, cells: dict[str, Any], names: list[str], where: str) -> Record:
    label: Any = cells.get("label")
    if names and label is not None:
        label = names[label] if 0 <= label < len(names) else None  # -1 marks an unlabelled row
    labels = texts(label, "label", where)
    if len(labels) > 1:
        raise InputError(f"{where}: one label is allowed, not {labels!r:.80}")
    return Record(
        id=str(index),
        captions=tuple(dict.fromkeys(texts(cells.get("caption"), "caption", where))),
        label=labels[0] if labels else None,
        questions=tuple(read_questions(cells.get("question"), cells.get("answer"), cells.get("type"), where)),
    )
