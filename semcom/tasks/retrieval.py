"""Image-to-text retrieval."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from channels.errors import InputError
from semcom.data.files import whole
from semcom.data.records import truths
from semcom.tasks.base import TASKS, Models, Task
from semcom.tasks.embedding import TextEmbeddings, embed
from semcom.types import Dataset, Kind, Query, Recovered, Sample


@TASKS.register("retrieval")
class Retrieval(Task):
    """Which of the captions in a gallery is the image's own? Scored by recall at rank 1 (R@1).

    The gallery of an image is its first caption among ``gallery`` - 1 first captions of other images, drawn
    by the image's id; texts equal to one of its own captions are no distractors. From an image or an
    embedding: the nearest text embedding; from a text: the same between texts; from visual tokens: from their
    caption. The blind guess is a place in the gallery that depends on the id alone. Data with fewer captions
    give a smaller gallery, which ``metric`` names.
    """

    name = "retrieval"
    accepts: ClassVar[frozenset[Kind]] = frozenset(
        {"image", "embedding", "tokens", "text", "answer", "nothing"}
    )

    def __init__(self, models: Models, dataset: Dataset, gallery: int = 100) -> None:
        super().__init__(models, dataset)
        wanted = whole("gallery of task 'retrieval'", gallery, 2)
        captions = {_plain(s.captions[0]): s.captions[0] for s in truths(dataset) if s.captions}
        if len(captions) < 2:
            raise InputError(
                f"task 'retrieval' needs at least 2 different captions; data set {dataset.name!r} has "
                f"{len(captions)}"
            )
        self._captions = captions
        self._texts = TextEmbeddings(models)
        self.gallery = min(wanted, len(captions))
        self.metric = f"R@1 of {self.gallery}"

    def queries(self, sample: Sample) -> list[Query]:
        if not sample.captions:
            return []
        own = {_plain(caption) for caption in sample.captions}
        others = [text for plain, text in self._captions.items() if plain not in own]
        rng = np.random.default_rng(_digest("gallery", sample.id))
        drawn = rng.choice(len(others), min(self.gallery - 1, len(others)), replace=False)
        gallery = [others[i] for i in drawn]
        gallery.insert(int(rng.integers(len(gallery) + 1)), sample.captions[0])
        return [Query(self.name, sample.id, candidates=tuple(gallery), truth=(sample.captions[0],))]

    def respond(self, kind: Kind, seen: Sequence[Recovered], queries: Sequence[Query]) -> list[str]:
        if kind == "nothing":
            return [q.candidates[_digest("blind", q.sample) % len(q.candidates)] for q in queries]
        embeddings = embed(self.models, kind, seen)
        self._texts([text for q in queries for text in q.candidates])  # all that are new in one batch
        return [
            q.candidates[int((self._texts(q.candidates) @ e).argmax())]
            for q, e in zip(queries, embeddings, strict=True)
        ]

    def score(self, answer: str, query: Query) -> float:
        return float(answer in query.truth)


def _plain(caption: str) -> str:
    return " ".join(caption.lower().split())


def _digest(purpose: str, sample: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(f"retrieval/{purpose}/{sample}".encode(), digest_size=8).digest(), "big"
    )
