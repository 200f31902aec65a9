"""Zero-shot classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from channels.errors import InputError
from semcom.tasks.base import TASKS, Models, Task
from semcom.tasks.embedding import TextEmbeddings, embed
from semcom.types import Dataset, Kind, Query, Recovered, Sample

PROMPT = "a photo of a {label}."
QUESTION = "what is in the image?"


@TASKS.register("classification")
class Classification(Task):
    """Which class of the data set is it?

    From an image or an embedding: the label whose prompt has the nearest text embedding [Radford et al.
    2021]. From a text or visual tokens, or blind: the generative model's choice among the labels. ``prompt``
    (with ``{label}``) and ``question``: how the class is said and asked (default: the data set's own
    ``label_prompt`` and ``label_question``, else words that fit photographs).
    """

    name = "classification"
    accepts: ClassVar[frozenset[Kind]] = frozenset(
        {"image", "embedding", "tokens", "text", "answer", "nothing"}
    )
    metric = "accuracy"

    def __init__(
        self, models: Models, dataset: Dataset, prompt: str | None = None, question: str | None = None
    ) -> None:
        super().__init__(models, dataset)
        if len(dataset.labels) < 2:
            raise InputError(
                f"task 'classification' needs at least 2 classes; data set {dataset.name!r} has "
                f"{len(dataset.labels)}"
            )
        self.prompt = prompt or str(getattr(dataset, "label_prompt", PROMPT))
        self.question = question or str(getattr(dataset, "label_question", QUESTION))
        if "{label}" not in self.prompt:
            raise InputError(f"task 'classification': prompt is {self.prompt!r}; it must contain {{label}}")
        self._texts = TextEmbeddings(models)

    def queries(self, sample: Sample) -> list[Query]:
        if sample.label is None:
            return []
        labels = tuple(self.dataset.labels)
        return [Query(self.name, sample.id, self.question, candidates=labels, truth=(sample.label,))]

    def respond(self, kind: Kind, seen: Sequence[Recovered], queries: Sequence[Query]) -> list[str]:
        if kind not in ("image", "embedding"):
            return self.models.generative.answer(
                seen, [q.text for q in queries], [q.candidates for q in queries]
            )
        labels = self.dataset.labels
        classes = self._texts([self.prompt.replace("{label}", label) for label in labels])
        return [labels[int(i)] for i in (embed(self.models, kind, seen) @ classes.T).argmax(axis=1)]

    def score(self, answer: str, query: Query) -> float:
        return float(answer in query.truth)
