from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcom.tasks.metrics import CiderD, attribute_f1, bleu, tokenise

ARMY = "It is a guide to action which ensures that the military always obeys the commands of the party"
ARMY_REFERENCES = (
    "It is a guide to action that ensures that the military will forever heed Party commands",
    "It is the guiding principle which guarantees the military forces always being under the command of the Party",
    "It is the practical guide for the army always to heed the directions of the party",
)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A man's dog, isn't it?", "a man 's dog is n't it"),
        ("The T-shirt costs $3.50 (or 1,000 yen)!", "the t-shirt costs $ 3.50 or 1,000 yen"),
        ("I cannot; they\u2019ll go...", "i can not they 'll go"),
        ("a red star at the top-left .", "a red star at the top-left"),
        ("", ""),
        ("?!", ""),
    ],
)
def test_tokens(text: str, tokens: str) -> None:
    assert tokenise(text) == tokens.split()


def test_bleu_against_published_values() -> None:
    # The worked examples in the documentation of nltk.translate.bleu_score (sentence_bleu, corpus_bleu).
    assert bleu([ARMY], [ARMY_REFERENCES]) == pytest.approx(0.5045666840058485, abs=1e-12)
    second = "he read the book because he was interested in world history"
    reference = "he was interested in world history because he read the book"
    both = bleu([ARMY, second], [ARMY_REFERENCES, (reference,)])
    assert both == pytest.approx(0.5920778868801042, abs=1e-12)


def test_bleu_by_hand() -> None:
    # 5 words: unigrams 4/5, bigrams 3/4, trigrams 2/3, 4-grams 1/2; as long as the reference.
    assert bleu(["a b c d x"], [["a b c d e"]]) == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    # All right but 4 words against 6: brevity penalty exp(1 - 6/4).
    assert bleu(["a b c d"], [["a b c d e f"]]) == pytest.approx(math.exp(1 - 6 / 4))
    # The nearest reference length counts, the shorter one at a tie (3 and 5 words against 4).
    assert bleu(["a b c d"], [["a b c d e", "x y z"]]) == pytest.approx(1.0)
    # Repetition is clipped: "a" is right once of five times.
    assert bleu(["a a a a a"], [["a b c d e"]]) == 0.0
    assert bleu(["a b c"], [["a b c"]]) == 0.0  # no 4-gram, no smoothing
    assert bleu([""], [["a b c d"]]) == 0.0
    assert bleu([], []) == 0.0


def test_cider_by_hand() -> None:
    # Two documents "a b" and "a c": log N = log 2; "a" is in both and weighs 0; "b", "c", "a b", "a c" weigh log 2.
    cider = CiderD([["a b"], ["a c"]])
    # n = 1 and n = 2 agree fully, n = 3 and n = 4 do not exist: 10 (1 + 1) / 4.
    assert cider.score("a b", ["a b"]) == pytest.approx(5.0)
    # n = 1: cosine of (b, x, x: unseen words weigh log 2 too; x twice) with (b): 1 / sqrt(1 + 4); n = 2: "a b" with
    # "a b", "b x", "x x": 1 / sqrt(3); two words longer.
    longer = 10 / 4 * (1 / math.sqrt(5) + 1 / math.sqrt(3)) * math.exp(-(2**2) / (2 * 36))
    assert cider.score("a b x x", ["a b"]) == pytest.approx(longer)
    # Clipping: "b b" has weight 2 log 2 against log 2; min(2, 1) * 1 / (2 * 1).
    assert cider.score("b b", ["b"]) == pytest.approx(10 / 4 * (1 / 2) * math.exp(-1 / 72))
    # Mean over references.
    assert cider.score("a b", ["a b", "c"]) == pytest.approx(5.0 / 2)


def test_cider_against_the_reference_implementation() -> None:
    # pycocoevalcap 1.2, cider.cider_scorer.CiderScorer (n=4, sigma=6) on these sentences.
    references = [
        ["a red circle at the top left", "there is a red circle"],
        ["a blue square at the bottom", "one blue square below", "the square is blue"],
        ["two green stars and a red circle at the right"],
    ]
    candidates = ["a red circle at the left", "a blue square at the top left", "a star and a red red circle"]
    cider = CiderD(references)
    scores = [cider.score(c, r) for c, r in zip(candidates, references, strict=True)]
    assert scores == pytest.approx([2.2022862022378162, 3.1123456008886574, 1.7549076428297263], abs=1e-9)


WORDS = st.lists(
    st.sampled_from(["red", "blue", "star", "circle", "top", "left", "the", "a"]), min_size=4, max_size=12
).map(" ".join)


@settings(max_examples=50, deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=6, unique=True))
def test_cider_properties(captions: list[str]) -> None:
    cider = CiderD([[c] for c in captions])
    for mine, other in itertools.product(captions, captions):
        score = cider.score(mine, [other])
        assert -1e-9 <= score <= 10 + 1e-9
        assert score <= cider.score(other, [other]) + 1e-9
    rare = CiderD([["one two three four five"], ["red blue star circle"]])
    assert rare.score("one two three four five", ["one two three four five"]) == pytest.approx(10.0)
    assert rare.score("red blue star circle", ["one two three four five"]) == 0.0


def test_cider_of_one_document_is_zero() -> None:
    assert CiderD([["a b c d"]]).score("a b c d", ["a b c d"]) == 0.0


STAR, CIRCLE = ("red", "star", "top"), ("blue", "circle", "left")


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        ([STAR, CIRCLE], [STAR, CIRCLE], 1.0),
        ([CIRCLE, STAR], [STAR, CIRCLE], 1.0),  # the order does not matter
        ([], [STAR], 0.0),
        ([STAR], [], 0.0),
        ([], [], 1.0),
        ([STAR], [STAR, CIRCLE], 2 * 3 / (3 + 6)),
        ([STAR, STAR], [STAR], 2 * 3 / (6 + 3)),  # said twice, true once
        ([("red", "star", "")], [STAR], 2 * 2 / (2 + 3)),  # a place that is not told is not wrong
        ([("red", "circle", "top")], [STAR], 2 * 2 / 6),
        # The best matching is not the greedy one: pairing the first with the first (2) leaves 0, crossing gives 2 + 2.
        (
            [("red", "star", "left"), ("red", "cross", "top")],
            [("red", "star", "top"), ("blue", "star", "left")],
            8 / 12,
        ),
    ],
)
def test_attribute_f1(
    found: list[tuple[str, str, str]], truth: list[tuple[str, str, str]], expected: float
) -> None:
    assert attribute_f1(found, truth) == pytest.approx(expected)


def test_attribute_f1_of_an_endless_caption_is_bounded_in_time() -> None:
    assert 0 < attribute_f1([STAR] * 100_000, [STAR]) < 0.1
