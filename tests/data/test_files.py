from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from channels.errors import InputError
from semcom.data.files import choose_columns, inside, member, read_csv, read_json, texts, whole
from tests.data.writing import picture


@pytest.mark.parametrize(
    "name", ["../secret.png", "a/../../secret.png", "C:\\secret.png", "", " ", "a\0b", 7, None]
)
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: object) -> None:
    picture(tmp_path / "secret.png")
    folder = tmp_path / "data"
    picture(folder / "a" / "good.png")
    with pytest.raises(InputError, match=r"row 3.*(leaves the folder|not a file name)"):
        inside(folder, name, "row 3")


def test_an_absolute_path_is_refused_even_into_the_folder(tmp_path: Path) -> None:
    path = picture(tmp_path / "good.png")
    with pytest.raises(InputError, match="leaves the folder"):
        inside(tmp_path, str(path), "row 1")


def test_a_symbolic_link_may_stay_inside_but_not_lead_out(tmp_path: Path) -> None:
    secret = picture(tmp_path / "secret.png")
    good = picture(tmp_path / "data" / "good.png")
    (tmp_path / "data" / "out.png").symlink_to(secret)
    (tmp_path / "data" / "in.png").symlink_to(good)
    (tmp_path / "data" / "loop.png").symlink_to(tmp_path / "data" / "loop.png")
    assert inside(tmp_path / "data", "in.png", "row 1") == good.resolve()
    with pytest.raises(InputError, match="leaves the folder"):
        inside(tmp_path / "data", "out.png", "row 1")
    with pytest.raises(InputError, match="row 2"):
        inside(tmp_path / "data", "loop.png", "row 2")


def test_a_missing_file_and_a_too_long_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file 'gone.png'"):
        inside(tmp_path, "gone.png", "row 1")
    with pytest.raises(InputError, match="row 1"):
        inside(tmp_path, "x" * 10_000, "row 1")


def test_broken_json_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[1,\n2,\n{"a" 3}]')
    with pytest.raises(InputError, match=r"x\.json.*line 3, column 6"):
        read_json(path)
    path.write_bytes(b'["ok",\n"\xff\xfe"]')
    with pytest.raises(InputError, match=r"x\.json: line 2 is not UTF-8"):
        read_json(path)
    path.write_text("[" * 200_000)
    with pytest.raises(InputError, match=r"x\.json"):
        read_json(path)
    with pytest.raises(InputError, match="cannot read"):
        read_json(tmp_path / "gone.json")


def test_csv_quotes_byte_order_mark_and_broken_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'\xef\xbb\xbffile, caption\r\na.png,"a dog, two\r\nlines"\r\n\r\n')
    assert read_csv(path) == (["file", "caption"], [{"file": "a.png", "caption": "a dog, two\nlines"}])
    path.write_text("file,caption\na.png,one\nb.png,a dog, running\n")
    with pytest.raises(InputError, match=r"line 3 has 3 fields, the header has 2"):
        read_csv(path)
    path.write_text('file,caption\na.png,"never closed\n')
    with pytest.raises(InputError, match=r"x\.csv: line"):
        read_csv(path)
    path.write_text("file,label,label\n")
    with pytest.raises(InputError, match="'label' appears twice"):
        read_csv(path)


def test_texts_of_a_cell() -> None:
    for blank in (None, "", "  ", float("nan"), "nan", np.float64("nan"), [], [None, ""]):
        assert texts(blank, "label", "row 1") == []
    assert texts("  two  words ", "label", "") == ["two words"]
    assert texts(3, "label", "") == ["3"] == texts(3.0, "label", "") == texts(np.int64(3), "label", "")
    assert texts(True, "label", "") == ["true"]
    assert (
        texts(["a", ["b", None]], "caption", "") == ["a", "b"] == texts(np.array(["a", "b"]), "caption", "")
    )
    assert texts([{"answer": "red", "id": 1}], "answer", "") == ["red"]
    assert texts({"answer": ["red", "blue"]}, "answer", "") == ["red", "blue"]
    with pytest.raises(InputError, match=r"row 9: caption must be a text"):
        texts({"x": "y"}, "caption", "row 9")
    with pytest.raises(InputError, match="row 9"):
        texts(b"bytes", "caption", "row 9")


ROLES = ("file", "label", "caption", "question", "answer")


def test_columns_by_name_and_by_mapping() -> None:
    assert choose_columns(["file", "label", "x"], ROLES, None, "file", "t") == {
        "file": "file",
        "label": "label",
    }
    chosen = choose_columns(
        ["name", "label", "text"], ROLES, {"file": "name", "caption": "text"}, "file", "t"
    )
    assert chosen == {"file": "name", "label": "label", "caption": "text"}
    unused = choose_columns(["file", "label", "captions"], ROLES, {"caption": None}, "file", "t")
    assert unused == {"file": "file", "label": "label"}


@pytest.mark.parametrize(
    ("existing", "columns", "message"),
    [
        (["filename", "label"], None, r"no column 'file' \(for the file\).*It has: filename, label"),
        (["file", "captions"], None, r"no column 'caption'.*Did you mean 'captions'.*It has: file, captions"),
        (["file", "lable"], None, r"Did you mean 'lable'"),
        (["file", "x"], None, r"no column for a label, a caption or a question. It has: file, x"),
        (["file", "question"], None, r"both a question and an answer"),
        (["file", "label"], {"caption": "text"}, r"no column 'text' \(for the caption\)"),
        (
            ["file", "label"],
            {"captoin": "label"},
            r"unknown role in data.columns 'captoin'. Did you mean 'caption'",
        ),
        ([], None, r"It has: no columns"),
    ],
)
def test_missing_columns(existing: list[str], columns: dict[str, str | None] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_columns(existing, ROLES, columns, "file", "labels.csv")


def test_whole_numbers_and_members() -> None:
    assert whole("data.samples", np.int64(5), 1) == 5
    for value in (2.0, True, "3", None, float("nan")):
        with pytest.raises(InputError, match=r"data\.samples is .* whole number"):
            whole("data.samples", value, 1)
    with pytest.raises(InputError, match="from 8 to 4096"):
        whole("data.size", 4097, 8, 4096)
    with pytest.raises(InputError, match=r"images\[2\]: no field 'id'; it has: a, b"):
        member({"a": 1, "b": 2}, "id", int, "images[2]")
    with pytest.raises(InputError, match="cannot be '7'"):
        member({"id": "7"}, "id", int, "images[2]")
    with pytest.raises(InputError, match="found list"):
        member([1], "id", int, "images[2]")
