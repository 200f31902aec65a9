"""Models that know a small world: the first value of an image or of its tokens is the number of a caption."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from semcom.types import Dataset, Image, Question, Recovered, Sample
from semcom.vlm.base import Array

WORLD = (
    "a red star at the top .",
    "a blue circle at the left .",
    "a green cross at the bottom .",
    "a cat on a mat .",
)
DIM = 64


def image_of(index: int) -> Image:
    return np.full((8, 8, 3), index, dtype=np.uint8)


def tokens_of(index: int) -> Array:
    return np.full((2, 3), index, dtype=np.float32)


def sample_of(index: int, label: str | None = None, questions: Sequence[Question] = ()) -> Sample:
    return Sample(f"s{index}", image_of(index), (WORLD[index],), label, tuple(questions))


@dataclass
class ListData:
    samples: list[Sample]
    labels: tuple[str, ...] = ()
    name: str = "listed"

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


@dataclass
class BagOfWords:
    """A dual encoder in which texts are near that share words, and an image is its caption."""

    name: str = "bag-of-words"
    dim: int = DIM
    texts: list[str] = field(default_factory=list)  # all that were embedded

    def embed_texts(self, texts: Sequence[str]) -> Array:
        assert len(texts) > 0
        self.texts += texts
        rows = np.stack([np.sum([_word(w) for w in t.lower().split()] or [_word("")], axis=0) for t in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def embed_images(self, images: Sequence[Image]) -> Array:
        seen = self.embed_texts([WORLD[int(image[0, 0, 0])] for image in images])
        del self.texts[-len(images) :]
        return seen


@dataclass
class Reader:
    """A generative model that chooses the candidate whose words its caption contains; blind, the first one."""

    name: str = "reader"
    token_dim: int = 3
    token_mean: Array = field(default_factory=lambda: np.zeros(3, dtype=np.float32))
    token_scale: Array = field(default_factory=lambda: np.ones(3, dtype=np.float32))
    calls: list[int] = field(default_factory=list)  # batch sizes

    def visual_tokens(self, images: Sequence[Image]) -> list[Array]:
        return [tokens_of(int(image[0, 0, 0])) for image in images]

    def caption(self, seen: Sequence[Recovered]) -> list[str]:
        self.calls.append(len(seen))
        return [_read(r) for r in seen]

    def answer(
        self, seen: Sequence[Recovered], questions: Sequence[str], candidates: Sequence[Sequence[str]]
    ) -> list[str]:
        self.calls.append(len(seen))
        assert len(seen) == len(questions) == len(candidates)
        answers = []
        for r, known in zip(seen, candidates, strict=True):
            words = _read(r).split()
            fitting = [c for c in known if set(c.split()) <= set(words)]
            answers.append((fitting or list(known) or [_read(r)])[0])
        return answers


@dataclass
class FakeModels:
    dual: BagOfWords = field(default_factory=BagOfWords)
    generative: Reader = field(default_factory=Reader)


def _word(word: str) -> Array:
    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big")).normal(size=DIM).astype(np.float32)


def _read(r: Recovered) -> str:
    if r.text is not None:
        return r.text
    if r.image is not None:
        return WORLD[int(r.image[0, 0, 0])]
    if r.tokens is not None:
        return WORLD[int(r.tokens[0, 0])]
    assert r.kind == "nothing"
    return "nothing"


def world(samples: int = len(WORLD), **options: object) -> Dataset:
    return ListData([sample_of(i) for i in range(samples)], **options)  # type: ignore[arg-type]
