"""The shipped weights: small, carded, as good as the issue asks, and as good on fresh scenes as their cards say."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from semcom import tasks
from semcom.data.language import NOT_IN_CAPTION
from semcom.data.scenes import Scenes
from semcom.systems.base import Models
from semcom.training import evaluate

WEIGHTS = Path(evaluate.__file__).parent.parent / "weights"


def card(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((WEIGHTS / name / "card.json").read_text())
    return content


def test_embedded_models_are_small_and_safe() -> None:
    files = [f for name in ("dual-encoder", "generative") for f in (WEIGHTS / name).iterdir()]
    assert sum(f.stat().st_size for f in files) <= 12e6
    assert {f.suffix for f in files} <= {".json", ".safetensors", ".jinja"}


@pytest.mark.parametrize("name", ["dual-encoder", "generative", "caption-model"])
def test_cards_say_how_the_weights_were_made(name: str) -> None:
    content = card(name)
    assert content["recipe"]["command"] == f"semcom train {name}"
    assert {"data", "minutes"} <= set(content["recipe"]) and content["scores"] and content["commit"]


def test_cards_reach_what_was_asked() -> None:
    dual, generative = card("dual-encoder")["scores"], card("generative")["scores"]
    assert dual["retrieval"]["test"]["score"] >= 0.95
    assert dual["classification"]["test"]["score"] >= 0.95
    assert generative["vqa"]["test"]["score"] >= 0.95
    for kind, row in generative["vqa"]["test"]["by type"].items():
        assert row["score"] >= (0.75 if kind in NOT_IN_CAPTION else 0.85), kind
    assert generative["caption attribute F1"]["test"]["score"] >= 0.97
    assert generative["vqa, true caption alone, questions it determines"]["test"]["score"] >= 0.95


def test_fresh_scenes_score_as_the_card_says() -> None:
    """Scenes that no card has seen: the measured interval must reach the card's score (99.9 %)."""
    from semcom import stats

    data = Scenes("test", 150, offset=10_000 + secrets.randbelow(10**6))
    samples, models = data.batch(0, 150), Models()
    measured = {
        "vqa": card("generative")["scores"]["vqa"]["test"]["score"],
        "retrieval": card("dual-encoder")["scores"]["retrieval"]["test"]["score"],
        "classification": card("dual-encoder")["scores"]["classification"]["test"]["score"],
    }
    for name, promised in measured.items():
        task = tasks.create(name, models, data)
        asked = [(s, q) for s in samples for q in task.queries(s)]
        answers = task.answer([evaluate.an_image(s) for s, _ in asked], [q for _, q in asked])
        scores = [task.score(a, q) for a, (_, q) in zip(answers, asked, strict=True)]
        _, _, high = stats.interval(scores, [s.id for s, _ in asked], True, level=0.999)
        assert high >= promised, (name, data.offset, promised, high)
