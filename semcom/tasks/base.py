"""The contract of a task, and the registry of tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np

from channels.errors import InputError
from channels.registry import Registry
from semcom.types import Dataset, Kind, Query, Recovered, Sample
from semcom.vlm.base import DualEncoder, GenerativeVLM

MAX_TEXT = 4096  # characters; what the air turned into a longer text is cut


class Models(Protocol):
    """The two receiver models; each may be loaded when it is first used."""

    @property
    def dual(self) -> DualEncoder: ...

    @property
    def generative(self) -> GenerativeVLM: ...


class Task(ABC):
    """A question that the receiver answers from what arrived, and its score against the truth.

    A subclass says what it ``accepts`` and writes ``queries``, ``respond`` and ``score``. What was received
    is not trusted: a text that is empty, an image, embedding or tokens of a wrong shape, or any NaN count as
    nothing.
    """

    name: ClassVar[str]
    accepts: ClassVar[frozenset[Kind]]
    metric: str
    binary: bool = True  # scores are 0 or 1

    def __init__(self, models: Models, dataset: Dataset) -> None:
        self.models = models
        self.dataset = dataset

    @abstractmethod
    def queries(self, sample: Sample) -> list[Query]:
        """What is asked of one image; empty where the data do not tell the truth."""

    @abstractmethod
    def respond(self, kind: Kind, seen: Sequence[Recovered], queries: Sequence[Query]) -> list[str]:
        """One answer for each query from receptions of one kind, never ``answer``; ``nothing``: a guess."""

    @abstractmethod
    def score(self, answer: str, query: Query) -> float:
        """How right the answer is, in [0, 1]."""

    def answer(self, recovered: Sequence[Recovered], queries: Sequence[Query]) -> list[str]:
        """One answer for each pair, batched by kind; a kind that is not accepted is an InputError."""
        groups: dict[Kind, list[int]] = defaultdict(list)
        checked = [self._checked(r) for r in recovered]
        for i, (r, _) in enumerate(zip(checked, queries, strict=True)):
            groups[r.kind].append(i)
        answers = [""] * len(checked)
        for kind, rows in groups.items():
            seen = [checked[i] for i in rows]
            if kind == "answer":
                said = [r.answer or "" for r in seen]
            else:
                said = self.respond(kind, seen, [queries[i] for i in rows])
            for i, text in zip(rows, said, strict=True):
                answers[i] = text
        return answers

    def corpus(self, answers: Sequence[str], queries: Sequence[Query]) -> dict[str, float]:
        """Metrics of all answers together, by name."""
        return {}

    def _checked(self, r: Recovered) -> Recovered:
        """``r`` if it can be used, else nothing."""
        if r.kind not in self.accepts:
            raise InputError(
                f"task {self.name!r} is not applicable to a received {r.kind}; it takes: "
                f"{', '.join(sorted(self.accepts))}"
            )
        if r.kind == "image":
            return r if _is_image(r.image) else Recovered()
        if r.kind == "embedding":
            dim = self.models.dual.dim
            return r if _is_finite(r.embedding, (dim,)) and np.any(r.embedding) else Recovered()
        if r.kind == "tokens":
            return r if _is_finite(r.tokens, (None, self.models.generative.token_dim)) else Recovered()
        # Lone surrogates, which a damaged text may contain, cannot be encoded: tokenisers raise on them.
        text = (r.text or r.answer or "")[:MAX_TEXT].encode("utf-8", "replace").decode().strip()
        if not text:
            return Recovered()
        return Recovered(text=text) if r.kind == "text" else Recovered(answer=text)


def _is_image(image: object) -> bool:
    good = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    return bool(good and image.shape[2] == 3 and image.size > 0)  # type: ignore[attr-defined]


def _is_finite(array: object, shape: tuple[int | None, ...]) -> bool:
    """A numeric array of that shape (None: any length), not empty, without NaN and infinity."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim != len(shape):
        return False
    fits = all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    return bool(fits and array.size > 0 and np.isfinite(array).all())


TASKS: Registry[Task] = Registry("task")
