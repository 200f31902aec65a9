"""The recipe of the image generator: plain scenes say what the scenes say, and a short training leaves weights."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import numpy as np
import pytest
import torch

from semcom.data.language import caption
from semcom.data.scenes import draw_scenes, render, truth
from semcom.systems.semantic.image_generator import Embedded
from semcom.training import image_generator
from tests.vlm import tiny


def test_plain_scenes_have_the_captions_of_the_scenes_and_nothing_else() -> None:
    first = secrets.randbelow(10**6)
    scenes = draw_scenes("val", first + np.arange(100))
    plain = image_generator.plain(scenes)
    for i in range(100):
        before, after = truth(scenes, i), truth(plain, i)
        assert caption(before) == caption(after), first
        assert after["texture"] == "plain" and {o["mark"] for o in after["objects"]} == {"none"}
        assert {o["orientation"] for o in after["objects"]} <= {"up", None}
        assert (
            max(o["radius"] for o in after["objects"][1:] or [{"radius": 0}]) < after["objects"][0]["radius"]
        )
    pictures = render(plain)
    assert pictures.shape == (100, 64, 64, 3)


def test_the_features_are_those_of_the_vision_tower(tmp_path: Path) -> None:
    """Pictures of another size are resized as a differentiable stand-in of the processor."""
    folder = tiny.clip(tmp_path / "clip", seed=secrets.randbelow(1000))
    features = image_generator.Tower(str(folder), "cpu")
    pictures = torch.rand(2, 3, 64, 64, requires_grad=True)
    seen = features(pictures)
    assert seen.shape == (2, 17, 32)
    seen.square().mean().backward()
    assert pictures.grad is not None and bool((pictures.grad != 0).any())


def test_the_recipe_makes_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_generator, "SCENES", 64)
    monkeypatch.setattr(image_generator, "BATCH", 4)
    monkeypatch.setattr(image_generator, "TESTED", 4)
    folder = image_generator.train(tmp_path, steps=2)
    card = json.loads((folder / "card.json").read_text())
    assert card["recipe"]["steps"] == 2 and card["scores"]["images"] == 4
    assert Embedded(str(folder))("a red star at the top .").shape == (64, 64, 3)
    assert not (folder / "checkpoint.pt").exists()
