from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from channels.errors import InputError
from semcom.data import load, truths
from tests.data.writing import colour, picture, write_json


def official() -> dict[str, Any]:
    """The layout of captions_val2017.json, with three images."""
    return {
        "info": {"year": 2017},
        "licenses": [],
        "images": [
            {"license": 4, "file_name": f"{key:012d}.jpg", "height": 8, "width": 12, "id": key}
            for key in (397133, 37777, 5)
        ],
        "annotations": [
            {"image_id": 37777, "id": 1, "caption": "A kitchen\nwith an oven. "},
            {"image_id": 397133, "id": 2, "caption": "A man in a kitchen."},
            {"image_id": 37777, "id": 3, "caption": "The dining table."},
        ],
    }


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for key, red in ((397133, 100), (37777, 200)):
        picture(tmp_path / "val2017" / f"{key:012d}.jpg", (red, 0, 0))
    return tmp_path / "val2017"


def test_captions_of_an_image_are_grouped(tmp_path: Path, images: Path) -> None:
    path = write_json(tmp_path / "captions_val2017.json", official())
    data = load("coco-captions", annotations=str(path), images=str(images), size=16)
    assert data.name == "coco-captions/captions_val2017"
    assert data.labels == ()
    samples = [
        data[i] for i in range(len(data))
    ]  # the image without captions is left out, its file is missing
    assert [(s.id, s.captions) for s in samples] == [
        ("397133", ("A man in a kitchen.",)),
        ("37777", ("A kitchen with an oven.", "The dining table.")),
    ]
    assert samples[0].image.shape == (16, 16, 3)
    assert abs(colour(samples[1].image)[0] - 200) <= 3  # JPEG
    part = load("coco-captions", annotations=str(path), images=str(images), samples=1, offset=1)
    assert [s.id for s in truths(part)] == ["37777"]


def change(where: str, **fields: Any) -> dict[str, Any]:
    content = official()
    content[where][0] = {**content[where][0], **fields}
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected an object with the field 'images'"),
        ({"images": []}, "no field 'annotations'"),
        ({"images": [], "annotations": []}, "no samples"),
        (change("images", id="x"), r"images\[0\]: the field 'id' cannot be 'x'"),
        (change("images", file_name="../../etc/passwd"), r"image 397133: .*leaves the folder"),
        (change("images", file_name="gone.jpg"), r"no file 'gone\.jpg'"),
        (change("annotations", image_id=1), r"annotations\[0\]: there is no image with the id 1"),
        (change("annotations", caption=None), r"the field 'caption' cannot be None"),
        ({**official(), "annotations": [7]}, r"annotations\[0\].*found int"),
    ],
)
def test_wrong_annotations(tmp_path: Path, images: Path, content: Any, message: str) -> None:
    path = write_json(tmp_path / "captions.json", content)
    with pytest.raises(InputError, match=message):
        load("coco-captions", annotations=str(path), images=str(images))
