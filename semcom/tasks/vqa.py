"""Visual question answering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from channels.errors import InputError
from semcom.data.records import truths
from semcom.tasks.answers import MIN_PEOPLE, vqa_accuracy
from semcom.tasks.base import TASKS, Models, Task
from semcom.types import Dataset, Kind, Query, Recovered, Sample


@TASKS.register("vqa")
class VQA(Task):
    """The questions that the data set asks of each image, answered by the generative model, reported by type.

    Questions with the answers of several people: the soft accuracy of VQAv2. Otherwise: whether the answer is
    right, to the letter where it was chosen among candidates, after the normalisation of VQAv2 where it was
    free.
    """

    name = "vqa"
    accepts: ClassVar[frozenset[Kind]] = frozenset({"image", "tokens", "text", "answer", "nothing"})

    def __init__(self, models: Models, dataset: Dataset) -> None:
        super().__init__(models, dataset)
        first = next((s.questions for s in truths(dataset) if s.questions), None)
        if first is None:
            raise InputError(f"task 'vqa': data set {dataset.name!r} has no questions")
        self.binary = all(len(q.answers) < MIN_PEOPLE for q in first)
        self.metric = "accuracy" if self.binary else "VQA accuracy"

    def queries(self, sample: Sample) -> list[Query]:
        return [
            Query(self.name, sample.id, q.text, q.type, q.candidates, q.answers or (q.answer,))
            for q in sample.questions
        ]

    def respond(self, kind: Kind, seen: Sequence[Recovered], queries: Sequence[Query]) -> list[str]:
        return self.models.generative.answer(seen, [q.text for q in queries], [q.candidates for q in queries])

    def score(self, answer: str, query: Query) -> float:
        if len(query.truth) < MIN_PEOPLE and set(query.truth) & set(query.candidates):
            return float(answer in query.truth)
        return vqa_accuracy(answer, query.truth)
