from __future__ import annotations

from pathlib import Path

import pytest

from channels.errors import InputError
from semcom.data import load, truths
from tests.data.writing import colour, picture, write_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture(tmp_path / "pets" / "a.png", (10, 0, 0))
    picture(tmp_path / "pets" / "sub" / "b.png", (20, 0, 0), (16, 10))
    picture(tmp_path / "pets" / "c.png", (30, 0, 0))
    return tmp_path / "pets"


TABLE = """file,label,caption,question,answer
a.png,cat,"a cat, asleep",is it a cat ?,yes
sub/b.png,dog,a dog runs,,
a.png,cat,the cat sleeps,how many cats ?,1
c.png,,,what color ?,dark red
c.png,nan,,what for ?,
"""


def test_csv_rows_of_one_image_add_up(folder: Path) -> None:
    (folder / "labels.csv").write_text(TABLE)
    data = load("folder", folder=str(folder))
    assert [s.id for s in truths(data)] == ["a.png", "sub/b.png", "c.png"]
    assert data.labels == ("cat", "dog")
    assert data.name == "folder/pets"
    a, b, c = (data[i] for i in range(3))
    assert a.captions == ("a cat, asleep", "the cat sleeps")
    assert [(q.text, q.answer, q.type) for q in a.questions] == [
        ("is it a cat ?", "yes", "yes/no"),
        ("how many cats ?", "1", "number"),
    ]
    assert a.questions[0].candidates == ("yes", "no")
    assert a.questions[1].candidates == ("1", "dark red")
    assert (b.label, b.questions, b.image.shape) == ("dog", (), (10, 16, 3))
    assert (c.label, c.captions) == (None, ())
    assert [q.answer for q in c.questions] == ["dark red"]
    assert [colour(s.image)[0] for s in (a, b, c)] == [10, 20, 30]


def test_json_lists_and_a_mapping_of_columns(folder: Path) -> None:
    rows = [
        {"path": "a.png", "label": 3, "texts": ["one", "two", None]},
        {"path": "c.png", "label": float("nan"), "question": "who ?", "answer": ["he", "she", "he"]},
    ]
    write_json(folder / "truth.json", rows)
    data = load(
        "folder", folder=str(folder), table="truth.json", columns={"file": "path", "caption": "texts"}
    )
    assert (data[0].label, data[0].captions) == ("3", ("one", "two"))
    assert data.labels == ("3",)
    question = data[1].questions[0]
    assert (question.answer, question.answers) == ("he", ("he", "she", "he"))


def test_several_questions_in_one_json_row(folder: Path) -> None:
    row = {"file": "a.png", "question": ["q1", "q2"], "answer": ["a1", "a2"]}
    write_json(folder / "labels.json", [row])
    assert [(q.text, q.answer) for q in load("folder", folder=str(folder))[0].questions] == [
        ("q1", "a1"),
        ("q2", "a2"),
    ]
    write_json(folder / "labels.json", [{**row, "answer": ["a1"]}])
    with pytest.raises(InputError, match=r"row 1: 2 questions need a list of 2 answers"):
        load("folder", folder=str(folder))


def test_subfolders_are_labels_without_a_table(tmp_path: Path) -> None:
    for label, red in (("dog", 1), ("cat", 2)):
        picture(tmp_path / label / "x.png", (red, 0, 0))
        (tmp_path / label / "notes.txt").write_text("no image")
    data = load("folder", folder=str(tmp_path))
    assert [(s.id, s.label) for s in truths(data)] == [("cat/x.png", "cat"), ("dog/x.png", "dog")]


def test_images_are_read_only_when_asked_for(folder: Path) -> None:
    (folder / "labels.csv").write_text(TABLE)
    data = load("folder", folder=str(folder), size=8)
    (folder / "a.png").write_bytes(b"no image")
    assert len(list(truths(data))) == 3
    assert data[1].image.shape == (8, 8, 3)
    with pytest.raises(InputError, match=r"'a\.png' is not an image"):
        data[0]
    with pytest.raises(IndexError):
        data[3]


def test_window_and_shuffle(folder: Path) -> None:
    (folder / "labels.csv").write_text(TABLE)

    def ids(**options: int) -> list[str]:
        return [s.id for s in truths(load("folder", folder=str(folder), **options))]

    assert ids(samples=1, offset=1) == ["sub/b.png"]
    assert load("folder", folder=str(folder), samples=1).labels == ("cat", "dog")
    orders = {tuple(ids(shuffle=seed)) for seed in range(30)}
    assert len(orders) == 6  # all orders of 3
    assert ids(shuffle=5) == ids(shuffle=5)
    assert ids(shuffle=5, samples=2) == ids(shuffle=5)[:2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 4}, r"data\.samples is 4 from data\.offset 0, but .*labels\.csv has 3 samples"),
        ({"offset": 3}, r"data\.offset is 3, but .* has 3 samples"),
        ({"samples": 0}, r"data\.samples is 0"),
        ({"samples": 1.5}, r"data\.samples is 1\.5"),
        ({"offset": -1}, r"data\.offset is -1"),
        ({"size": 2}, r"data\.size is 2"),
        ({"shuffle": -1}, r"data\.shuffle"),
        ({"candidates": -1}, r"data\.candidates is -1"),
        ({"table": "gone.csv"}, r"data\.table: there is no file 'gone\.csv'"),
        ({"table": "a.png"}, r"must be a \.csv or a \.json"),
        ({"tabel": "x"}, r"Did you mean 'table'"),
    ],
)
def test_wrong_options(folder: Path, options: dict[str, object], message: str) -> None:
    (folder / "labels.csv").write_text(TABLE)
    with pytest.raises(InputError, match=message):
        load("folder", folder=str(folder), **options)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "there are no samples in it"),
        ("file,label\n", "there are no samples in it"),
        ("file,label\n../a.png,x\n", "leaves the folder"),
        ("file,label\n,x\n", r"row 1: the file name is ''"),
        ("file,label\nz.png,x\n", r"row 1: there is no file 'z\.png'"),
        ("file,label\na.png,x\na.png,y\n", r"has the labels 'x' and 'y'"),
        ("image,label\na.png,x\n", r"no column 'file'.*It has: image, label"),
    ],
)
def test_wrong_tables(folder: Path, table: str, message: str) -> None:
    (folder / "labels.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        load("folder", folder=str(folder))


def test_wrong_folders(folder: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load("folder", folder=str(folder / "gone"))
    with pytest.raises(InputError, match="is a file"):
        load("folder", folder=str(folder / "a.png"))
    with pytest.raises(InputError, match="expected a list"):
        write_json(folder / "labels.json", {"file": "a.png"})
        load("folder", folder=str(folder))
    with pytest.raises(InputError, match="row 1 is int, not an object"):
        write_json(folder / "labels.json", [1])
        load("folder", folder=str(folder))
    (folder / "labels.csv").write_text(TABLE)
    with pytest.raises(InputError, match="choose one"):
        load("folder", folder=str(folder))
    with pytest.raises(InputError, match="neither"):
        (folder / "empty").mkdir()
        load("folder", folder=str(folder / "empty"))
    with pytest.raises(InputError, match=r"unknown data set 'foldr'. Did you mean 'folder'"):
        load("foldr")
