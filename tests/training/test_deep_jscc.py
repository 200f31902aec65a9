"""The recipes of DeepJSCC and ADJSCC: what each row meets, and that a folder comes out whole."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import numpy as np
import pytest
import torch

from semcom import systems
from semcom.codecs.jscc import JSCC
from semcom.data.scenes import draw_scenes, render
from semcom.training import RECIPES, deep_jscc, loop
from tests.fakes import FakeBudget

SEED = secrets.randbelow(2**20)


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = draw_scenes("train", SEED + np.arange(48))
    images = render(scenes)
    monkeypatch.setattr(loop, "pool", lambda: (scenes, images))
    monkeypatch.setattr(deep_jscc, "SHAPE", {"width": 8, "groups": 4})
    monkeypatch.setattr(deep_jscc, "SCORED", 3)


@pytest.mark.parametrize("matched", [1.0, 0.5])
def test_rows_meet_their_own_snr_and_number_of_groups(
    matched: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep_jscc, "BATCH", 400)
    codec = JSCC(8, 4, adaptive=True)
    told, met = [], []
    encode, decode = codec.encode, codec.decode
    monkeypatch.setattr(codec, "encode", lambda x, snr: told.append(snr) or encode(x, snr))
    monkeypatch.setattr(codec, "decode", lambda *a: met.append(a) or decode(*a))
    with torch.no_grad():
        deep_jscc.objective(codec, (-5.0, 20.0), matched)(0, np.random.default_rng(SEED))
    ((_, noise, kept, _),) = met
    actual = -10 * torch.log10(noise[:, 0])
    assert actual.min() >= -5.01 and actual.max() <= 20.01 and actual.std() > 5
    share = float((told[0] - actual).abs().lt(1e-3).float().mean())
    assert abs(share - matched) <= 5 * (matched * (1 - matched) / 400) ** 0.5, SEED
    counts = np.bincount(kept.numpy(), minlength=5)[1:]  # log-uniform: P(k) = log((k + 1) / k) / log 5
    expected = 400 * np.log((np.arange(1, 5) + 1) / np.arange(1, 5)) / np.log(5)
    assert (np.abs(counts - expected) < 5 * expected**0.5).all(), (SEED, counts)


def test_training_reduces_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep_jscc, "BATCH", 8)
    torch.manual_seed(SEED)
    codec = JSCC(8, 4)
    loss = deep_jscc.objective(codec, (10.0, 10.0))

    def mean() -> float:
        with torch.no_grad():
            return float(np.mean([float(loss(0, np.random.default_rng(i))[0]) for i in range(10)]))

    codec.start(deep_jscc.tensor(loop.pool()[1]), 10.0)
    before = mean()
    deep_jscc.fit(tmp_path, codec, (10.0, 10.0), 30, seed=SEED)
    assert mean() < before, SEED


@pytest.mark.parametrize("name", ["deep-jscc", "adjscc"])
def test_a_recipe_leaves_weights_a_card_and_nothing_else(name: str, tmp_path: Path) -> None:
    RECIPES[name].run(tmp_path, steps=1)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["card.json", "config.json", "model.safetensors"]
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["recipe"]["command"] == f"semcom train {name}" and len(card["scores"]) >= 10
    system = systems.create(name, None, weights=str(tmp_path))
    (message,) = system.transmit([loop.pool()[1][0]], FakeBudget(300))
    assert message.symbols is not None and len(message.symbols) == 256
