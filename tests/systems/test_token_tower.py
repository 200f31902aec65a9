"""Selections inside the vision tower: exact identities, brute force, transformers' own attention; CLIP and SigLIP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlavaForConditionalGeneration

from channels.errors import InputError
from semcom import systems
from semcom.systems.token_compression import merging, tower
from semcom.systems.token_compression.visual_tokens import IN_TOWER
from semcom.types import Query
from semcom.vlm.llava import Llava
from semcom.vlm.load import load_generative
from semcom.vlm.quiet import quiet
from tests.fakes import FakeBudget
from tests.systems.common import models, perfect
from tests.vlm import tiny


@pytest.fixture
def rng() -> np.random.Generator:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"rng seed {seed}")
    return np.random.default_rng(seed)


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "siglip":
        return tiny.siglip_llava(root / "llava")
    return tiny.llava(root / "llava", tiny.clip(root / "clip"))


@pytest.fixture(scope="module")
def llava(folder: Path) -> Llava:
    model = load_generative(str(folder))
    assert isinstance(model, Llava)
    return model


def pictures(rng: np.random.Generator, count: int = 3) -> list[Any]:
    return [tiny.picture(rng) for _ in range(count)]


@pytest.mark.parametrize("select", IN_TOWER)
def test_all_tokens_are_the_towers_own(llava: Llava, rng: np.random.Generator, select: str) -> None:
    images = pictures(rng)
    whole = np.stack(llava.visual_tokens(images))
    assert np.ptp(whole, axis=0).max() > 0.1
    np.testing.assert_allclose(np.stack(tower.compress(llava.trunk, images, 16, select)), whole, atol=1e-4)


@pytest.mark.parametrize("select", IN_TOWER)
def test_as_many_as_asked(llava: Llava, rng: np.random.Generator, select: str) -> None:
    images = pictures(rng, 2)
    for keep in range(1, 17):
        for tokens in tower.compress(llava.trunk, images, keep, select):
            count = len(tokens)
            assert tokens.dtype == np.float32 and tokens.shape[1] == 32 and np.isfinite(tokens).all()
            assert count == keep if select != "lower-resolution" else keep // 1.6 < count <= keep


def test_attention_is_that_of_transformers(folder: Path, llava: Llava, rng: np.random.Generator) -> None:
    images = pictures(rng)
    with quiet(), torch.no_grad():
        model = LlavaForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
        pixels, layer = llava.trunk.normalised(images), llava.trunk.reads[0]
        weights = model.model.vision_tower(pixels, output_attentions=True).attentions[layer - 1].mean(1)
        inputs: list[torch.Tensor] = []
        hook = model.model.vision_tower.encoder.layers[layer - 1].self_attn.k_proj.register_forward_hook(
            lambda _, __, out: inputs.append(out)
        )
        model.model.vision_tower(pixels)
        hook.remove()
    expected = weights[:, 0, 1:] if llava.trunk.prefix else weights.mean(1)
    with torch.no_grad():
        tokens, attention, keys = tower.seen(llava.trunk, images)
    np.testing.assert_allclose(attention, expected, atol=1e-5)
    np.testing.assert_allclose(keys, inputs[0][:, llava.trunk.prefix :], atol=1e-4)
    for image_tokens, scores, kept in zip(
        tokens, expected, tower.compress(llava.trunk, images, 5, "cls-attention"), strict=True
    ):
        best = sorted(np.argsort(-scores.numpy(), kind="stable")[:5])
        np.testing.assert_allclose(kept, image_tokens[best], atol=1e-4)


def test_a_smaller_image_is_what_transformers_sees(llava: Llava, rng: np.random.Generator) -> None:
    images = pictures(rng)
    pixels = llava.trunk.normalised(images)
    small = torch.nn.functional.interpolate(pixels, size=(16, 24), mode="bicubic", antialias=True)
    with torch.no_grad():
        hidden = llava.model.model.vision_tower(
            small, interpolate_pos_encoding=True, output_hidden_states=True
        ).hidden_states[llava.trunk.reads[0]]
    kept = tower.compress(llava.trunk, images, 7, "lower-resolution")
    np.testing.assert_allclose(np.stack(kept), hidden[:, llava.trunk.prefix :].numpy(), atol=1e-4)


def naive_zip(x: np.ndarray, attention: np.ndarray, keys: np.ndarray, first: int, others: int) -> np.ndarray:
    """VisionZip with loops: token by its place, dominant or the mean of its group."""
    dominant = sorted(sorted(range(len(x)), key=lambda i: -attention[i])[:first])
    left = [i for i in range(len(x)) if i not in dominant]
    targets = [left[((2 * j + 1) * len(left)) // (2 * others)] for j in range(others)]
    groups = {t: [x[t]] for t in targets}

    def cosine(i: int, j: int) -> float:
        return float(keys[i] @ keys[j] / np.linalg.norm(keys[i]) / np.linalg.norm(keys[j]))

    for i in left:
        if i not in targets:
            groups[max(targets, key=lambda t: cosine(i, t))].append(x[i])
    places = {i: x[i] for i in dominant} | {t: np.mean(group, axis=0) for t, group in groups.items()}
    return np.stack([places[i] for i in sorted(places)])


def test_visionzip_equals_the_naive_rule(rng: np.random.Generator) -> None:
    for _ in range(30):
        n = int(rng.integers(4, 30))
        first = int(rng.integers(1, n - 1))
        others = int(rng.integers(1, n - first + 1))
        x, keys = rng.normal(size=(n, 6)), rng.normal(size=(n, 4))
        attention = rng.random(n)
        tensors = [torch.from_numpy(v.astype(np.float32)) for v in (x, attention, keys)]
        zipped = tower.zipped(*tensors, first, others)
        np.testing.assert_allclose(zipped, naive_zip(x, attention, keys, first, others), atol=1e-5)


def test_visionzip_shares(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """Of 64 tokens 54 are dominant, as in the paper."""
    x = torch.from_numpy(rng.normal(size=(1, 576, 4)).astype(np.float32))
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(tower, "seen", lambda trunk, images: (x, x[..., 0], x))
    monkeypatch.setattr(tower, "zipped", lambda *a: asked.append(a[3:]))
    for keep in (64, 16, 4, 1):
        tower.visionzip(None, [], keep)  # type: ignore[arg-type]
    assert asked == [(54, 10), (14, 2), (3, 1), (1, 0)]


@pytest.mark.parametrize("prefix", [0, 1])
def test_one_matching_equals_loops(rng: np.random.Generator, prefix: int) -> None:
    for _ in range(20):
        n = prefix + int(rng.integers(2, 15))
        count = int(rng.integers(0, (n - prefix) // 2 + 1))
        x, keys = rng.normal(size=(n, 5)), rng.normal(size=(n, 3))
        size = np.concatenate([np.ones(prefix), rng.integers(1, 6, n - prefix)]).astype(float)
        a, b = list(range(prefix, n, 2)), list(range(prefix + 1, n, 2))
        unit = keys / np.linalg.norm(keys, axis=1, keepdims=True)
        link = {i: max(b, key=lambda j: unit[i] @ unit[j]) for i in a}
        gone = sorted(a, key=lambda i: -unit[i] @ unit[link[i]])[:count]
        groups = {j: [j, *(i for i in gone if link[i] == j)] for j in b}
        order = [*range(prefix), *(i for i in a if i not in gone), *b]
        members = [groups.get(i, [i]) for i in order]
        tensors = [torch.from_numpy(v.astype(np.float32))[None] for v in (x, keys, size)]
        merged = merging.merge(*tensors, torch.arange(n)[None], count, prefix)
        for m, value in zip(merged[:2], (x, keys), strict=True):
            truth = [np.average(value[g], axis=0, weights=size[g]) for g in members]
            np.testing.assert_allclose(m[0], truth, atol=1e-5)
        assert merged[2][0].tolist() == [size[g].sum() for g in members]
        assert merged[3][0].tolist() == order


def test_merged_duplicates_leave_attention_as_it_was(llava: Llava, rng: np.random.Generator) -> None:
    """log(size): two equal tokens weigh as one of size 2, in every output, to 1e-6 of its size."""
    part = llava.model.model.vision_tower.encoder.layers[0].self_attn
    x = torch.from_numpy(rng.normal(size=(1, 9, 32)).astype(np.float32))
    double = torch.cat([x, x[:, 3:4], x[:, 3:4], x[:, 6:7]], dim=1)
    size = torch.ones(1, 9)
    size[0, 3], size[0, 6] = 3, 2
    with torch.no_grad():
        once, _ = merging.proportional(part, x, size)
        twice, _ = merging.proportional(part, double, torch.ones(1, 12))
        plain, _ = merging.proportional(part, x, torch.ones(1, 9))
        own = part(x, None)[0]
    scale = float(once.abs().max())
    assert float((once - twice[:, :9]).abs().max()) < 1e-6 * scale
    assert float((plain - own).abs().max()) < 1e-6 * scale and float((plain - once).abs().max()) > 1e-3


def test_sizes_sum_to_all_tokens(llava: Llava, rng: np.random.Generator) -> None:
    trunk = llava.trunk
    with torch.no_grad():
        state = trunk.embed(trunk.normalised(pictures(rng)))
        for keep in (1, 2, 3, 7, 15, 16):
            tokens, sizes = merging.merged(trunk, state, keep, trunk.reads[0])
            assert tokens.shape[1] == sizes.shape[1] == keep
            np.testing.assert_allclose(sizes.sum(1), 16, atol=1e-4)
            assert (sizes >= 1).all()


def test_schedule() -> None:
    assert merging.schedule(64, 64, 4) == [0, 0, 0, 0] and merging.schedule(64, 32, 4) == [8, 8, 8, 8]
    assert merging.schedule(64, 4, 4) == [32, 16, 8, 4]  # half of the tokens in each layer
    for count in (16, 49, 64, 576):
        for layers in (1, 2, 4, 23):
            for keep in range(1, count + 1):
                merges = merging.schedule(count, keep, layers)
                left = count - np.cumsum([0, *merges])
                assert left[-1] == keep and min(merges) >= 0
                if keep * 2**layers >= count:
                    assert all(2 * m <= n for m, n in zip(merges, left, strict=False))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("divprune", {}),
        ("visionzip", {"keep": 6}),
        ("tome", {"bits": 8}),
        ("fastv", {"layer": 1, "bits": 1}),
        ("visual-tokens", {"select": "lower-resolution"}),
        ("visual-tokens", {"select": "cls-attention", "analog": True}),
    ],
)
def test_any_llava_serves(folder: Path, rng: np.random.Generator, name: str, options: dict[str, Any]) -> None:
    """From a model given by its folder, through the air, to answers and captions."""
    shared = systems.Models(generative=str(folder))
    system = systems.create(name, shared, **options)
    images = [*pictures(rng, 2), tiny.picture(rng, 20, 50)]
    messages = system.transmit(images, FakeBudget(3000))
    assert not any(m.outage for m in messages)
    seen = system.receive([perfect(m) for m in messages], [(32, 32)] * 3)
    queries = [Query("vqa", "0", "how many ?", candidates=("one", "two"))] * 3
    answers = shared.generative.answer(seen, [q.text for q in queries], [q.candidates for q in queries])
    assert set(answers) <= {"one", "two"} and len(shared.generative.caption(seen)) == 3


def test_fastv_saves_no_airtime(rng: np.random.Generator) -> None:
    """Its messages are those of all tokens, bit for bit, whatever it drops; where they do not fit, nothing is sent."""
    shared = models()
    images = pictures(rng, 2)
    every = systems.create("visual-tokens", shared, select="none", bits=2)
    for ratio in (0.0, 0.9):
        system = systems.create("fastv", shared, layer=1, ratio=ratio, bits=2)
        for uses in (300, 5000):
            sent = system.transmit(images, FakeBudget(uses))
            assert [m.packets for m in sent] == [m.packets for m in every.transmit(images, FakeBudget(uses))]
        [first, _] = system.receive([perfect(m) for m in sent], [(32, 32)] * 2)
        assert first.prune == (1, ratio) and first.tokens is not None and len(first.tokens) == 16
    assert system.receive([perfect(every.transmit(images, FakeBudget(1))[0])], [(32, 32)])[0].prune is None


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("fastv", {"layer": 0}, "positive whole"),
        ("fastv", {"layer": True}, "positive whole"),
        ("fastv", {"ratio": 1.0}, "from 0 to below 1"),
        ("fastv", {"ratio": float("nan")}, "from 0 to below 1"),
        ("fastv", {"keep": 3}, "keep"),
        ("visual-tokens", {"select": "vision-zip"}, "visionzip"),
        ("tome", {"bits": 3}, "1, 2, 4, 8"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        systems.create(name, None, **options)


def test_a_tower_that_cannot_be_opened_is_named(folder: Path, rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="open vision tower"):
        systems.create("tome", models()).transmit(pictures(rng, 1), FakeBudget(3000))
    trunk = load_generative(str(folder)).trunk  # type: ignore[attr-defined]
    reads, trunk.reads = trunk.reads, [1, 2]
    try:
        with pytest.raises(InputError, match="single"):
            tower.compress(trunk, pictures(rng, 1), 4, "visionzip")
    finally:
        trunk.reads = reads
