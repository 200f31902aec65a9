from __future__ import annotations

import numpy as np
import pytest

from channels.errors import InputError
from semcom.tasks import create
from semcom.types import Recovered
from tests.tasks.fakes import BagOfWords, FakeModels, ListData, image_of, sample_of, tokens_of

LABELS = ("red star", "blue circle", "green cross")
DATA = ListData([*(sample_of(i, label) for i, label in enumerate(LABELS)), sample_of(3)], LABELS)


def test_every_kind_finds_the_class() -> None:
    models = FakeModels()
    task = create("classification", models, DATA)
    queries = [q for s in DATA.samples for q in task.queries(s)]
    assert [q.truth for q in queries] == [(label,) for label in LABELS]  # the fourth has no label
    embeddings = BagOfWords().embed_images([image_of(i) for i in range(3)]) * 7
    for kind in ("image", "embedding", "tokens", "text", "answer"):
        recovered = [
            {
                "image": Recovered(image=image_of(i)),
                "embedding": Recovered(embedding=embeddings[i]),
                "tokens": Recovered(tokens=tokens_of(i)),
                "text": Recovered(text=f"i see a {LABELS[i]}"),
                "answer": Recovered(answer=LABELS[i]),
            }[kind]
            for i in range(3)
        ]
        answers = task.answer(recovered, queries)
        assert answers == list(LABELS), kind
        assert [task.score(a, q) for a, q in zip(answers, queries, strict=True)] == [1.0, 1.0, 1.0]
    assert task.score("blue circle", queries[0]) == 0.0
    assert task.binary
    assert task.metric == "accuracy"


def test_the_blind_guess_does_not_know_the_sample() -> None:
    task = create("classification", FakeModels(), DATA)
    queries = [q for s in DATA.samples for q in task.queries(s)]
    assert len(set(task.answer([Recovered()] * 3, queries))) == 1


def test_label_prompts_are_embedded_once() -> None:
    models = FakeModels()
    task = create("classification", models, DATA, prompt="see the {label} here")
    query = task.queries(DATA[1])[0]
    for _ in range(3):
        task.answer([Recovered(image=image_of(1))] * 2, [query] * 2)
    assert models.dual.texts == [f"see the {label} here" for label in LABELS]


def test_prompts_come_from_the_option_or_the_data_set_or_a_default() -> None:
    data = ListData(DATA.samples, LABELS)
    assert create("classification", FakeModels(), data).prompt == "a photo of a {label}."
    data.label_prompt, data.label_question = "its {label}", "which ?"  # type: ignore[attr-defined]
    task = create("classification", FakeModels(), data)
    assert (task.prompt, task.queries(data[0])[0].text) == ("its {label}", "which ?")
    assert (
        create("classification", FakeModels(), data, question="what ?").queries(data[0])[0].text == "what ?"
    )


def test_wrong_data_and_options() -> None:
    with pytest.raises(InputError, match="at least 2 classes; data set 'listed' has 0"):
        create("classification", FakeModels(), ListData(DATA.samples))
    with pytest.raises(InputError, match=r"must contain \{label\}"):
        create("classification", FakeModels(), DATA, prompt="a photo")
    with pytest.raises(InputError, match="Did you mean 'prompt'"):
        create("classification", FakeModels(), DATA, promt="x")
    with pytest.raises(InputError, match="Did you mean 'classification'"):
        create("clasification", FakeModels(), DATA)


def test_embeddings_of_any_length_point_the_same_way() -> None:
    task = create("classification", FakeModels(), DATA)
    query = task.queries(DATA[2])[0]
    unit = BagOfWords().embed_images([image_of(2)])[0]
    for scale in (1e-30, 1e38):
        scaled = Recovered(embedding=(unit * np.float32(scale)).astype(np.float32))
        assert task.answer([scaled], [query]) == [LABELS[2]]
