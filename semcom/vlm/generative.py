"""Answers and captions: what every generative model shares."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from channels.errors import InputError
from semcom.types import Image, Kind, Recovered
from semcom.vlm.base import Array
from semcom.vlm.likelihood import Job, contexts, read, terminated
from semcom.vlm.pixels import check
from semcom.vlm.prompts import CAPTION, in_context
from semcom.vlm.quiet import quiet
from semcom.vlm.words import Words

ANSWER_TOKENS, CAPTION_TOKENS = 16, 96  # longest free answer and caption, in tokens


class Generative(ABC):
    """A model that says how likely an answer is and that generates one.

    :param model: an ``AutoModelForImageTextToText`` in evaluation mode
    :param processor: its processor
    :param name: what it was loaded as
    :param fingerprint: identifies the weights and the processor's files

    Equal questions about equal things are computed once, and all that is left is batched.
    """

    understands: frozenset[Kind] = frozenset({"image", "text", "nothing"})
    token_dim: int = 0
    token_mean: Array = np.zeros(0, dtype=np.float32)
    token_scale: Array = np.ones(0, dtype=np.float32)

    def __init__(self, model: Any, processor: Any, name: str, fingerprint: str) -> None:
        self.model, self.processor, self.name, self.fingerprint = model, processor, name, fingerprint
        with quiet():
            self.words = Words(processor)
        end = model.generation_config.eos_token_id
        self._end: int | None = end[0] if isinstance(end, list) else end
        slot = getattr(model.config, "image_token_id", None)
        self._greedy: dict[str, Any] = {"do_sample": False, "num_beams": 1}
        if slot is not None:
            self._greedy["suppress_tokens"] = [int(slot)]  # no answer opens an image slot

    @abstractmethod
    def visual_tokens(self, images: Sequence[Image]) -> list[Array]:
        """``[k, token_dim]`` for each image, in raster order, before the projector."""

    @abstractmethod
    def _log_probs(self, views: Sequence[Recovered], jobs: Sequence[Job]) -> Iterator[tuple[int, Array]]:
        """Index and result of each job (see :class:`Job`), in any order."""

    @abstractmethod
    def _generate(
        self, views: Sequence[Recovered], prompts: Sequence[tuple[int, str]], limit: int
    ) -> list[str]:
        """The greedy continuation of each (view, prompt), at most ``limit`` tokens."""

    def answer(
        self,
        seen: Sequence[Recovered],
        questions: Sequence[str],
        candidates: Sequence[Sequence[str]],
        max_new_tokens: int = ANSWER_TOKENS,
    ) -> list[str]:
        """The most likely candidate of each question; greedy generation where its candidates are empty."""
        _equally_many(seen, questions, candidates)
        answers = [""] * len(seen)
        closed = [i for i, options in enumerate(candidates) if options]
        scores = self.scores(
            [seen[i] for i in closed], [questions[i] for i in closed], [candidates[i] for i in closed]
        )
        for i, values in zip(closed, scores, strict=True):
            answers[i] = candidates[i][int(values.argmax())]
        free = [i for i, options in enumerate(candidates) if not options]
        texts = self._say([seen[i] for i in free], [questions[i] for i in free], max_new_tokens)
        for i, text in zip(free, texts, strict=True):
            answers[i] = text
        return answers

    def scores(
        self, seen: Sequence[Recovered], questions: Sequence[str], candidates: Sequence[Sequence[str]]
    ) -> list[Array]:
        """Log-likelihood (natural logarithm) of each candidate of each question.

        The sum of the log-probabilities of the candidate's tokens after the prompt; where one candidate of a
        question begins with another, of the end of the answer as well.
        """
        _equally_many(seen, questions, candidates)
        views, index = self._views(seen)
        rows: dict[tuple[int, str, tuple[str, ...]], int] = {}
        where = []
        for view, item, question, options in zip(index, seen, questions, candidates, strict=True):
            where.append(rows.setdefault((view, _asked(item, question), tuple(options)), len(rows)))
        results: list[NDArray[np.float32]] = [np.zeros(len(key[2]), dtype=np.float32) for key in rows]
        jobs = []
        for row, (view, prompt, options) in enumerate(rows):
            ids = terminated([self.words.candidate(option) for option in options], self._end)
            for context, members in contexts(ids).items():
                jobs.append(Job(view, prompt, context, tuple((row, i, ids[i]) for i in members)))
        with torch.inference_mode():
            for i, log_probs in self._log_probs(views, jobs):
                read(results, jobs[i], log_probs)
        return [results[row].copy() for row in where]

    def caption(self, seen: Sequence[Recovered], max_new_tokens: int = CAPTION_TOKENS) -> list[str]:
        """One caption for each, by greedy generation."""
        return self._say(seen, [CAPTION] * len(seen), max_new_tokens)

    def _say(self, seen: Sequence[Recovered], questions: Sequence[str], limit: int) -> list[str]:
        views, index = self._views(seen)
        prompts: dict[tuple[int, str], int] = {}
        where = []
        for view, item, question in zip(index, seen, questions, strict=True):
            where.append(prompts.setdefault((view, _asked(item, question)), len(prompts)))
        if not prompts:
            return []
        with torch.inference_mode(), quiet():
            texts = self._generate(views, list(prompts), limit)
        return [texts[i] for i in where]

    def _views(self, seen: Sequence[Recovered]) -> tuple[list[Recovered], list[int]]:
        """The distinct things seen, and for each of ``seen`` which one it is."""
        known: dict[str, int] = {}
        by_identity: dict[int, int] = {}
        views: list[Recovered] = []
        index = []
        for item in seen:
            if id(item) not in by_identity:
                item_ = self._checked(item)
                place = known.setdefault(_key(item_), len(views))
                if place == len(views):
                    views.append(item_)
                by_identity[id(item)] = place
            index.append(by_identity[id(item)])
        return views, index

    def _checked(self, item: Recovered) -> Recovered:
        if item.tokens is not None and item.kind == "tokens" and len(item.tokens) == 0:
            return Recovered()  # every token was lost
        if item.kind not in self.understands:
            known = ", ".join(sorted(self.understands))
            raise InputError(f"{self.name} cannot be asked about kind {item.kind!r}, only {known}.")
        if item.image is not None and item.kind == "image":
            check(item.image)
        if item.tokens is not None and item.kind == "tokens" and item.tokens.shape[1:] != (self.token_dim,):
            raise InputError(f"visual tokens must be [k, {self.token_dim}], not {list(item.tokens.shape)}.")
        return item


def _equally_many(*columns: Sequence[Any]) -> None:
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(str(len(column)) for column in columns)
        raise InputError(f"seen, questions and candidates must be equally many, not {lengths}.")


def _asked(item: Recovered, question: str) -> str:
    return in_context(item.text, question) if item.kind == "text" and item.text is not None else question


def _key(item: Recovered) -> str:
    """Equal for equal content."""
    content = item.image if item.kind == "image" else item.tokens if item.kind == "tokens" else None
    if content is None:
        return f"{item.kind}:{item.text if item.kind == 'text' else ''}"
    digest = hashlib.blake2b(np.ascontiguousarray(content).tobytes(), digest_size=16).hexdigest()
    return f"{item.kind}:{content.shape}:{content.dtype}:{digest}:{item.prune}"
