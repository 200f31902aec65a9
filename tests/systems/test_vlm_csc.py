"""VLM-CSC: its gates, its code, its memory, and what it draws."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from channels.errors import InputError
from semcom import pretrained, systems
from semcom.data.scenes import Scenes
from semcom.link import Link
from semcom.systems.semantic import image_generator
from semcom.systems.semantic.text_jscc import PAD, UNKNOWN, NoiseAttention, TextJSCC, Vocabulary, split
from semcom.systems.semantic.vlm_csc import VLMCSC, VLMCSCText
from semcom.training import vlm_csc
from semcom.training.caption_model import captions
from semcom.types import Reception, Recovered
from tests.fakes import FakeBudget, FakeDual, FakeVLM
from tests.systems.common import damage, perfect

WORDS = ["a", "and", "at", "blue", "circle", "red", "star", "the", "top"]
SMALL: dict[str, Any] = {"words": WORDS, "length": 6, "symbols": 2, "width": 16, "layers": 1, "heads": 2}


@pytest.fixture
def seed() -> int:
    """Fresh random input; a failure shows it."""
    drawn = secrets.randbelow(2**31)
    torch.manual_seed(drawn)
    return drawn


def small(**options: Any) -> TextJSCC:
    return TextJSCC(**(SMALL | options)).eval()


def some_ids(rows: int = 5) -> torch.Tensor:
    return torch.randint(0, len(WORDS) + 2, (rows, 6))


def test_a_fresh_noise_attention_module_is_the_identity(seed: int) -> None:
    x, snr_db = torch.randn(3, 7, 16), torch.empty(3, 7).uniform_(-20, 30)
    assert torch.equal(NoiseAttention(16)(x, snr_db), x)
    with_gates, without = small(), small(attention=False)
    missing = with_gates.load_state_dict(without.state_dict(), strict=False)
    assert missing.missing_keys and all("gates" in key for key in missing.missing_keys)
    ids, snr = some_ids(), torch.empty(5, 1).uniform_(0, 10)
    assert torch.equal(with_gates.encode(ids, snr), without.encode(ids, snr))


def test_the_gate_is_that_of_the_equations(seed: int) -> None:
    gate = NoiseAttention(5)
    for weights in gate.parameters():
        torch.nn.init.normal_(weights)
    x, snr_db = torch.randn(1, 2, 5), torch.tensor([[3.0, 8.0]])
    w1, w2, w3 = (gate.level[i] for i in (0, 2, 4))
    for i in range(2):
        r = (snr_db[0, i] - 5) / 10
        hidden = torch.relu(w1.weight @ r.reshape(1) + w1.bias)
        v = torch.sigmoid(w3.weight @ torch.relu(w2.weight @ hidden + w2.bias) + w3.bias)
        e = gate.feature.weight @ x[0, i] + gate.feature.bias
        expected = 2 * torch.sigmoid(e * v) * x[0, i]
        torch.testing.assert_close(gate(x, snr_db)[0, i], expected, msg=f"seed {seed}")
    assert gate(x, snr_db).abs().le(2 * x.abs()).all()


def test_the_gates_learn(seed: int) -> None:
    """From the identity on, every parameter of a gate gets a gradient within two steps."""
    codec = small().train()
    optimizer = torch.optim.SGD(codec.parameters(), 0.5)
    for _ in range(3):
        ids = some_ids(32)
        snr = np.random.default_rng(seed).uniform(0, 10, 32)
        loss = vlm_csc.cross_entropy(vlm_csc.through(codec, ids, "awgn", snr, snr, range(32)), ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    still = [n for n, p in codec.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [name for name in still if "gates" in name] == []


def test_messages_have_unit_power_and_a_fixed_length(seed: int) -> None:
    codec = small()
    sent = codec.encode(some_ids(), torch.empty(5, 1).uniform_(-5, 15))
    assert sent.shape == (5, 12) and sent.dtype == torch.complex64
    torch.testing.assert_close(sent.abs().square().mean(1), torch.ones(5))
    assert codec.decode(sent, torch.full((5, 12), 0.1)).shape == (5, 6, len(WORDS) + 2)


def test_rows_do_not_depend_on_each_other(seed: int) -> None:
    codec, ids = small(), some_ids(8)
    snr = torch.empty(8, 1).uniform_(-5, 15)
    together = codec.encode(ids, snr)
    for i in range(8):
        alone = codec.encode(ids[i : i + 1], snr[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-4)


def test_sentences_to_numbers_and_back() -> None:
    vocabulary = Vocabulary(WORDS)
    ids = vocabulary.ids("A Red star, at the top", 8)
    assert [vocabulary.words[i - 2] if i > 1 else i for i in ids] == [
        "a", "red", "star", UNKNOWN, "at", "the", "top", PAD,
    ]  # fmt: skip
    assert vocabulary.text(ids) == "a red star at the top"
    assert vocabulary.ids("a " * 20, 3) == [2, 2, 2] and vocabulary.text([PAD, 2]) == ""
    assert split("at the bottom-left , isn't it?") == ["at", "the", "bottom-left", ",", "isn't", "it", "?"]
    for sample in Scenes("test-crowded", samples=5).batch(0, 5):
        assert " ".join(split(sample.captions[0])) == sample.captions[0]


def test_the_loss_counts_the_words_and_one_end() -> None:
    ids = torch.tensor([[2, 3, 0, 0], [4, 5, 6, 7]])
    logits = torch.randn(2, 4, 9, requires_grad=True)
    loss = vlm_csc.cross_entropy(logits, ids)
    p = logits.log_softmax(2)
    kept = [p[0, 0, 2], p[0, 1, 3], p[0, 2, 0], *(p[1, i, 4 + i] for i in range(4))]
    torch.testing.assert_close(loss, -torch.stack(kept).mean())


SHIPPED = ["vlm-csc-text", "vlm-csc"]


def pictures(count: int) -> list[np.ndarray]:
    first = secrets.randbelow(10**6)
    return [s.image for s in Scenes("val", samples=count, offset=first).batch(0, count)]


def test_without_noise_the_caption_arrives_and_is_drawn() -> None:
    images = pictures(6)
    text, image = systems.create("vlm-csc-text"), systems.create("vlm-csc")
    sent = text.transmit(images, FakeBudget(50))
    assert [len(m.symbols) for m in sent if m.symbols is not None] == [40] * 6 and not sent[0].packets
    got = [r.text for r in text.receive([perfect(m) for m in sent], [(64, 64)] * 6)]
    said = text.models.describe(images)
    words = [
        (a, b)
        for x, y in zip(got, said, strict=True)
        for a, b in zip(str(x).split(), y.split(), strict=False)
    ]
    assert np.mean([a == b for a, b in words]) > 0.97
    drawn = image.receive([perfect(m) for m in sent], [(64, 64), (50, 70)] * 3)
    assert [r.image.shape for r in drawn if r.image is not None] == [(64, 64, 3), (50, 70, 3)] * 3
    seen = text.models.generative.caption([drawn[0], drawn[2], drawn[4]])
    things = [
        set(a.split()) & set(str(b).split()) for a, b in zip(seen, [got[0], got[2], got[4]], strict=True)
    ]
    assert all(len(t) > 4 for t in things)  # what it draws is what it read


def test_a_budget_is_filled_with_repetitions() -> None:
    system = systems.create("vlm-csc-text")
    for uses, symbols in ((39, 0), (40, 40), (79, 40), (80, 80), (1000, 1000)):
        (message,) = system.transmit(pictures(1), FakeBudget(uses))
        assert (0 if message.symbols is None else len(message.symbols)) == symbols
    block = np.asarray(message.symbols).reshape(25, 40)
    assert (block == block[0]).all()


def test_repetition_beats_noise() -> None:
    images, link = pictures(20), Link("awgn")
    system = systems.create("vlm-csc-text")
    said = system.models.describe(images)

    def right(uses: int) -> float:
        messages = system.transmit(images, link.budget(uses))
        got = system.receive(link.send(messages, -10, range(20)), [(64, 64)] * 20)
        return float(np.mean([g.text == s for g, s in zip(got, said, strict=True)]))

    assert right(40) < 0.2 and right(4000) > 0.9


@pytest.mark.parametrize("name", SHIPPED)
def test_any_symbols_give_something_or_nothing(name: str) -> None:
    seed = secrets.randbelow(2**31)
    rng = np.random.default_rng(seed)
    system = systems.create(name)
    good = perfect(system.transmit(pictures(1), FakeBudget(80))[0])
    bad = [damage(good, rng) for _ in range(20)]
    odd = np.array([np.nan, np.inf, -np.inf, 1e38, 0], np.complex64)
    bad += [Reception((), rng.choice(odd, n), rng.choice(odd.real, n)) for n in (0, 1, 39, 40, 200)]
    bad.append(Reception((), np.zeros(40, np.complex64), None))
    for one in system.receive(bad, [(64, 64)] * len(bad)):
        assert one.kind in (system.carries, "nothing"), seed
        assert one.text is None or set(split(one.text)) <= set(system._codec.vocabulary.words)  # type: ignore[attr-defined]
    assert system.recover(Reception(), (64, 64), None).kind == "nothing"


def test_captions_of_another_model_are_refused() -> None:
    class Stranger(FakeVLM):
        name = "fake"

        def caption(self, seen: Sequence[Recovered]) -> list[str]:
            return ["Three zebras graze at the river"] * len(seen)

    system = systems.create("vlm-csc-text", systems.Models(FakeDual(), Stranger()))
    with pytest.raises(InputError, match="semcom train vlm-csc --vlm fake"):
        system.transmit(pictures(1), FakeBudget(50))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"design_snr_db": float("nan")}, "design_snr_db"),
        ({"steps": 0}, "steps"),
        ({"guidance": -1}, "guidance"),
        ({"generator": ""}, "embedded"),
        ({"generater": "embedded"}, "Did you mean 'generator'"),
    ],
)
def test_wrong_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        systems.create("vlm-csc", None, **options)


def test_own_weights_and_missing_ones(tmp_path: Path, seed: int) -> None:
    codec = small()
    pretrained.save(tmp_path / "mine", codec, SMALL)
    system = VLMCSCText(weights=str(tmp_path / "mine"))
    assert system._codec.length == 6
    with pytest.raises(InputError, match="semcom train"):
        _ = VLMCSCText(weights=str(tmp_path / "nothing"))._codec
    (tmp_path / "mine" / "config.json").write_text(json.dumps({"length": 6}))
    with pytest.raises(InputError, match="does not hold"):
        _ = VLMCSCText(weights=str(tmp_path / "mine"))._codec


def test_the_recipe_learns_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vlm_csc, "corpus", lambda *_: (captions("train", 300), captions("test", 20)))
    monkeypatch.setattr(vlm_csc, "BATCH", 8)
    folder = vlm_csc.train(tmp_path / "weights", steps=4)
    card = json.loads((folder / "card.json").read_text())
    assert card["recipe"]["steps"] == 4 and card["scores"]["captions"] == 20
    config = json.loads((folder / "config.json").read_text())
    assert "bottom-left" in config["words"] and not (folder / "checkpoint.pt").exists()
    system = VLMCSCText(weights=str(folder))
    assert system.transmit(pictures(1), FakeBudget(40))[0].symbols is not None


def test_a_model_of_the_hub_brings_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A captioner of other classes, made here: the codec learns the words that it says."""
    from tests.vlm import tiny

    name = str(tiny.vipllava(tmp_path / "vipllava", seed=secrets.randbelow(1000)))
    monkeypatch.setattr(vlm_csc, "PICTURES", 4)
    monkeypatch.setattr(vlm_csc, "FRESH", 4)
    monkeypatch.setattr(vlm_csc, "BATCH", 4)
    folder = vlm_csc.train(tmp_path / "weights", steps=2, vlm=name)
    models = systems.Models(generative=name)
    system = VLMCSCText(models, weights=str(folder))
    images = [
        s.image for s in Scenes("train", samples=4).batch(0, 4)
    ]  # of others it may say words never said here
    said = {word for caption in models.describe(images) for word in split(caption)}
    assert said == set(system._codec.vocabulary.words)
    assert not system.transmit(images, FakeBudget(40))[0].outage
    assert "--vlm" in json.loads((folder / "card.json").read_text())["recipe"]["command"]


def test_equal_captions_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    system = VLMCSC()
    calls: list[str] = []
    draw = system._generator

    def counted(text: str) -> np.ndarray:
        calls.append(text)
        return draw(text)

    system.__dict__["_generator"] = counted
    (message,) = system.transmit(pictures(1), FakeBudget(40))
    got = system.receive([perfect(message)] * 3, [(64, 64)] * 3)
    assert len(calls) == 1 and all(np.array_equal(g.image, got[0].image) for g in got)  # type: ignore[arg-type]


def test_embedded_pictures_have_their_pixels(tmp_path: Path, seed: int) -> None:
    config: dict[str, Any] = {"words": WORDS, "length": 6, "width": 16, "layers": 1}
    network = image_generator.ImageGenerator(**config).eval()
    pretrained.save(tmp_path, network, config)
    draw = image_generator.load(str(tmp_path), 1, 0.0, "cpu")
    picture = draw("a red star at the top")
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    assert np.array_equal(picture, draw("a red star at the top"))
    assert image_generator.fit(picture, 64, 64) is picture
    assert image_generator.fit(picture, 10, 20).shape == (10, 20, 3)
    for text in ("", "zebra", "a " * 500):
        assert draw(text).shape == (64, 64, 3)
