"""Codewords for visual tokens: what is sent, what comes back, what it gains, and whose tokens they fit."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import numpy as np
import pytest

from channels.errors import InputError
from semcom import stats, systems, tasks
from semcom.data.scenes import Scenes
from semcom.systems.base import Models
from semcom.systems.token_compression.codebooks import load
from semcom.training import token_codebooks as recipe
from semcom.types import ReceivedPacket, Reception
from semcom.vlm.load import load_generative
from tests.fakes import FakeBudget
from tests.systems.common import perfect
from tests.vlm import tiny

SEED = secrets.randbelow(2**32)


def test_nearest_codewords_travel_and_lost_packets_cost_their_tokens() -> None:
    rng, models = np.random.default_rng(SEED), Models()
    quantiser = load("token-codebooks", models.generative)
    system = systems.create("visual-tokens", models, select="none", weights="token-codebooks")
    data = Scenes("val", 4000)
    images = [data[int(i)].image for i in rng.integers(0, 4000, 3)]
    per_token = quantiser.parts * quantiser.bits // 8
    for image, message in zip(images, system.transmit(images, FakeBudget(10**6)), strict=True):
        (tokens,) = models.tokens([image])
        assert [len(p.payload) for p in message.packets] == [8 * per_token] * (len(tokens) // 8)
        kept = rng.random(len(message.packets)) < 0.7
        pairs = zip(message.packets, kept, strict=True)
        air = Reception(tuple(ReceivedPacket(p.payload, bool(ok)) for p, ok in pairs))
        recovered = system.receive([air], [(64, 64)])[0].tokens
        units = (tokens - quantiser.mean) / quantiser.scale @ quantiser.rotation
        words = np.split(units, quantiser.parts, axis=1)  # by hand: the nearest word of each part
        nearest = [
            book[((part[:, None] - book) ** 2).sum(-1).argmin(1)]
            for part, book in zip(words, quantiser.codebooks, strict=True)
        ]
        known = np.concatenate(nearest, 1) @ quantiser.rotation.T
        expected = (quantiser.mean + quantiser.scale * known)[np.repeat(kept, 8)]
        if kept.any():
            assert recovered is not None
            np.testing.assert_allclose(recovered, expected, atol=1e-4)
        else:
            assert recovered is None
    noise = Reception((ReceivedPacket(rng.bytes(61), True),))
    found = system.receive([noise], [(64, 64)])[0].tokens
    assert found is not None and found.shape == (61 // per_token, models.generative.token_dim)


def test_more_answers_than_one_bit_a_number_where_little_fits() -> None:
    first, count, room = int(np.random.default_rng(SEED).integers(0, 3000)), 100, FakeBudget(400)
    models, data = Models(), Scenes("val", first + count)
    drawn = data.batch(first, first + count)
    task = tasks.create("vqa", models, data)
    queries = [(i, q) for i, sample in enumerate(drawn) for q in task.queries(sample)]
    scores = []
    for options in ({"weights": "token-codebooks"}, {"bits": 1}):
        system = systems.create("visual-tokens", models, **options)
        sent = system.transmit([s.image for s in drawn], room)
        seen = system.receive([perfect(m) for m in sent], [(64, 64)] * count)
        answers = task.answer([seen[i] for i, _ in queries], [q for _, q in queries])
        scores.append([task.score(a, q) for a, (_, q) in zip(answers, queries, strict=True)])
    mean, low, _, _ = stats.paired_difference(scores[0], scores[1], [q.sample for _, q in queries])
    assert low > 0, (SEED, mean, low)


def test_a_recipe_for_any_llava(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("IMAGES", 40), ("TOKENS", 500), ("SCORED", 4), ("USES", (512,)), ("PARTS", 4)):
        monkeypatch.setattr(recipe, name, value)
    folder = tiny.llava(tmp_path / "llava", tiny.clip(tmp_path / "clip"))
    model = load_generative(str(folder))
    out = recipe.train(tmp_path / "books", steps=2, vlm=str(folder))
    assert (out / "card.json").is_file()
    assert load(str(out), model).dim == model.token_dim
    with pytest.raises(
        InputError, match=r"another vision-language model.*semcom train token-codebooks --vlm"
    ):
        load("token-codebooks", model)
    config = json.loads((out / "config.json").read_text())
    for wrong in ({"parts": 0}, {"parts": 3}, {"bits": 40}, {"parts": "many"}):
        (out / "config.json").write_text(json.dumps({**config, **wrong}))
        with pytest.raises(InputError, match="does not hold what is expected"):
            load(str(out), model)
    with pytest.raises(InputError, match=r"nowhere"):
        systems.create("visual-tokens", Models(), weights="nowhere/books").transmit(
            [np.zeros((64, 64, 3), np.uint8)], FakeBudget(9000)
        )


@pytest.mark.parametrize("options", [{"weights": 3}, {"weights": ""}, {"weights": "x", "analog": True}])
def test_options_that_make_no_sense(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="weights"):
        systems.create("visual-tokens", None, **options)
