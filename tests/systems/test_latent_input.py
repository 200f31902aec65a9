"""Latents into the tower: the neck by hand, the bytes of learned-codec, other models, fewer operations."""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from channels.errors import InputError
from semcom import pretrained, systems, tasks
from semcom.codecs import hyperprior
from semcom.codecs.hyperprior import Hyperprior
from semcom.data.scenes import Scenes
from semcom.systems.base import Models
from semcom.systems.latent_input.neck import Neck, load
from semcom.training import latent_input as recipe
from semcom.training import loop
from semcom.types import ReceivedPacket, Reception
from semcom.vlm.llava import Llava
from semcom.vlm.load import load_generative
from tests.fakes import FakeBudget, FakeVLM, smooth_image
from tests.systems.common import perfect
from tests.vlm import tiny

torch.set_num_threads(1)
SMALL = {"width": 16, "latent": 12, "hyper": 4}


def fresh() -> tuple[int, np.random.Generator]:
    seed = secrets.randbelow(2**32)
    torch.manual_seed(seed)
    return seed, np.random.default_rng(seed)


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA of 32 x 32 pixels and patches of 8: a grid of 4 x 4, where latents of scenes have 8 x 8."""
    root = tmp_path_factory.mktemp("models")
    if request.param == "siglip":
        return tiny.siglip_llava(root / "llava")
    return tiny.llava(root / "llava", tiny.clip(root / "clip"))


@pytest.fixture(scope="module")
def llava(folder: Path) -> Llava:
    model = load_generative(str(folder))
    assert isinstance(model, Llava)
    return model


def codec_in(folder: Path) -> str:
    network = Hyperprior(**SMALL)
    network.freeze()
    pretrained.save(folder, network, SMALL)
    return str(folder)


def test_the_neck_is_what_its_picture_says(llava: Llava) -> None:
    """Convolutions of the codec; linear, class token and positions, norm; a layer of the tower: all by hand."""
    seed, rng = fresh()
    trunk, codec = llava.trunk, Hyperprior(**SMALL)
    neck = Neck(trunk, codec, 1).eval()
    y, rate = torch.from_numpy(rng.normal(size=(3, 12, 4, 4))).float(), torch.tensor([0, 5, 31])
    torch.nn.init.normal_(neck.rate.weight)
    with torch.inference_mode():
        seen = codec.synthesis[0](y)
        patches = torch.einsum("bchw,kc->bhwk", seen, neck.embed.weight).reshape(3, 16, -1) + neck.embed.bias
        patches = patches + neck.rate.weight[rate][:, None]
        if trunk.prefix:
            patches = torch.cat([trunk.tower.embeddings.class_embedding.expand(3, 1, -1), patches], 1)
        state = F.layer_norm(patches + trunk.tower.embeddings.position_embedding.weight, (trunk.width,))
        want = trunk.run(state, 0, 1)[-1]
        assert torch.allclose(neck(y, rate), want, atol=1e-4), seed
        tokens = trunk.visual_tokens(neck(y, rate), 1)
    assert tokens.shape == (3, 16, llava.token_dim)


def test_larger_grids_are_averaged_and_smaller_ones_interpolated(llava: Llava) -> None:
    seed, rng = fresh()
    neck = Neck(llava.trunk, Hyperprior(**SMALL), 1).eval()
    neck.stem, rate = torch.nn.Sequential(), torch.tensor([3])  # what it gives is resampled
    with torch.inference_mode():
        y = torch.from_numpy(rng.normal(size=(1, 16, 8, 8))).float()
        cells = y.reshape(1, 16, 4, 2, 4, 2).mean((3, 5))
        assert torch.allclose(neck(y, rate), neck(cells, rate), atol=1e-5), seed
        flat = torch.from_numpy(rng.normal(size=(1, 16, 1, 1))).float()
        for grid in [(1, 1), (2, 3), (9, 1), (4, 4), (13, 7)]:
            same = neck(flat.expand(-1, -1, *grid), rate)
            assert torch.allclose(same, neck(flat.expand(-1, -1, 4, 4), rate), atol=1e-5), (seed, grid)


def test_a_recipe_for_any_llava(
    llava: Llava, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, rng = fresh()
    images = np.stack([smooth_image(rng) for _ in range(24)])
    scenes = loop.pool(24)[0]
    monkeypatch.setattr(loop, "pool", lambda *_: (scenes, images))
    monkeypatch.setattr(recipe, "BATCH", 8)
    monkeypatch.setattr(recipe, "scores", lambda *_: {"n": 0})
    codec = codec_in(tmp_path / "codec")
    out = recipe.train(tmp_path / "neck", steps=3, vlm=str(folder), codec=codec)
    models = Models(generative=llava)
    options = {"weights": str(out), "codec": codec}
    for packets in ("one", "resilient"):
        system = systems.create("latent-input", models, packets=packets, **options)
        base = systems.create("learned-codec", models, packets=packets, weights=codec)
        for size in [(64, 64), (40, 72), (32, 32)]:
            image = smooth_image(rng, size)
            message = system.transmit([image], FakeBudget(20_000))[0]
            assert message.packets == base.transmit([image], FakeBudget(20_000))[0].packets != ()
            found = system.receive([perfect(message)], [size])[0]
            assert found.tokens is not None and found.tokens.shape == (16, llava.token_dim)
    other = load_generative(str(tiny.llava(tmp_path / "other", tiny.clip(tmp_path / "clip", seed=1), seed=1)))
    assert isinstance(other, Llava)
    with pytest.raises(InputError, match=r"another vision-language model.*semcom train latent-input --vlm"):
        load(str(out), hyperprior.load(codec), other.trunk, other.fingerprint, other.name)
    with pytest.raises(InputError, match="another image codec"):
        load(
            str(out),
            hyperprior.load(codec_in(tmp_path / "again")),
            llava.trunk,
            llava.fingerprint,
            llava.name,
        )


def test_it_needs_a_tower_that_opens() -> None:
    system = systems.create("latent-input", Models(generative=FakeVLM()))
    message = system.transmit([smooth_image(np.random.default_rng(0))], FakeBudget(4000))[0]
    with pytest.raises(InputError, match="needs a LLaVA"):
        system.receive([perfect(message)], [(64, 64)])


def test_the_bytes_are_those_of_the_learned_codec() -> None:
    seed, rng = fresh()
    data = Scenes("test", 3, offset=int(rng.integers(10**6)))
    images = [data[i].image for i in range(3)]
    for packets in ("one", "resilient"):
        pair = [systems.create(name, None, packets=packets) for name in ("latent-input", "learned-codec")]
        for uses in rng.integers(50, 8000, 6):
            ours, theirs = (system.transmit(images, FakeBudget(int(uses))) for system in pair)
            assert [m.packets for m in ours] == [m.packets for m in theirs], (seed, uses)


def test_fresh_scenes_are_answered_as_from_the_decoded_image() -> None:
    """50 scenes at a middle rate: within 6 points (more than four standard errors) of decoding and looking."""
    seed, rng = fresh()
    data, models = Scenes("test", 50, offset=10_000 + int(rng.integers(10**6))), Models()
    drawn = data.batch(0, 50)
    task = tasks.create("vqa", models, data)
    accuracy = []
    for name in ("latent-input", "learned-codec"):
        system = systems.create(name, models)
        sent = system.transmit([s.image for s in drawn], FakeBudget(1500))
        found = system.receive([perfect(m) for m in sent], [(64, 64)] * 50)
        seen = dict(zip((s.id for s in drawn), found, strict=True))
        asked = [(s, q) for s in drawn for q in task.queries(s)]
        answers = task.answer([seen[s.id] for s, _ in asked], [q for _, q in asked])
        accuracy.append(np.mean([task.score(a, q) for a, (_, q) in zip(answers, asked, strict=True)]))
    assert accuracy[0] > accuracy[1] - 0.06 and accuracy[0] > 0.6, (seed, accuracy)


def test_fewer_operations_than_decoding_and_looking() -> None:
    model, codec = load_generative("embedded"), hyperprior.load()
    assert isinstance(model, Llava)
    neck = load("latent-input", codec, model.trunk, model.fingerprint, model.name)
    y, rate = torch.zeros(1, codec.latent, 8, 8), torch.tensor([5])
    with torch.no_grad():
        with FlopCounterMode(display=False) as short:
            neck(y, rate)
        with FlopCounterMode(display=False) as long:
            pixels = codec.synthesise(y)
            model.trunk.run(model.trunk.embed(pixels), 0, neck.start)
    assert 0 < short.get_total_flops() < 0.5 * long.get_total_flops()


def test_wrong_packets_are_nothing() -> None:
    system = systems.create("latent-input", Models())
    for packets in [(), (ReceivedPacket(b"x", False),), (ReceivedPacket(b"x", True),) * 2]:
        assert system.receive([Reception(packets)], [(64, 64)])[0].kind == "nothing"
