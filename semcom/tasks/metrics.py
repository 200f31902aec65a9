"""Scores of captions: BLEU-4, CIDEr-D and attribute F1, in plain Python."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import scipy.optimize

Grams = Counter[tuple[str, ...]]
Fact = tuple[str, str, str]  # colour, shape, position of one object; "" where it is not told
ORDER = 4
MAX_OBJECTS = 64  # more are not read from one caption

_CLITICS = re.compile(r"(?<=\w)(n't|'(?:s|m|d|ll|re|ve))\b")
_WORDS = re.compile(r"n't|'(?:s|m|d|ll|re|ve)\b|\d+(?:[.,]\d+)*(?!\w)|\w+(?:-\w+)*|[$%&#@*+=<>]")


def tokenise(text: str) -> list[str]:
    """Lower-case words in the manner of the Penn Treebank (``don't`` is ``do n't``), without punctuation."""
    plain = text.lower().replace("’", "'").replace("cannot", "can not")
    return _WORDS.findall(_CLITICS.sub(r" \1", plain))


def ngrams(words: Sequence[str]) -> Grams:
    """How often each sequence of 1 to 4 words occurs."""
    return Counter(tuple(words[i : i + n]) for n in range(1, ORDER + 1) for i in range(len(words) - n + 1))


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU-4 in [0, 1], without smoothing, one or more references each.   [Papineni et al. 2002]

    The reference length of a candidate is that of the reference nearest in length, the shorter one at a tie.
    """
    right, total = [0] * ORDER, [0] * ORDER
    length = wanted = 0
    for candidate, texts in zip(candidates, references, strict=True):
        words, others = tokenise(candidate), [tokenise(text) for text in texts]
        length += len(words)
        wanted += min((abs(len(o) - len(words)), len(o)) for o in others)[1]
        allowed: Grams = Counter()
        for o in others:
            allowed |= ngrams(o)
        for gram, count in ngrams(words).items():
            right[len(gram) - 1] += min(count, allowed[gram])
            total[len(gram) - 1] += count
    if not all(right):
        return 0.0
    precision = math.exp(sum(math.log(r / t) for r, t in zip(right, total, strict=True)) / ORDER)
    return precision * math.exp(min(0.0, 1 - wanted / length))


class CiderD:
    """CIDEr-D [Vedantam et al., CVPR 2015]: tf-idf weighted n-gram agreement with human captions, 0 to 10.

    ``documents``: the reference captions of each image of the data set; they give the document frequencies.
    With one image only, every n-gram is in every document and all scores are 0.
    """

    SIGMA = 6.0  # words; standard deviation of the length penalty

    def __init__(self, documents: Iterable[Sequence[str]]) -> None:
        self._frequency: Grams = Counter()
        count = 0
        for captions in documents:
            count += 1
            self._frequency.update({gram for caption in captions for gram in ngrams(tokenise(caption))})
        self._log_count = math.log(max(1, count))
        # A sweep scores the same few texts at hundreds of points.
        self._vectors = lru_cache(2**14)(self._weigh)

    def score(self, candidate: str, references: Sequence[str]) -> float:
        """Mean over the references and over n = 1 to 4, times 10."""
        mine, length = self._vectors(candidate)
        total = 0.0
        for reference in references:
            theirs, other = self._vectors(reference)
            agreement = sum(_clipped_cosine(m, t) for m, t in zip(mine, theirs, strict=True)) / ORDER
            total += agreement * math.exp(-((length - other) ** 2) / (2 * self.SIGMA**2))
        return 10 * total / len(references)

    def _weigh(self, caption: str) -> tuple[list[dict[tuple[str, ...], float]], int]:
        """tf-idf of the n-grams of each order, and the number of words."""
        words = tokenise(caption)
        vectors: list[dict[tuple[str, ...], float]] = [{} for _ in range(ORDER)]
        for gram, count in ngrams(words).items():
            rarity = self._log_count - math.log(max(1, self._frequency[gram]))
            vectors[len(gram) - 1][gram] = count * rarity
        return vectors, len(words)


def _clipped_cosine(mine: dict[tuple[str, ...], float], theirs: dict[tuple[str, ...], float]) -> float:
    """Cosine in which repeating an n-gram more often than the reference does gains nothing."""
    norm = math.sqrt(sum(v * v for v in mine.values()) * sum(v * v for v in theirs.values()))
    return sum(min(v, theirs[g]) * theirs[g] for g, v in mine.items() if g in theirs) / norm if norm else 0.0


def attribute_f1(found: Sequence[Fact], truth: Sequence[Fact]) -> float:
    """F1 of the facts (object, attribute, value), in [0, 1], under the best matching of the objects.

    Each object states as many facts as it has attributes that are not "".
    """
    found, truth = found[:MAX_OBJECTS], truth[:MAX_OBJECTS]
    stated = sum(value != "" for o in (*found, *truth) for value in o)
    if stated == 0:
        return 1.0
    if not found or not truth:
        return 0.0
    agree = np.array([[sum(a == b != "" for a, b in zip(f, t, strict=True)) for t in truth] for f in found])
    rows, columns = scipy.optimize.linear_sum_assignment(agree, maximize=True)
    return 2 * int(agree[rows, columns].sum()) / stated
