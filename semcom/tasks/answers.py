"""VQA accuracy as the official evaluation of VQAv2 has it (github.com/GT-Vision-Lab/VQA, vqaEval.py)."""

from __future__ import annotations

import re
from collections.abc import Sequence

MIN_PEOPLE = 4  # with fewer answers, leaving one out and asking for three equal ones can never give 1
PUNCTUATION = tuple(';/[]"{}()=+\\_-><@`,?!')
ARTICLES = frozenset(("a", "an", "the"))
NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
    he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't
    must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've
    somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd
    something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're
    they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've
    who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll
    y'all'd've you'd you'd've you'll you're you've
"""
# A contraction that lacks one of its apostrophes; "somebody'd" is an oddity of the official table.
CONTRACTIONS = {
    word[:i] + word[i + 1 :]: word for word in _CONTRACTED.split() for i, c in enumerate(word) if c == "'"
} | {"somebody'd": "somebodyd"}


def normalise(answer: str) -> str:
    """Lower case, without punctuation and articles, numbers as digits, contractions with apostrophes.

    Quirks of the official code are kept: a mark leaves a space only where none of its kind has a space beside
    it, and at most 32 periods go.
    """
    text = answer
    joined = _COMMA_IN_NUMBER.search(answer) is not None
    for mark in PUNCTUATION:
        text = text.replace(mark, "" if joined or f"{mark} " in answer or f" {mark}" in answer else " ")
    words = [NUMBERS.get(word, word) for word in _PERIOD.sub("", text, count=32).lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def vqa_accuracy(answer: str, people: Sequence[str]) -> float:
    """Soft accuracy against the answers of several people (ten in VQAv2), in [0, 1].

    The mean over the people, each left out in turn, of min(1, equal answers among the others / 3). As in the
    official code, answers are normalised only where the people disagree. With fewer than 4 people: 1 if the
    normalised answer equals one of theirs, else 0.
    """
    said, truth = _trim(answer), [_trim(a) for a in people]
    if len(truth) < MIN_PEOPLE:
        return float(normalise(said) in {normalise(a) for a in truth})
    if len(set(truth)) > 1:
        said, truth = normalise(said), [normalise(a) for a in truth]
    equal = truth.count(said)
    return sum(min(1.0, (equal - (a == said)) / 3) for a in truth) / len(truth)


def _trim(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()
