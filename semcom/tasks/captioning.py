"""Captioning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np

from channels.errors import InputError
from semcom.data.language import parse_caption
from semcom.data.records import truths
from semcom.tasks.base import TASKS, Models, Task
from semcom.tasks.metrics import CiderD, Fact, attribute_f1, bleu
from semcom.tasks.sentence import SentenceSimilarity
from semcom.types import Dataset, Kind, Query, Recovered, Sample


@TASKS.register("captioning")
class Captioning(Task):
    """What does the image show, in a sentence?

    A received text is the caption; images, visual tokens and nothing are captioned by the generative model.
    Scored by the F1 of (object, attribute) facts where the scene is known, else by CIDEr-D / 10, cut at 1.
    Over all captions: BLEU-4, CIDEr-D and, with ``sentence``, the cosine similarity of sentence embeddings
    (needs the extra ``semcom[sentence]``).
    """

    name = "captioning"
    accepts: ClassVar[frozenset[Kind]] = frozenset({"image", "tokens", "text", "nothing"})
    binary = False

    def __init__(self, models: Models, dataset: Dataset, sentence: bool = False) -> None:
        super().__init__(models, dataset)
        known = list(truths(dataset))
        self._captions = [s.captions for s in known if s.captions]
        self._facts = {s.id: _facts(s) for s in known if s.scene is not None}
        if not self._captions:
            raise InputError(f"task 'captioning': data set {dataset.name!r} has no captions")
        self.metric = "attribute F1" if self._facts else "CIDEr-D / 10"
        self._similarity = SentenceSimilarity() if sentence else None

    @cached_property
    def _cider(self) -> CiderD:
        return CiderD(self._captions)

    def queries(self, sample: Sample) -> list[Query]:
        return [Query(self.name, sample.id, truth=sample.captions)] if sample.captions else []

    def respond(self, kind: Kind, seen: Sequence[Recovered], queries: Sequence[Query]) -> list[str]:
        if kind == "text":
            return [r.text or "" for r in seen]
        return self.models.generative.caption(seen)

    def score(self, answer: str, query: Query) -> float:
        if query.sample in self._facts:
            return attribute_f1(parse_caption(answer), self._facts[query.sample])
        return min(1.0, self._cider.score(answer, query.truth) / 10)

    def corpus(self, answers: Sequence[str], queries: Sequence[Query]) -> dict[str, float]:
        references = [q.truth for q in queries]
        cider = [self._cider.score(a, r) for a, r in zip(answers, references, strict=True)]
        found = {"BLEU-4": bleu(answers, references), "CIDEr-D": float(np.mean(cider)) if cider else 0.0}
        if self._similarity is not None:
            found["sentence similarity"] = float(np.mean(self._similarity(answers, references)))
        return found


def _facts(sample: Sample) -> list[Fact]:
    assert sample.scene is not None
    return [(o["color"], o["shape"], o["position"]) for o in sample.scene["objects"]]
