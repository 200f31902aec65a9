from __future__ import annotations

from dataclasses import replace

import pytest

from channels.errors import InputError
from semcom.data import load
from semcom.tasks import create
from semcom.tasks.metrics import CiderD
from semcom.types import Recovered
from tests.tasks.fakes import WORLD, FakeModels, ListData, image_of, sample_of, tokens_of, world


def test_what_is_captioned_and_what_is_the_caption() -> None:
    task = create("captioning", FakeModels(), world())
    query = task.queries(sample_of(1))[0]
    received = [
        Recovered(image=image_of(1)),
        Recovered(tokens=tokens_of(2)),
        Recovered(text="my words"),
        Recovered(),
    ]
    assert task.answer(received, [query] * 4) == [WORLD[1], WORLD[2], "my words", "nothing"]


def test_real_data_are_scored_by_cider_over_all_captions() -> None:
    task = create("captioning", FakeModels(), world())
    query = task.queries(sample_of(3))[0]
    assert task.metric == "CIDEr-D / 10"
    assert not task.binary
    assert task.score(WORLD[3], query) == pytest.approx(1.0)
    assert task.score("a dog on a mat", query) == pytest.approx(
        CiderD([(c,) for c in WORLD]).score("a dog on a mat", [WORLD[3]]) / 10
    )
    assert 0 < task.score("a dog on a mat", query) < 1
    assert task.score("nothing", query) == 0.0
    assert task.score("", query) == 0.0


def test_corpus_metrics() -> None:
    task = create("captioning", FakeModels(), world())
    queries = [task.queries(sample_of(i))[0] for i in range(4)]
    best = task.corpus(WORLD, queries)
    assert best == {"BLEU-4": pytest.approx(1.0), "CIDEr-D": pytest.approx(10.0)}
    worse = task.corpus(("nothing",) * 4, queries)
    assert worse == {"BLEU-4": 0.0, "CIDEr-D": 0.0}


def test_scenes_are_scored_by_facts() -> None:
    data = load("scenes", split="test", samples=5)
    task = create("captioning", FakeModels(), data)
    assert task.metric == "attribute F1"
    for i in range(5):
        sample = data[i]
        query = task.queries(sample)[0]
        assert query.truth == sample.captions
        for caption in sample.captions:
            assert task.score(caption, query) == 1.0
        assert task.score("nothing", query) == 0.0
        objects = sample.scene["objects"]
        first = objects[0]
        one = f"a {first['color']} {first['shape']} at the {first['position']} ."
        # 3 right facts of 3 stated and 3 n true ones.
        assert task.score(one, query) == pytest.approx(2 * 3 / (3 + 3 * len(objects)))


def test_data_without_captions() -> None:
    bare = replace(sample_of(0), captions=())
    with pytest.raises(InputError, match="has no captions"):
        create("captioning", FakeModels(), ListData([bare]))
    assert create("captioning", FakeModels(), world()).queries(bare) == []
