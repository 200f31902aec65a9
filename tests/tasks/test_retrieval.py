from __future__ import annotations

import secrets
from dataclasses import replace

import numpy as np
import pytest

from channels.errors import InputError
from semcom.tasks import create
from semcom.types import Recovered, Sample
from tests.tasks.fakes import WORLD, BagOfWords, FakeModels, ListData, image_of, sample_of, tokens_of, world


def crowd(count: int) -> ListData:
    return ListData(
        [replace(sample_of(0), id=f"id{i}", captions=(f"caption {i}", f"another {i}")) for i in range(count)]
    )


def test_every_kind_finds_the_caption() -> None:
    task = create("retrieval", FakeModels(), world())
    assert task.metric == "R@1 of 4"
    queries = [task.queries(sample_of(i))[0] for i in range(4)]
    embeddings = BagOfWords().embed_images([image_of(i) for i in range(4)])
    for make in (
        lambda i: Recovered(image=image_of(i)),
        lambda i: Recovered(embedding=embeddings[i]),
        lambda i: Recovered(tokens=tokens_of(i)),
        lambda i: Recovered(text=WORLD[i].replace("the", "that")),
        lambda i: Recovered(answer=WORLD[i]),
    ):
        answers = task.answer([make(i) for i in range(4)], queries)
        assert answers == list(WORLD)
        assert [task.score(a, q) for a, q in zip(answers, queries, strict=True)] == [1.0] * 4
    assert task.score(WORLD[1], queries[0]) == 0.0


def test_a_gallery_holds_the_true_caption_once_among_distinct_others() -> None:
    data = crowd(300)
    task = create("retrieval", FakeModels(), data, gallery=50)
    again = create("retrieval", FakeModels(), data, gallery=50)
    places = []
    for sample in data.samples:
        (query,) = task.queries(sample)
        assert len(query.candidates) == 50 == len(set(query.candidates))
        assert query.truth == (sample.captions[0],)
        assert set(query.candidates) <= {s.captions[0] for s in data.samples}
        assert again.queries(sample) == [query]
        places.append(query.candidates.index(sample.captions[0]))
    # Uniform places: chi-square with 5 bins, 4 degrees of freedom; the ids are fixed, so this cannot flicker.
    counts = np.bincount(np.array(places) // 10, minlength=5)
    assert ((counts - 60) ** 2 / 60).sum() < 18.5


def test_equal_captions_are_no_distractors() -> None:
    samples = [
        Sample("a", image_of(0), ("A dog .", "two dogs")),
        Sample("b", image_of(0), ("a  DOG .",)),
        Sample("c", image_of(0), ("two dogs",)),
        Sample("d", image_of(0), ("a cat",)),
        Sample("e", image_of(0)),
    ]
    task = create("retrieval", FakeModels(), ListData(samples))
    assert task.gallery == 3
    assert set(task.queries(samples[0])[0].candidates) == {"A dog .", "a cat"}
    assert set(task.queries(samples[3])[0].candidates) == {"a cat", "a  DOG .", "two dogs"}
    assert task.queries(samples[4]) == []


def test_the_blind_guess_is_right_by_chance_only() -> None:
    salt = secrets.token_hex(4)
    print("salt", salt)
    data = crowd(2000)
    data.samples = [replace(s, id=salt + s.id) for s in data.samples]
    task = create("retrieval", FakeModels(), data, gallery=10)
    queries = [task.queries(s)[0] for s in data.samples]
    answers = task.answer([Recovered()] * 2000, queries)
    assert answers == task.answer([Recovered()] * 2000, queries)
    right = sum(task.score(a, q) for a, q in zip(answers, queries, strict=True))
    assert abs(right - 200) < 5 * np.sqrt(2000 * 0.1 * 0.9)


def test_gallery_texts_are_embedded_once() -> None:
    models = FakeModels()
    task = create("retrieval", models, world())
    queries = [task.queries(sample_of(i))[0] for i in range(4)]
    for _ in range(3):
        task.answer([Recovered(image=image_of(i)) for i in range(4)], queries)
    assert sorted(models.dual.texts) == sorted(WORLD)


def test_wrong_data_and_options() -> None:
    with pytest.raises(InputError, match="at least 2 different captions; data set 'listed' has 1"):
        create("retrieval", FakeModels(), world(1))
    with pytest.raises(InputError, match="gallery of task 'retrieval' is 1"):
        create("retrieval", FakeModels(), world(), gallery=1)
