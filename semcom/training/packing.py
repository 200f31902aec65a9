"""Several questions about one image in one sequence: a shared prefix, then segments that do not see each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from semcom.data.language import COLORS, POSITIONS, SHAPES, Scene, beyond
from semcom.types import Question
from semcom.vlm.prompts import CAPTION

_HOP = re.compile(r"what (?:color|shape) is the object (left of|right of|above|below) the (\w+) (\w+)")
_ABOUT_ONE = ("color", "shape", "position", "size", "orientation", "mark", "class")


@dataclass
class Segment:
    """Tokens of one prompt and its answer. ``learn`` are (position, next token, weight); ``looks`` are (position, layer
    group, objects): which objects the attention at that position is taught to look at."""

    ids: list[int]
    learn: list[tuple[int, int, float]]
    looks: list[tuple[int, int, list[int]]] = field(default_factory=list)
    type: str = "caption"


def question_segment(question: Question, scene: Scene, vocabulary: Mapping[str, int]) -> Segment:
    """Prompt, answer and end of one question."""
    words, answer = question.text.split(), question.answer.split()
    ids = [vocabulary[w] for w in [*words, "answer", ":", *answer]] + [vocabulary["<eos>"]]
    last = len(words) + 1  # the colon, where the answer is read
    learn = [(last + i, ids[last + i + 1], 1.0) for i in range(len(answer))]
    learn.append((last + len(answer), ids[-1], 0.1))
    return Segment(ids, learn, _looks(words, question, scene, last), question.type)


def caption_segment(caption: str, vocabulary: Mapping[str, int]) -> Segment:
    """The captioning prompt and a whole caption; each word is taught to look at the object that comes next."""
    start = [vocabulary[w] for w in [*CAPTION.split(), "answer", ":"]]
    words = caption.split()
    said = [vocabulary[w] for w in words] + [vocabulary["<eos>"]]
    first = len(start) - 1  # the colon, where the first word is read
    learn = [(first + i, token, 0.5) for i, token in enumerate(said)]
    looks, current = [(first, 1, [0])], 0
    for i, word in enumerate(words[:-1]):
        current += word in (",", "and")
        looks.append((first + 1 + i, 1, [current]))
    return Segment(start + said, learn, looks)


def _looks(words: list[str], question: Question, scene: Scene, last: int) -> list[tuple[int, int, list[int]]]:
    """Content words look at the objects that they name (layer group 0); the colon at the one asked for (group 1, or
    2 when it is found through another object)."""
    objects = scene["objects"]
    looks: list[tuple[int, int, list[int]]] = []
    named: list[int] = []
    for i, word in enumerate(words):
        if word in SHAPES:
            color = words[i - 1] if words[i - 1] in COLORS else None
            named = [k for k, o in enumerate(objects) if o["shape"] == word and color in (None, o["color"])]
        elif word in COLORS and words[i + 1] not in SHAPES:
            named = [k for k, o in enumerate(objects) if o["color"] == word]
        elif word == "objects" and words[:3] == ["how", "many", "objects"] and words[3:5] == ["are", "there"]:
            named = list(range(len(objects)))
        elif word == "largest":
            named = [0]
        else:
            continue
        if named:
            looks.append((i, 0, named))
    hop = _HOP.match(question.text)
    if hop:
        reference = next(o for o in objects if (o["color"], o["shape"]) == (hop[2], hop[3]))
        there = [k for k, o in enumerate(objects) if o is not reference and beyond(o, reference, hop[1])]
        looks.append((last, 2, there))
    elif question.type in _ABOUT_ONE and named:
        looks.append((last, 1, named))
    return looks


def said_of(captions: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Which object each word of a caption describes, ``[B, longest]``: its place in the caption, or -1 for none."""
    owner = np.full((len(captions), max(1, *map(len, captions))), -1)
    for row, caption in enumerate(captions):
        current = 0
        for i, word in enumerate(caption):
            if word in (",", "and"):
                current += 1
            elif word in COLORS or word in SHAPES or word in POSITIONS:
                owner[row, i] = current
    return owner


@dataclass
class Pack:
    """A batch of rows as tensors; ``prefix`` columns come first (``<bos>`` and image slots or caption words)."""

    ids: torch.Tensor  # [B, L]
    allowed: torch.Tensor  # bool [B, L, L], without the visibility of single image slots
    segment_start: torch.Tensor  # bool-like int [B, L]: 1 in segments, 0 in the prefix
    position: torch.Tensor  # [B, L], counted with the whole prefix visible
    learn: torch.Tensor  # [N, 4]: row, column, token, index of the question type
    weight: torch.Tensor  # [N]
    looks: list[tuple[int, int, int, list[int]]]  # row, column, layer group, objects


def pack(prefixes: Sequence[Sequence[int]], rows: Sequence[Sequence[Segment]], types: Sequence[str]) -> Pack:
    """Lay out rows of segments behind their prefixes, padded to the longest."""
    longest = max(len(p) + sum(len(s.ids) for s in row) for p, row in zip(prefixes, rows, strict=True))
    ids: NDArray[np.int64] = np.zeros((len(rows), longest), np.int64)
    owner = np.full((len(rows), longest), -1)
    position = np.zeros((len(rows), longest), np.int64)
    learn, weight, looks = [], [], []
    for b, (prefix, row) in enumerate(zip(prefixes, rows, strict=True)):
        at = len(prefix)
        ids[b, :at], owner[b, :at], position[b, :at] = prefix, 0, np.arange(at)
        for number, segment in enumerate(row, 1):
            end = at + len(segment.ids)
            ids[b, at:end], owner[b, at:end] = segment.ids, number
            position[b, at:end] = len(prefix) + np.arange(len(segment.ids))
            kind = types.index(segment.type) if segment.type in types else -1
            for i, token, w in segment.learn:
                # Only the answer word itself (weight 1) counts for the accuracy of its type.
                learn.append((b, at + i, token, kind if w == 1.0 else -1))
                weight.append(w)
            looks += [(b, at + i, group, objects) for i, group, objects in segment.looks]
            at = end
    who = torch.from_numpy(owner)
    same = who[:, :, None] == who[:, None, :]
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    allowed = ((same | (who[:, None, :] == 0)) & causal & (who[:, None, :] >= 0)) | torch.eye(
        longest, dtype=torch.bool
    )
    return Pack(
        ids=torch.from_numpy(ids),
        allowed=allowed,
        segment_start=(who > 0).long(),
        position=torch.from_numpy(position),
        learn=torch.tensor(learn),
        weight=torch.tensor(weight),
        looks=looks,
    )
