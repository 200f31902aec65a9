from __future__ import annotations

import pytest

from semcom.tasks.answers import CONTRACTIONS, normalise, vqa_accuracy


@pytest.mark.parametrize(
    ("answer", "expected"),
    [  # worked out with the official vqaEval.py (processPunctuation, then processDigitArticle)
        ("The Dog", "dog"),
        ("an apple.", "apple"),
        ("two", "2"),
        ("none", "0"),
        ("Ten people!", "10 people"),
        ("dont know", "don't know"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("t-shirt", "t shirt"),
        ("black/white", "black white"),
        ("black, white", "black white"),
        ("black / white-ish", "black white ish"),
        ("1,000", "1000"),
        ("1,000 t-shirts", "1000 tshirts"),
        ("3.5 m", "3.5 m"),
        ("u.s.a.", "usa"),
        ("what?", "what"),
        ("a", ""),
        ("", ""),
        ("\n a\tred  car \n", "red car"),
        ("eleven", "eleven"),
        ("somebody'd", "somebodyd"),
    ],
)
def test_normalisation(answer: str, expected: str) -> None:
    assert normalise(answer) == expected


def test_a_contraction_lacks_one_apostrophe() -> None:
    assert CONTRACTIONS["wouldn'tve"] == CONTRACTIONS["wouldnt've"] == "wouldn't've"
    assert CONTRACTIONS["ow's'at"] == "'ow's'at"
    for word in ("its", "were", "well", "ill", "she's", "let's"):
        assert normalise(word) == word


@pytest.mark.parametrize(
    ("equal", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0), (10, 1.0)]
)
def test_soft_accuracy_of_ten_people(equal: int, expected: float) -> None:
    # Of k people who say so, each leaves k - 1 others; each of the 10 - k leaves k:
    # (k min(1, (k - 1) / 3) + (10 - k) min(1, k / 3)) / 10, the well-known 0, .3, .6, .9, 1.
    people = ["cat"] * equal + [f"other {i}" for i in range(10 - equal)]
    assert vqa_accuracy("cat", people) == pytest.approx(expected)


def test_people_who_agree_are_compared_without_normalisation() -> None:
    assert vqa_accuracy("The cat", ["cat"] * 10) == 0.0  # as in the official code
    assert vqa_accuracy("The cat", ["cat"] * 9 + ["dog"]) == 1.0
    assert vqa_accuracy("cat\n", ["cat"] * 10) == 1.0


def test_few_people_need_one_equal_answer() -> None:
    assert vqa_accuracy("A cat.", ["the cat"]) == 1.0
    assert vqa_accuracy("dog", ["cat", "dog", "cow"]) == 1.0
    assert vqa_accuracy("hen", ["cat", "dog", "cow"]) == 0.0
    assert vqa_accuracy("cat", ["cat"] * 4) == 1.0
