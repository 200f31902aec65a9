from __future__ import annotations

import pytest

from channels.errors import InputError
from semcom.tasks import create
from semcom.types import Question, Recovered
from tests.tasks.fakes import FakeModels, ListData, image_of, sample_of, tokens_of, world

CLOSED = Question("what color ?", "red", "color", ("blue", "red", "green"))
OPEN = Question("what is it ?", "the star", "what")
HUMAN = Question("how many ?", "2", "number", ("1", "2"), answers=("2",) * 3 + ("1",) * 7)


def test_questions_become_queries_and_answers() -> None:
    data = ListData([sample_of(i, questions=[CLOSED, OPEN]) for i in range(3)])
    task = create("vqa", FakeModels(), data)
    queries = task.queries(data[0])
    assert [(q.text, q.type, q.candidates, q.truth) for q in queries] == [
        ("what color ?", "color", ("blue", "red", "green"), ("red",)),
        ("what is it ?", "what", (), ("the star",)),
    ]
    received = [
        Recovered(image=image_of(0)),
        Recovered(tokens=tokens_of(1)),
        Recovered(text="something green"),
        Recovered(answer="red"),
        Recovered(),
    ]
    assert task.answer(received, [queries[0]] * 5) == ["red", "blue", "green", "red", "blue"]
    assert task.binary
    assert task.metric == "accuracy"


def test_closed_answers_to_the_letter_and_free_ones_normalised() -> None:
    mark = Question("what mark ?", "none", "mark", ("none", "0", "bar"))
    task = create("vqa", FakeModels(), ListData([sample_of(0, questions=[mark, OPEN])]))
    closed, free = task.queries(sample_of(0, questions=[mark, OPEN]))
    assert [task.score(a, closed) for a in ("none", "0", "bar", "None")] == [1.0, 0.0, 0.0, 0.0]
    assert [task.score(a, free) for a in ("the star", "Star.", "A star", "stars", "")] == [
        1.0,
        1.0,
        1.0,
        0.0,
        0.0,
    ]


def test_ten_answers_are_scored_softly() -> None:
    data = ListData([sample_of(0), sample_of(1, questions=[HUMAN])])
    task = create("vqa", FakeModels(), data)
    assert not task.binary
    assert task.metric == "VQA accuracy"
    (query,) = task.queries(data[1])
    assert task.score("1", query) == 1.0
    assert task.score("two", query) == pytest.approx((3 * 2 / 3 + 7 * 1) / 10)
    assert task.score("3", query) == 0.0
    assert task.queries(data[0]) == []


def test_data_without_questions() -> None:
    with pytest.raises(InputError, match="data set 'listed' has no questions"):
        create("vqa", FakeModels(), world())
