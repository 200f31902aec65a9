"""What every task does with receptions that cannot be trusted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from channels.errors import InputError
from semcom.tasks import TASKS, Task, create
from semcom.types import KINDS, Question, Recovered
from tests.tasks.fakes import DIM, FakeModels, ListData, image_of, sample_of, tokens_of

QUESTIONS = [Question("what color ?", "red", "color", ("blue", "red")), Question("what ?", "star", "shape")]
DATA = ListData(
    [sample_of(i, label, QUESTIONS) for i, label in enumerate(("red", "blue", "green"))], ("blue", "red")
)
GOOD = {
    "image": Recovered(image=image_of(1)),
    "text": Recovered(text="a red thing"),
    "embedding": Recovered(embedding=np.ones(DIM, dtype=np.float32)),
    "tokens": Recovered(tokens=tokens_of(1)),
    "answer": Recovered(answer="red"),
    "nothing": Recovered(),
}
BAD = [
    Recovered(text=""),
    Recovered(text=" \n\t"),
    Recovered(answer=" "),
    Recovered(image=np.zeros((0, 4, 3), dtype=np.uint8)),
    Recovered(image=np.zeros((4, 4), dtype=np.uint8)),
    Recovered(image=np.zeros((4, 4, 4), dtype=np.uint8)),
    Recovered(image=np.zeros((4, 4, 3), dtype=np.float32)),  # type: ignore[arg-type]
    Recovered(embedding=np.zeros(DIM, dtype=np.float32)),
    Recovered(embedding=np.full(DIM, np.nan, dtype=np.float32)),
    Recovered(embedding=np.full(DIM, np.inf, dtype=np.float32)),
    Recovered(embedding=np.ones(DIM + 1, dtype=np.float32)),
    Recovered(embedding=np.ones((1, DIM), dtype=np.float32)),
    Recovered(tokens=np.ones((0, 3), dtype=np.float32)),
    Recovered(tokens=np.ones((5, 4), dtype=np.float32)),
    Recovered(tokens=np.array([[1, 2, np.nan]], dtype=np.float32)),
    Recovered(tokens=np.array([["a", "b", "c"]])),
]


def tasks() -> list[Task]:
    shipped = [
        n for n, entry in TASKS.items() if entry.make.__module__.startswith("semcom.")
    ]  # not other tests' fakes
    return [create(name, FakeModels(), DATA) for name in shipped]


def test_the_kinds_that_each_task_accepts() -> None:
    accepted = {task.name: set(task.accepts) for task in tasks()}
    assert accepted == {
        "classification": set(KINDS),
        "retrieval": set(KINDS),
        "captioning": {"image", "tokens", "text", "nothing"},
        "vqa": {"image", "tokens", "text", "answer", "nothing"},
    }


@pytest.mark.parametrize("task", tasks(), ids=lambda t: t.name)
def test_accepted_kinds_are_answered_and_others_are_not_applicable(task: Task) -> None:
    query = task.queries(DATA[0])[0]
    assert (query.task, query.sample) == (task.name, "s0")
    for kind, recovered in GOOD.items():
        assert recovered.kind == kind
        if kind in task.accepts:
            (answer,) = task.answer([recovered], [query])
            assert 0.0 <= task.score(answer, query) <= 1.0
        else:
            with pytest.raises(InputError, match=f"'{task.name}' is not applicable to a received {kind}"):
                task.answer([recovered], [query])


@pytest.mark.parametrize("task", tasks(), ids=lambda t: t.name)
def test_what_cannot_be_used_counts_as_nothing(task: Task) -> None:
    query = task.queries(DATA[0])[0]
    blind = task.answer([Recovered()], [query])
    for recovered in BAD:
        if recovered.kind in task.accepts:
            assert task.answer([recovered], [query]) == blind, recovered


@pytest.mark.parametrize("task", tasks(), ids=lambda t: t.name)
def test_a_mixed_batch_gives_what_single_calls_give(task: Task) -> None:
    usable = [r for r in (*GOOD.values(), *BAD) if r.kind in task.accepts]
    queries = [q for s in DATA.samples for q in task.queries(s)]
    pairs = [(r, q) for q in queries for r in usable]
    together = task.answer([r for r, _ in pairs], [q for _, q in pairs])
    assert together == [task.answer([r], [q])[0] for r, q in pairs]
    assert task.answer([], []) == []


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=60), hnp.arrays(np.float32, DIM))
def test_any_text_and_embedding_is_survived(text: str, embedding: np.ndarray) -> None:
    for task in tasks():
        for recovered in (Recovered(text=text), Recovered(answer=text), Recovered(embedding=embedding)):
            if recovered.kind in task.accepts:
                query = task.queries(DATA[0])[0]
                (answer,) = task.answer([recovered], [query])
                answer.encode()
                assert 0.0 <= task.score(answer, query) <= 1.0


def test_lone_surrogates_and_endless_texts_are_mended() -> None:
    task = create("captioning", FakeModels(), DATA)
    query = task.queries(DATA[0])[0]
    assert task.answer([Recovered(text="red \udcff")], [query]) == ["red ?"]
    assert len(task.answer([Recovered(text="a" * 10**6)], [query])[0]) == 4096


def test_one_batch_for_each_kind() -> None:
    models = FakeModels()
    task = create("vqa", models, DATA)
    queries = [q for s in DATA.samples for q in task.queries(s)]
    task.answer([GOOD["image"], GOOD["text"]] * 3, queries)
    assert models.generative.calls == [3, 3]
    with pytest.raises(ValueError, match="zip"):
        task.answer([GOOD["image"]], queries)
