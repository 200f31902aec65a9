"""What is said and asked about a scene: vocabulary, caption grammar and its parser, questions with exact answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from semcom.types import Question

COLORS = ("red", "green", "blue", "yellow", "orange", "purple", "cyan", "white")
SHAPES = ("circle", "square", "triangle", "cross", "star", "dome")
ORIENTED = ("triangle", "dome")
SIZES = ("small", "large")
DIRECTIONS = ("up", "right", "down", "left")
POSITIONS = (
    "top-left",
    "top",
    "top-right",
    "left",
    "center",
    "right",
    "bottom-left",
    "bottom",
    "bottom-right",
)
MARKS = ("none", "dot", "bar", "plus")
TEXTURES = ("plain", "stripes", "checks", "dots", "waves")
UNSEEN_TEXTURES = ("bricks", "rings", "blobs")
NUMBERS = tuple(str(n) for n in range(10))
YES_NO = ("yes", "no")
RELATIONS = {
    "left of": (0, -1),
    "right of": (0, 1),
    "above": (1, -1),
    "below": (1, 1),
}  # axis (0: column), sign
LABELS = tuple(f"{c} {s}" for c in COLORS for s in SHAPES)
LABEL_PROMPT = "the largest object is a {label} ."
LABEL_QUESTION = "which object is the largest ?"
PHRASINGS = ("{} at the {}", "there is {} at the {}", "at the {1} {0}", "we see {} in the {} part")
QUESTION_TYPES = (
    "color", "shape", "count", "existence", "position", "relation", "two-hop",
    "size", "larger", "orientation", "mark", "texture",
)  # fmt: skip
NOT_IN_CAPTION = ("size", "larger", "orientation", "mark", "texture")

Object = Mapping[str, Any]
Scene = Mapping[str, Any]
_PLACE = re.compile(rf"\b({'|'.join(sorted(POSITIONS, key=len, reverse=True))})\b(?!-)")
THING = re.compile(rf"\b({'|'.join(COLORS)})\s+({'|'.join(SHAPES)})\b")


def caption(scene: Scene, phrasing: int = 0) -> str:
    """The caption of a scene in one of the ``PHRASINGS``; 0 is the standard one."""
    parts = [PHRASINGS[phrasing].format(f"{_article(o)} {_name(o)}", o["position"]) for o in scene["objects"]]
    text = " , ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]
    return text + " ."


def parse_caption(text: str) -> list[tuple[str, str, str]]:
    """(colour, shape, position) of each object that a caption in any phrasing names; "" for a missing position.

    Any text is accepted; what cannot be read as an object is passed over.
    """
    found = []
    for part in re.split(r"\s,\s|\sand\s|,", text.lower()):
        thing = THING.search(part)
        if thing:
            place = _PLACE.search(part)
            found.append((thing[1], thing[2], place[1] if place else ""))
    return found


def _name(o: Object) -> str:
    return f"{o['color']} {o['shape']}"


def _article(o: Object) -> str:
    return "an" if o["color"] == "orange" else "a"


def beyond(a: Object, b: Object, relation: str) -> bool:
    """Whether ``a`` is ``relation`` ``b``, judged by grid cells, as the caption does."""
    axis, sign = RELATIONS[relation]
    pa, pb = (a["cell"] % 3, b["cell"] % 3) if axis == 0 else (a["cell"] // 3, b["cell"] // 3)
    return bool((pa - pb) * sign > 0)


def _pick(rng: np.random.Generator, items: list[Any]) -> Any:
    return items[int(rng.integers(len(items)))]


def _color(objects: list[Object], scene: Scene, rng: np.random.Generator) -> Question | None:
    unique = [o for o in objects if sum(p["shape"] == o["shape"] for p in objects) == 1]
    if not unique:
        return None
    o = _pick(rng, unique)
    return Question(f"what color is the {o['shape']} ?", o["color"], "color", COLORS)


def _shape(objects: list[Object], scene: Scene, rng: np.random.Generator) -> Question | None:
    unique = [o for o in objects if sum(p["color"] == o["color"] for p in objects) == 1]
    if not unique:
        return None
    o = _pick(rng, unique)
    return Question(f"what shape is the {o['color']} object ?", o["shape"], "shape", SHAPES)


def _count(objects: list[Object], scene: Scene, rng: np.random.Generator) -> Question | None:
    if rng.random() < 0.4:
        return Question("how many objects are there ?", str(len(objects)), "count", NUMBERS)
    field, values = _pick(rng, [("color", COLORS), ("shape", SHAPES)])
    # Ask for a present value three times in four; the most frequent one half of the time.
    present = sorted({o[field] for o in objects})
    counts = {value: sum(o[field] == value for o in objects) for value in values}
    u = rng.random()
    if u < 0.5:
        most = max(counts.values())
        value = _pick(rng, [v for v in present if counts[v] == most])
    else:
        value = _pick(rng, present if u < 0.75 else list(values))
    text = (
        f"how many {value} objects are there ?" if field == "color" else f"how many objects are a {value} ?"
    )
    return Question(text, str(counts[value]), "count", NUMBERS)


def _existence(objects: list[Object], scene: Scene, rng: np.random.Generator) -> Question | None:
    o = _pick(rng, objects)
    if rng.random() < 0.5:
        return Question(f"is there {_article(o)} {_name(o)} ?", "yes", "existence", YES_NO)
    here = {(p["color"], p["shape"]) for p in objects}
    # Near misses: one attribute of a real object is changed, preferably to one that another object has.
    near = [(c, o["shape"]) for c in COLORS if (c, o["shape"]) not in here]
    near += [(o["color"], s) for s in SHAPES if (o["color"], s) not in here]
    swapped = [
        (p["color"], q["shape"]) for p in objects for q in objects if (p["color"], q["shape"]) not in here
    ]
    color, shape = _pick(rng, swapped if swapped and rng.random() < 0.6 else near)
    return Question(f"is there {_article({'color': color})} {color} {shape} ?", "no", "existence", YES_NO)


def _position(objects: list[Object], scene: Scene, rng: np.random.Generator) -> Question | None:
    o = _pick(rng, objects)
    return Question(f"where is the {_name(o)} ?", o["position"], "position", POSITIONS)


def _relation(objects: list[Object], scene: Scene, rng: np.random.Generator) -> Question | None:
    options = [
        (a, b, r) for a in objects for b in objects for r in RELATIONS if a is not b and beyond(a, b, r)
    ]
    if not options:
        return None
    a, b, r = _pick(rng, options)
    answer = "yes"
    if rng.random() < 0.5:
        a, b, answer = b, a, "no"
    return Question(f"is the {_name(a)} {r} the {_name(b)} ?", answer, "relation", YES_NO)


def _two_hop(objects: list[Object], scene: Scene, rng: np.random.Generator) -> Question | None:
    options = []
    for b in objects:
        for r in RELATIONS:
            there = [a for a in objects if a is not b and beyond(a, b, r)]
            if len(there) == 1:
                options.append((there[0], b, r))
    if not options:
        return None
    a, b, r = _pick(rng, options)
    if rng.random() < 0.5:
        return Question(f"what color is the object {r} the {_name(b)} ?", a["color"], "two-hop", COLORS)
    return Question(f"what shape is the object {r} the {_name(b)} ?", a["shape"], "two-hop", SHAPES)


def _size(objects: list[Object], scene: Scene, rng: np.random.Generator) -> Question | None:
    if len(objects) < 2:
        return None
    o = _pick(rng, objects[1:])  # the main object is always large
    return Question(f"what size is the {_name(o)} ?", o["size"], "size", SIZES)


def _larger(objects: list[Object], scene: Scene, rng: np.random.Generator) -> Question | None:
    # The caption tells which object is the main one, so it is not asked about.
    rest = objects[1:]
    pairs = [(a, b) for a in rest for b in rest if a["radius"] > 1.15 * b["radius"]]
    if not pairs:
        return None
    a, b = _pick(rng, pairs)
    answer = "yes"
    if rng.random() < 0.5:
        a, b, answer = b, a, "no"
    return Question(f"is the {_name(a)} larger than the {_name(b)} ?", answer, "larger", YES_NO)


def _orientation(objects: list[Object], scene: Scene, rng: np.random.Generator) -> Question | None:
    turned = [o for o in objects if o["orientation"] is not None]
    if not turned:
        return None
    o = _pick(rng, turned)
    return Question(f"which way does the {_name(o)} point ?", o["orientation"], "orientation", DIRECTIONS)


def _mark(objects: list[Object], scene: Scene, rng: np.random.Generator) -> Question | None:
    o = _pick(rng, [o for o in objects if o["size"] == "large"])
    return Question(f"what mark is on the {_name(o)} ?", o["mark"], "mark", MARKS)


def _texture(objects: list[Object], scene: Scene, rng: np.random.Generator) -> Question | None:
    if scene["texture"] not in TEXTURES:
        return None  # an unseen background has no name
    return Question("what is the background texture ?", scene["texture"], "texture", TEXTURES)


_ASK: dict[str, Callable[[list[Object], Scene, np.random.Generator], Question | None]] = {
    "color": _color, "shape": _shape, "count": _count, "existence": _existence, "position": _position,
    "relation": _relation, "two-hop": _two_hop, "size": _size, "larger": _larger, "orientation": _orientation,
    "mark": _mark, "texture": _texture,
}  # fmt: skip


def questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """One question of each type that the scene allows, with its exact answer, in the order of ``QUESTION_TYPES``."""
    asked = []
    for kind in QUESTION_TYPES:
        question = _ASK[kind](scene["objects"], scene, rng)
        if question is not None:
            asked.append(
                Question(
                    text=question.text,
                    answer=question.answer,
                    type=kind,
                    candidates=question.candidates,
                    in_caption=kind not in NOT_IN_CAPTION,
                    answers=(question.answer,),
                )
            )
    return asked


def words() -> list[str]:
    """Every word of captions, questions and answers, for the embedded tokeniser."""
    grammar = (
        "a an the is are there at in we see part and , . ? object objects what color shape size which way does point "
        "how many where mark on background texture larger largest than of left right above below answer : describe "
        "image yes no none this it picture shows with to or"
    )
    vocabulary = [
        *grammar.split(),
        *COLORS,
        *SHAPES,
        *SIZES,
        *DIRECTIONS,
        *POSITIONS,
        *MARKS,
        *TEXTURES,
        *NUMBERS,
    ]
    return list(dict.fromkeys(vocabulary))
