from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from channels.errors import InputError
from semcom.data import load, truths
from tests.data.writing import colour, picture, png_bytes, write_json


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_CACHE_HOME", str(tmp_path_factory.mktemp("home")))


def table(images: list[bytes | None] | None = None) -> datasets.Dataset:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog", "eel"]),
            "texts": datasets.List(datasets.Value("string")),
            "question": datasets.Value("string"),
            "answer": datasets.List({"answer": datasets.Value("string")}),
        }
    )
    images = images or [png_bytes((red, 0, 0)) for red in (10, 20, 30)]
    columns = {
        "image": [None if i is None else {"bytes": i, "path": None} for i in images],
        "label": [2, 0, None],
        "texts": [["an eel", "it swims"], ["a cat", ""], []],
        "question": ["what ?", None, "is it ?"],
        "answer": [[{"answer": a} for a in ("eel", "fish", "eel")], [], [{"answer": "yes"}]],
    }
    return datasets.Dataset.from_dict(columns, features=features)


COLUMNS = {"caption": "texts"}


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    path = tmp_path / "pets" / "test.parquet"
    path.parent.mkdir()
    table().to_parquet(path)
    return path


def check(data: Any) -> None:
    eel, cat, blank = (data[i] for i in range(3))
    assert data.labels == ("cat", "dog", "eel")
    assert [colour(s.image)[0] for s in (eel, cat, blank)] == [10, 20, 30]
    assert (eel.label, eel.captions) == ("eel", ("an eel", "it swims"))
    assert eel.questions[0].answer == "eel"
    assert eel.questions[0].answers == ("eel", "fish", "eel")
    assert eel.questions[0].candidates == ("eel",)
    assert (cat.label, cat.captions, cat.questions) == ("cat", ("a cat",), ())
    assert (blank.label, blank.captions) == (None, ())
    assert blank.questions[0].candidates == ("yes", "no")


def test_a_parquet_file_and_its_folder(parquet: Path) -> None:
    check(load("hub", dataset=str(parquet), columns=COLUMNS))
    data = load("hub", dataset=str(parquet.parent), columns=COLUMNS)
    check(data)
    assert data.name == "hub/pets/test"


def test_a_folder_written_by_save_to_disk(tmp_path: Path) -> None:
    table().save_to_disk(tmp_path / "one")
    check(load("hub", dataset=str(tmp_path / "one"), columns=COLUMNS))
    datasets.DatasetDict({"val": table()}).save_to_disk(tmp_path / "more")
    check(load("hub", dataset=str(tmp_path / "more"), split="val", columns=COLUMNS))
    with pytest.raises(InputError, match=r"data\.split is 'test'; .* has: val"):
        load("hub", dataset=str(tmp_path / "more"), columns=COLUMNS)


def test_an_image_folder(tmp_path: Path) -> None:
    for label, red in (("cat", 40), ("dog", 50)):
        picture(tmp_path / "test" / label / "x.png", (red, 0, 0))
    data = load("hub", dataset=str(tmp_path), size=8)
    assert [(s.label, colour(s.image)[0], s.image.shape) for s in (data[0], data[1])] == [
        ("cat", 40, (8, 8, 3)),
        ("dog", 50, (8, 8, 3)),
    ]


def test_a_window_keeps_the_rows_together(parquet: Path) -> None:
    data = load("hub", dataset=str(parquet), columns=COLUMNS, samples=1, offset=1)
    assert [s.id for s in truths(data)] == ["1"]
    assert colour(data[0].image)[0] == 20
    assert data.labels == ("cat", "dog", "eel")
    shuffled = load("hub", dataset=str(parquet), columns=COLUMNS, shuffle=3)
    assert [colour(shuffled[i].image)[0] for i in range(3)] == [
        10 * (int(s.id) + 1) for s in truths(shuffled)
    ]


def test_string_labels(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    rows = {"image": [str(tmp_path / "a.png")] * 2, "label": ["b", "a"]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "x.parquet")
    data = load("hub", dataset=str(tmp_path / "x.parquet"))
    assert data.labels == ("a", "b")
    assert data[0].label == "b"


def test_an_image_path_outside_the_data_is_refused(tmp_path: Path) -> None:
    secret = picture(tmp_path / "secret.png")
    features = datasets.Features(
        {
            "image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
            "label": datasets.Value("string"),
        }
    )
    rows = {
        "image": [{"bytes": None, "path": str(secret)}, None, {"bytes": None, "path": "a\0b"}],
        "label": ["a", "b", "c"],
    }
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "data" / "test.parquet")
    data = load("hub", dataset=str(tmp_path / "data"))
    with pytest.raises(InputError, match=r"row 0: the image path .* leaves the data set's folder"):
        data[0]
    for row in (1, 2):
        with pytest.raises(InputError, match=f"row {row}"):
            data[row]


def test_a_corrupt_image_names_its_row(tmp_path: Path) -> None:
    table([png_bytes((1, 2, 3))[:30], None, b"no image"]).to_parquet(tmp_path / "x.parquet")
    data = load("hub", dataset=str(tmp_path / "x.parquet"), columns=COLUMNS)
    for row, message in enumerate(["'0'", "row 1 has no image", "'2' is not an image"]):
        with pytest.raises(InputError, match=message):
            data[row]


def test_wrong_names_splits_and_columns(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"split 'tset': .*test"):
        load("hub", dataset=str(parquet.parent), split="tset", columns=COLUMNS)
    with pytest.raises(
        InputError, match=r"no column 'txts' .*Did you mean 'texts'.*It has: image, label, texts"
    ):
        load("hub", dataset=str(parquet), columns={"caption": "txts"})
    with pytest.raises(InputError, match=r"'label' does not hold images"):
        load("hub", dataset=str(parquet), columns={"image": "label", "label": None, **COLUMNS})
    with pytest.raises(InputError, match=r"must be one of: \.parquet"):
        load("hub", dataset=str(picture(tmp_path / "a.png")))
    with pytest.raises(InputError, match=r"broken\.parquet"):
        (tmp_path / "broken.parquet").write_bytes(b"PAR1 nonsense")
        load("hub", dataset=str(tmp_path / "broken.parquet"))
    with pytest.raises(InputError, match="data set "):
        load("hub", dataset=str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"x\.json.* no data"):
        load("hub", dataset=str(write_json(tmp_path / "x.json", [])), columns=COLUMNS)

    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach 'someone/pets' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(InputError, match=r"'someone/pets' is not on this machine.*give the path"):
        load("hub", dataset="someone/pets")


def test_code_of_a_data_set_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(InputError, match="evil"):
        load("hub", dataset=str(tmp_path / "evil"))
    with pytest.raises(InputError, match="must be one of"):
        load("hub", dataset=str(tmp_path / "evil" / "evil.py"))
    assert not (tmp_path / "ran").exists()
