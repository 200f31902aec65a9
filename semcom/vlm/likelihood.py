"""Closed questions: which forward passes the candidates need, and what each candidate scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from semcom.vlm.words import Ids


@dataclass(frozen=True)
class Job:
    """One forward pass over a prompt and the beginning of some answers.

    ``view`` is the index of what is seen, ``prompt`` the text of the question, ``context`` the answer tokens
    that follow the prompt. Its result is ``log p(next token)`` after the prompt and after each token of
    ``context``, ``[len(context) + 1, vocabulary]``. ``scores`` lists (row, candidate, tokens) that can be
    read off.
    """

    view: int
    prompt: str
    context: Ids
    scores: tuple[tuple[int, int, Ids], ...]


def terminated(candidates: Sequence[Ids], end: int | None) -> list[Ids]:
    """The candidates, each with the end token where one of them continues another.

    Without it 'red' could never lose against 'red circle': a longer sequence is never more likely than its
    beginning.
    """
    distinct = sorted(set(candidates))
    nested = any(b[: len(a)] == a for a, b in pairwise(distinct))
    return [(*ids, end) for ids in candidates] if nested and end is not None else list(candidates)


def contexts(candidates: Sequence[Ids]) -> dict[Ids, list[int]]:
    """The fewest contexts that give every candidate's probability, with the candidates that each one gives.

    A forward pass over a context also serves all of its beginnings, so only the longest are run; single-token
    candidates need one pass together, over the prompt alone.
    """
    order = sorted(range(len(candidates)), key=lambda i: candidates[i][:-1], reverse=True)
    needed: dict[Ids, list[int]] = {}
    longest: Ids | None = None
    for i in order:  # in descending order a beginning comes directly after its continuations
        context = candidates[i][:-1]
        if longest is None or longest[: len(context)] != context:
            longest = context
        needed.setdefault(longest, []).append(i)
    return needed


def read(scores: Sequence[NDArray[np.float32]], job: Job, log_probs: NDArray[np.float32]) -> None:
    """Write the log-likelihoods that ``job`` gives into ``scores`` (one array for each row)."""
    for row, candidate, ids in job.scores:
        scores[row][candidate] = log_probs[np.arange(len(ids)), list(ids)].sum()
