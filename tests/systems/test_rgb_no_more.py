"""The tower on DCT coefficients against the tower on pixels, and the promises of the system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from channels.errors import InputError
from semcom import systems
from semcom.codecs import dct
from semcom.codecs.jpeg import Jpeg
from semcom.codecs.pillow import resize
from semcom.data.scenes import Scenes
from semcom.systems.base import Models
from semcom.systems.compressed_domain.rgb_no_more import load
from semcom.systems.compressed_domain.tower import DctTower
from semcom.training import loop
from semcom.training import rgb_no_more as recipe
from semcom.types import ReceivedPacket, Reception
from semcom.vlm import build
from semcom.vlm.llava import Llava
from semcom.vlm.load import load_generative
from semcom.vlm.quiet import quiet
from tests.fakes import FakeBudget, FakeVLM, smooth_image
from tests.systems.common import perfect
from tests.vlm import tiny

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA of 32 x 32 pixels, patches of 8 and two layers."""
    root = tmp_path_factory.mktemp("models")
    return tiny.llava(root / "llava", tiny.clip(root / "clip"))


def clip_llava(folder: Path, size: int, patch: int) -> Llava:
    """A tiny LLaVA on a CLIP tower of that input and patch size."""
    widths = {"hidden": 32, "layers": 2, "heads": 2}
    with quiet():
        build.new_dual_encoder(folder / "clip", tiny.WORDS, size, patch, **widths, text_hidden=32)
        build.new_generative(folder / "llava", folder / "clip", tiny.WORDS, **widths)
    model = load_generative(str(folder / "llava"))
    assert isinstance(model, Llava)
    return model


def any_llava(family: str, folder: Path) -> Llava:
    """SigLIP has no class token and a bias in its convolution."""
    if family != "siglip":
        return clip_llava(folder, 32, int(family.removeprefix("clip-")))
    model = load_generative(str(tiny.siglip_llava(folder / "siglip")))
    assert isinstance(model, Llava)
    return model


@pytest.fixture(scope="module")
def llava(folder: Path) -> Llava:
    model = load_generative(str(folder))
    assert isinstance(model, Llava)
    return model


@pytest.fixture
def rng() -> np.random.Generator:
    """Fresh each time; pytest shows the seed when a test fails."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"rng seed {seed}")
    return np.random.default_rng(seed)


def images(rng: np.random.Generator, count: int = 3, size: tuple[int, int] = (64, 64)) -> list[np.ndarray]:
    return [smooth_image(rng, size) for _ in range(count)]


def test_the_bytes_are_those_of_jpeg(rng: np.random.Generator) -> None:
    ours, jpeg = systems.create("rgb-no-more", embedding="pull-back"), systems.create("jpeg")
    for room in (0, 600, 1500, *rng.integers(500, 12_000, 4)):
        batch, budget = images(rng), FakeBudget(int(room))
        sent = ours.transmit(batch, budget)
        assert [m.packets for m in sent] == [m.packets for m in jpeg.transmit(batch, budget)]
        assert ours.transmit(batch, budget)[0].packets == sent[0].packets
    large = smooth_image(rng, (100, 80))
    [message] = ours.transmit([large], FakeBudget(9000))
    assert message.packets == jpeg.transmit([resize(large, (64, 64))], FakeBudget(9000))[0].packets
    [recovered] = ours.receive([perfect(message)], [(100, 80)])
    assert recovered.tokens is not None and recovered.tokens.shape == (64, 128)


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("family", ["clip-8", "clip-16", "clip-32", "siglip"])
def test_untrained_it_is_the_tower_on_unclipped_pixels(
    family: str, layers: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Nearest chroma and no clipping: then pixels and coefficients are the same thing."""
    model = any_llava(family, tmp_path)
    trunk, patch = model.trunk, model.trunk.patch_size
    data = Jpeg().encode(smooth_image(rng, (32, 32)), int(rng.integers(1, 96)))
    planes = dct.read(data, (32, 32))
    assert planes is not None

    def samples(plane: np.ndarray) -> np.ndarray:
        pixels = dct.basis(8).T @ plane @ dct.basis(8)
        return pixels.transpose(0, 2, 1, 3).reshape(8 * len(plane), -1)

    chroma = [samples(p).repeat(2, 0).repeat(2, 1) for p in planes[1:]]
    rgb = 128 + np.einsum("ck,khw->chw", dct.RGB_OF_YCC, np.stack([samples(planes.y), *chroma]))
    processor = model.processor.image_processor
    mean, std = (np.array(x)[:, None, None] for x in (processor.image_mean, processor.image_std))
    pixels = torch.from_numpy((rgb / 255 - mean) / std).float()[None]
    tower = DctTower(trunk, layers)
    tower.rescale(torch.rand(patch**2 * 3 // 2) + 0.5)  # changes the numbers, not the map
    with torch.inference_mode():
        wanted = trunk.visual_tokens(trunk.embed(pixels))
        found = tower(torch.from_numpy(dct.patches(planes, patch))[None], trunk)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)


def test_untrained_it_is_near_the_tower_on_decoded_pixels() -> None:
    """libjpeg smooths chroma between blocks and clips, so this is only close: 2 % of the tokens' variance."""
    models = Models()
    drawn = [s.image for s in Scenes("test", 16).batch(0, 16)]
    system = systems.create("rgb-no-more", models, embedding="pull-back")
    messages = system.transmit(drawn, FakeBudget(6000))
    found = np.stack([r.tokens for r in system.receive([perfect(m) for m in messages], [(64, 64)] * 16)])  # type: ignore[arg-type]
    decoded = [Jpeg().decode(m.packets[0].payload, (64, 64)) for m in messages]
    seen = np.stack(models.generative.visual_tokens([d for d in decoded if d is not None]))
    other = np.stack(models.generative.visual_tokens(drawn[1:] + drawn[:1]))
    error, far = (np.mean(((found - x) / models.generative.token_scale) ** 2) for x in (seen, other))
    assert error < 0.02 < 0.5 < far


def test_training_makes_up_for_coarse_quantisation(rng: np.random.Generator) -> None:
    """On fresh scenes its tokens are nearer to the intact image's than those of the decoded JPEG and the pull-back."""
    models, codec = Models(), Jpeg()
    drawn = [s.image for s in Scenes("test", 24, offset=int(rng.integers(10_000, 10**6))).batch(0, 24)]
    files = [codec.encode(image, int(rng.integers(1, 8))) for image in drawn]
    receptions = [Reception((ReceivedPacket(file, True),)) for file in files]
    decoded = [codec.decode(file, (64, 64)) for file in files]
    seen = {"decoded": models.generative.visual_tokens([d for d in decoded if d is not None])}
    for embedding in ("trained", "pull-back"):
        system = systems.create("rgb-no-more", models, embedding=embedding)
        seen[embedding] = [r.tokens for r in system.receive(receptions, [(64, 64)] * 24)]  # type: ignore[misc]
    truth, scale = np.stack(models.generative.visual_tokens(drawn)), models.generative.token_scale
    error = {name: float(np.mean(((np.stack(x) - truth) / scale) ** 2)) for name, x in seen.items()}
    assert error["trained"] < 0.9 * min(error["decoded"], error["pull-back"]), error


@pytest.mark.parametrize("embedding", ["trained", "pull-back"])
def test_what_is_damaged_is_nothing_or_tokens(embedding: str, rng: np.random.Generator) -> None:
    system = systems.create("rgb-no-more", embedding=embedding)
    [message] = system.transmit(images(rng, 1), FakeBudget(8000))
    good = message.packets[0].payload
    bad = [
        b"",
        b"\x01",
        b"\x60" + good[1:],
        good[:-3],
        good + b"\x00",
        rng.bytes(400),
        good[:1] + rng.bytes(400),
    ]
    receptions = [Reception((ReceivedPacket(data, True),)) for data in bad]
    receptions += [Reception((ReceivedPacket(good, True),) * 2), Reception((ReceivedPacket(good, False),))]
    kinds = [r.kind for r in system.receive(receptions, [(64, 64)] * len(receptions))]
    assert set(kinds) == {"nothing"}, kinds
    flipped = []
    for _ in range(40):
        data = bytearray(good)
        data[int(rng.integers(1, len(data)))] ^= 1 << int(rng.integers(8))
        flipped.append(Reception((ReceivedPacket(bytes(data), True),)))
    for recovered in system.receive(flipped, [(64, 64)] * 40):
        assert recovered.kind == "nothing" or np.isfinite(recovered.tokens).all()  # type: ignore[arg-type]


def test_wrong_options_and_models_say_what_is_right(llava: Llava) -> None:
    with pytest.raises(InputError, match="Did you mean 'pull-back'"):
        systems.create("rgb-no-more", embedding="pullback")
    blind = systems.create("rgb-no-more", Models(generative=FakeVLM()))
    with pytest.raises(InputError, match="needs a LLaVA"):
        blind.transmit([np.zeros((64, 64, 3), np.uint8)], FakeBudget(9000))
    other = systems.create("rgb-no-more", Models(generative=llava))
    reception = Reception((ReceivedPacket(Jpeg().encode(np.zeros((32, 32, 3), np.uint8), 50), True),))
    with pytest.raises(InputError, match="semcom train rgb-no-more --vlm"):
        other.receive([reception], [(32, 32)])


def test_patches_of_fourteen_are_refused(tmp_path: Path) -> None:
    system = systems.create(
        "rgb-no-more", Models(generative=clip_llava(tmp_path, 28, 14)), embedding="pull-back"
    )
    with pytest.raises(InputError, match="patches of 14 pixels"):
        system.transmit([np.zeros((28, 28, 3), np.uint8)], FakeBudget(9000))


def test_the_recipe_learns_for_any_llava(
    folder: Path, llava: Llava, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = loop.pool.__wrapped__(64)
    monkeypatch.setattr(loop, "pool", lambda: few)
    monkeypatch.setattr(recipe, "SAMPLES", 3)
    weights = recipe.train(tmp_path / "w", steps=3, vlm=str(folder))
    assert sorted(p.name for p in weights.iterdir()) == ["card.json", "config.json", "model.safetensors"]
    system = systems.create("rgb-no-more", Models(generative=llava), weights=str(weights))
    [message] = system.transmit([np.zeros((32, 32, 3), np.uint8)], FakeBudget(9000))
    [recovered] = system.receive([perfect(message)], [(32, 32)])
    assert recovered.tokens is not None and recovered.tokens.shape == (16, 32)
    start = recipe.new_student(llava.trunk)
    learnt = load(str(weights), llava.trunk, llava.fingerprint, llava.name)
    moved = (start.embed.weight - learnt.embed.weight).abs().max()
    assert 1e-4 < moved < 0.1
