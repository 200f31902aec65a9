from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from channels.errors import InputError
from semcom.data import load
from tests.data.writing import picture, write_json

Content = dict[str, Any]


def official() -> tuple[Content, Content]:
    """The layouts of the two files of VQAv2, with three questions about two images."""
    asked = [
        (
            262148000,
            262148,
            "Where is he looking?",
            "other",
            "where is the",
            ["down"] * 8 + ["at table", "table"],
        ),
        (262148001, 262148, "Is he up?", "yes/no", "is he", ["yes"] * 7 + ["no"] * 3),
        (393225000, 393225, "How many?", "number", "how many", ["2"] * 10),
    ]
    questions = {
        "info": {},
        "data_type": "mscoco",
        "data_subtype": "val2014",
        "questions": [{"image_id": i, "question": text, "question_id": q} for q, i, text, *_ in asked],
    }
    annotations = {
        "annotations": [
            {
                "question_type": kind,
                "multiple_choice_answer": said[0],
                "answers": [
                    {"answer": a, "answer_confidence": "yes", "answer_id": n + 1} for n, a in enumerate(said)
                ],
                "image_id": i,
                "answer_type": answer_type,
                "question_id": q,
            }
            for q, i, _, answer_type, kind, said in reversed(asked)
        ]
    }
    return questions, annotations


def write(folder: Path, questions: Any, annotations: Any) -> dict[str, str]:
    for key in (262148, 393225):
        picture(folder / "val2014" / f"COCO_val2014_{key:012d}.jpg")
    return {
        "questions": str(write_json(folder / "v2_OpenEnded_mscoco_val2014_questions.json", questions)),
        "annotations": str(write_json(folder / "v2_mscoco_val2014_annotations.json", annotations)),
        "images": str(folder / "val2014"),
    }


def test_questions_with_ten_answers(tmp_path: Path) -> None:
    data = load("vqav2", **write(tmp_path, *official()))
    assert data.name == "vqav2/val2014"
    assert [s.id for s in (data[0], data[1])] == ["262148", "393225"]
    where, up = data[0].questions
    assert where.text == "Where is he looking?"
    assert (where.answer, where.type) == ("down", "other")
    assert where.answers == ("down",) * 8 + ("at table", "table")
    assert where.candidates == ("2", "down")
    assert (up.type, up.candidates, up.answer) == ("yes/no", ("yes", "no"), "yes")
    assert data[1].questions[0].type == "number"
    assert data[1].image.shape == (8, 12, 3)


def test_types_candidates_and_samples(tmp_path: Path) -> None:
    paths = write(tmp_path, *official())
    by_question = load("vqav2", **paths, types="question")
    assert [q.type for q in by_question[0].questions] == ["where is the", "is he"]
    assert by_question[0].questions[1].candidates == ("yes", "no")
    free = load("vqav2", **paths, candidates=0)
    assert all(q.candidates == () for q in free[0].questions)
    one = load("vqav2", **paths, candidates=1, samples=1, offset=1)
    assert len(one) == 1
    assert one[0].questions[0].candidates == ("2",)  # a tie of two answers, in the order of the alphabet


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda q, a: q.pop("data_subtype"), "no field 'data_subtype'"),
        (lambda q, a: q.update(data_subtype="/../../../x"), r"image 262148: .*leaves the folder"),
        (lambda q, a: q.update(data_subtype="train2014"), r"no file 'COCO_train2014_000000262148\.jpg'"),
        (lambda q, a: q.update(questions=[]), "no samples"),
        (lambda q, a: a["annotations"].pop(), "has no annotation of the question 262148000"),
        (
            lambda q, a: a["annotations"][0].update(answers=[]),
            r"annotations\[0\]: the list of answers is empty",
        ),
        (lambda q, a: a["annotations"][1].pop("answer_type"), r"annotations\[1\]: no field 'answer_type'"),
        (
            lambda q, a: q["questions"][0].update(question=3),
            r"questions\[0\]: the field 'question' cannot be 3",
        ),
    ],
)
def test_wrong_files(tmp_path: Path, break_it: Any, message: str) -> None:
    questions, annotations = official()
    break_it(questions, annotations)
    with pytest.raises(InputError, match=message):
        load("vqav2", **write(tmp_path, questions, annotations))


def test_wrong_options(tmp_path: Path) -> None:
    paths = write(tmp_path, *official())
    with pytest.raises(InputError, match=r"'questions'. Did you mean 'question'"):
        load("vqav2", **paths, types="questions")
    with pytest.raises(InputError, match="does not exist"):
        load("vqav2", **{**paths, "images": str(tmp_path / "gone")})
    with pytest.raises(InputError, match="cannot read"):
        load("vqav2", **{**paths, "annotations": str(tmp_path / "gone.json")})
