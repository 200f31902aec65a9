"""Scenes: a pure function of (split, index), truth that the pixels show, answers that a second reading confirms."""

from __future__ import annotations

import io
import re
import secrets
from collections import Counter, defaultdict

import numpy as np
import PIL.Image
import pytest

from channels.errors import InputError
from semcom.data import language
from semcom.data.scenes import HELD_OUT, RGB, SPLITS, Scenes, draw_scenes, render


def start() -> int:
    """A fresh place in the split at every run; pytest prints it on failure."""
    return secrets.randbelow(10**6)


@pytest.mark.parametrize("split", SPLITS)
def test_a_scene_does_not_depend_on_its_batch(split: str) -> None:
    offset = start()
    together = Scenes(split, 24, offset=offset).batch(0, 24)
    for i in (0, 7, 23):
        alone = Scenes(split, 1, offset=offset + i)[0]
        assert np.array_equal(alone.image, together[i].image)
        assert (alone.questions, alone.captions, alone.label) == (
            together[i].questions,
            together[i].captions,
            together[i].label,
        )


def test_splits_differ() -> None:
    images = [Scenes(split, 1)[0].image for split in ("train", "val", "test")]
    assert not np.array_equal(images[0], images[1]) and not np.array_equal(images[1], images[2])


@pytest.mark.parametrize("size", [64, 96, 128])
def test_objects_have_their_colour_at_their_place(size: int) -> None:
    for sample in Scenes("test", 64, size=size, offset=start()).batch(0, 64):
        assert sample.image.shape == (size, size, 3) and sample.scene is not None
        main = sample.scene["objects"][0]
        # Beside the mark, inside every shape: a ring of pixels around the centre on which the colour dominates.
        around = [
            sample.image[int(main["y"] + r * np.sin(a)), int(main["x"] + r * np.cos(a))]
            for a in np.linspace(0, 2 * np.pi, 12)
            for r in (0.28 * main["radius"],)
        ]
        seen = np.median(np.array(around, float), axis=0)
        nearest = int(np.argmin(((RGB - seen) ** 2).sum(1)))
        if main["mark"] == "none":
            assert language.COLORS[nearest] == main["color"], sample.id


def test_main_object_is_the_largest_by_a_margin() -> None:
    for sample in Scenes("test", 300, offset=start()).batch(0, 300):
        assert sample.scene is not None
        main, *rest = sample.scene["objects"]
        assert all(main["radius"] > 1.1 * o["radius"] for o in rest)
        assert sample.label == f"{main['color']} {main['shape']}"
        assert len({(o["color"], o["shape"]) for o in sample.scene["objects"]}) == 1 + len(rest)
        assert len({o["cell"] for o in sample.scene["objects"]}) == 1 + len(rest)


@pytest.mark.parametrize("phrasing", range(len(language.PHRASINGS)))
def test_captions_parse_back(phrasing: int) -> None:
    for sample in Scenes("test-crowded", 200, offset=start()).batch(0, 200):
        assert sample.scene is not None
        expected = [(o["color"], o["shape"], o["position"]) for o in sample.scene["objects"]]
        assert language.parse_caption(sample.captions[phrasing]) == expected


@pytest.mark.parametrize("text", ["", ",,,", "red", "circle red at", "a red circle", "\0 and and", "é" * 999])
def test_parser_takes_any_text(text: str) -> None:
    assert all(len(fact) == 3 for fact in language.parse_caption(text))


def answer_from_caption(caption: str, question: str) -> str | None:
    """An independent reader of captions: the oracle for every question that the caption determines."""
    objects = language.parse_caption(caption)
    cells = {p: divmod(i, 3) for i, p in enumerate(language.POSITIONS)}

    def beyond(a: str, b: str, relation: str) -> bool:
        (ra, ca), (rb, cb) = cells[a], cells[b]
        return {"left of": ca < cb, "right of": ca > cb, "above": ra < rb, "below": ra > rb}[relation]

    relation = "(left of|right of|above|below)"
    if m := re.fullmatch(r"what color is the (\w+) \?", question):
        return next(c for c, s, _ in objects if s == m[1])
    if m := re.fullmatch(r"what shape is the (\w+) object \?", question):
        return next(s for c, s, _ in objects if c == m[1])
    if question == "how many objects are there ?":
        return str(len(objects))
    if m := re.fullmatch(r"how many (\w+) objects are there \?", question):
        return str(sum(c == m[1] for c, _, _ in objects))
    if m := re.fullmatch(r"how many objects are a (\w+) \?", question):
        return str(sum(s == m[1] for _, s, _ in objects))
    if m := re.fullmatch(r"is there an? (\w+) (\w+) \?", question):
        return "yes" if any((c, s) == (m[1], m[2]) for c, s, _ in objects) else "no"
    if m := re.fullmatch(r"where is the (\w+) (\w+) \?", question):
        return next(p for c, s, p in objects if (c, s) == (m[1], m[2]))
    place = {f"{c} {s}": p for c, s, p in objects}
    if m := re.fullmatch(rf"is the (\w+ \w+) {relation} the (\w+ \w+) \?", question):
        return "yes" if beyond(place[m[1]], place[m[3]], m[2]) else "no"
    if m := re.fullmatch(rf"what (color|shape) is the object {relation} the (\w+ \w+) \?", question):
        there = [(c, s) for c, s, p in objects if f"{c} {s}" != m[3] and beyond(p, place[m[3]], m[2])]
        assert len(there) == 1
        return there[0][0 if m[1] == "color" else 1]
    return None


@pytest.mark.parametrize("split", ["test", "test-compositional", "test-crowded"])
def test_the_caption_determines_what_it_claims_to(split: str) -> None:
    for sample in Scenes(split, 300, offset=start()).batch(0, 300):
        for question in sample.questions:
            read = answer_from_caption(sample.captions[0], question.text)
            assert question.in_caption == (read is not None)
            if read is not None:
                assert read == question.answer, (sample.id, question)
            assert question.answer in question.candidates


def test_questions_outside_the_caption_agree_with_the_scene_graph() -> None:
    for sample in Scenes("val", 300, offset=start()).batch(0, 300):
        assert sample.scene is not None
        thing = {f"{o['color']} {o['shape']}": o for o in sample.scene["objects"]}
        for q in sample.questions:
            named = [thing[name] for name in thing if name in q.text]
            if q.type in ("size", "mark", "orientation"):
                assert named[0][q.type] == q.answer
            elif q.type == "larger":
                first, second = sorted(named, key=lambda o: q.text.index(f"{o['color']} {o['shape']}"))
                assert q.answer == ("yes" if first["radius"] > second["radius"] else "no")
            elif q.type == "texture":
                assert q.answer == sample.scene["texture"]


def test_answers_are_balanced() -> None:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    chance: dict[str, int] = {}
    for sample in Scenes("train", 3000, offset=start()).batch(0, 3000):
        for q in sample.questions:
            answers[q.type][q.answer] += 1
            chance[q.type] = len(q.candidates)
    assert set(answers) == set(language.QUESTION_TYPES)
    for kind, counts in answers.items():
        most = counts.most_common(1)[0][1] / sum(counts.values())
        # A guess of the commonest answer gains at most 7 points on a uniform guess; counts are skewed by nature.
        assert most < (0.45 if kind == "count" else 1 / chance[kind] + 0.07), (kind, counts)


def test_held_out_pairs_appear_in_the_compositional_split_alone() -> None:
    held = {(int(c), s) for s, c in enumerate(HELD_OUT)}
    train, shifted = draw_scenes("train", range(3000)), draw_scenes("test-compositional", range(500))
    for i in range(3000):
        pairs = zip(train.color[i, : train.count[i]], train.shape[i, : train.count[i]], strict=True)
        assert not held & {(int(c), int(s)) for c, s in pairs}
    assert all((int(shifted.color[i, 0]), int(shifted.shape[i, 0])) in held for i in range(500))


def test_shifted_splits_are_shifted() -> None:
    assert draw_scenes("test-crowded", range(99)).count.min() >= 6
    samples = Scenes("test-texture", 99).batch(0, 99)
    assert all(s.scene is not None and s.scene["texture"] in language.UNSEEN_TEXTURES for s in samples)
    assert not any(q.type == "texture" for s in samples for q in s.questions)


def test_pictures_cost_bits() -> None:
    """Textured and noisy: at a fair quality a JPEG needs several times the bytes of a flat drawing (about 350)."""
    sizes = []
    for image in render(draw_scenes("test", range(50))):
        buffer = io.BytesIO()
        PIL.Image.fromarray(image).save(buffer, "JPEG", quality=75)
        sizes.append(len(buffer.getvalue()))
    assert np.mean(sizes) > 1000


def test_number_of_questions() -> None:
    assert all(len(s.questions) == 4 for s in Scenes("test", 50, questions=4).batch(0, 50))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": "tset"}, "Did you mean 'test'"),
        ({"samples": 0}, "samples"),
        ({"size": 32}, "64 to 128"),
        ({"offset": -1}, "offset"),
        ({"questions": 0}, "questions"),
    ],
)
def test_bad_options(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Scenes(**options)
