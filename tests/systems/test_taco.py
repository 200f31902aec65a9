"""Text enters the encoder alone: what it changes, what it cannot change, and how it is learned."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from channels.errors import InputError
from semcom import pretrained, systems
from semcom.codecs.hyperprior import Hyperprior
from semcom.codecs.hyperprior import load as load_codec
from semcom.codecs.learned import Encodings
from semcom.data.scenes import Scenes, draw_scenes, render
from semcom.systems.base import Models
from semcom.systems.vlm_guided.encoder import TextGuidedEncoder, text_width, token_states
from semcom.systems.vlm_guided.taco import Taco, codec_mark, load
from semcom.training import dense
from semcom.training import taco as recipe
from semcom.types import Query, ReceivedPacket, Reception
from semcom.vlm.dual import TransformersDualEncoder
from semcom.vlm.load import load_dual_encoder
from tests.fakes import FakeBudget, FakeDual, FakeVLM, smooth_image
from tests.systems.common import damage, perfect
from tests.vlm import tiny

torch.set_num_threads(1)
SEED = secrets.randbelow(2**32)
SIZES = [(32, 32), (40, 24), (17, 50)]
TEXTS = ["a red circle at the top-left .", "what color is the square ?", "", "no word of this is known"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(SEED)


@pytest.fixture(scope="module", params=["clip", "siglip"])
def dual(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TransformersDualEncoder:
    """A tiny dual encoder in the formats of the hub."""
    folder = tmp_path_factory.mktemp("dual") / request.param
    return load_dual_encoder(str(getattr(tiny, request.param)(folder)))


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained codec, whose weights are at random."""
    folder, config = tmp_path_factory.mktemp("codec"), {"width": 16, "latent": 12, "hyper": 4, "knots": 3}
    torch.manual_seed(SEED)
    network = Hyperprior(**config)
    with torch.no_grad():
        network.analysis[-1].weight *= 8  # latents that fill more than the hyper-prior's one bit
    network.freeze()
    pretrained.save(folder, network, config)
    return folder


def encoder_for(codec: Hyperprior, dual: Any, trained: bool) -> TextGuidedEncoder:
    """As it is before training, or with an adapter at random."""
    encoder = TextGuidedEncoder(codec, text_width(dual))
    if trained:
        for gamma in (encoder.adapter.first.gamma, encoder.adapter.second.gamma):
            torch.nn.init.normal_(gamma, std=0.1)
    return encoder.eval().requires_grad_(False)


@pytest.fixture
def weights(codec: Path, dual: TransformersDualEncoder, tmp_path: Path) -> Path:
    """A folder with an encoder that listens."""
    network = load_codec(str(codec))
    pretrained.save(tmp_path / "taco", encoder_for(network, dual, True), recipe.config(network, dual))
    return tmp_path / "taco"


def images() -> list[Any]:
    rng = np.random.default_rng(SEED)
    return [smooth_image(rng, size) for size in SIZES]


def test_before_training_every_text_gives_the_codecs_own_bytes(
    codec: Path, dual: TransformersDualEncoder
) -> None:
    network = load_codec(str(codec))
    encoder = encoder_for(network, dual, False)
    for image in images():
        for text in TEXTS:
            coded = Encodings(network, encoder.latent_of(image, token_states(dual, [text])[0]))
            for rate in (0, 9, 31):
                assert coded.coded(rate) == network.compress([image], rate)[0], (SEED, text)


def test_the_receiver_needs_no_text(codec: Path, dual: TransformersDualEncoder, weights: Path) -> None:
    class Deaf(Models):
        """Models of a receiver that may not be asked anything."""

        dual = generative = property(lambda self: pytest.fail("the receiver asked a model"))  # type: ignore[assignment]

    sender = Taco(Models(dual, FakeVLM()), weights=str(weights), codec=str(codec))
    receiver = Taco(Deaf(), weights=str(weights), codec=str(codec))
    network, codes = load_codec(str(codec)), set()
    for text in TEXTS[:3]:
        sender.texts = lambda images, queries, text=text: [text] * len(images)  # type: ignore[method-assign]
        messages = sender.transmit(images(), FakeBudget(2000))
        codes.add(messages[0].packets)
        got = receiver.receive([perfect(m) for m in messages], SIZES)
        for one, message, size in zip(got, messages, SIZES, strict=True):
            want = network.decompress([message.packets[0].payload], size)[0]
            assert one.image is not None and np.array_equal(one.image, want), SEED
    assert len(codes) == 3, SEED  # while the sender did listen


def test_any_bytes_give_an_image_or_nothing(
    codec: Path, weights: Path, dual: TransformersDualEncoder
) -> None:
    rng = np.random.default_rng(SEED)
    system = Taco(Models(dual, FakeVLM()), weights=str(weights), codec=str(codec))
    good = [perfect(m) for m in system.transmit(images(), FakeBudget(3000))]
    for _ in range(15):
        bad = [
            *(damage(r, rng) for r in good),
            Reception((ReceivedPacket(rng.bytes(rng.integers(200)), True),)),
        ]
        for one, size in zip(system.receive(bad, [*SIZES, (9, 70)]), [*SIZES, (9, 70)], strict=True):
            assert one.kind == "nothing" or (one.image is not None and one.image.shape == (*size, 3)), SEED
    assert system.receive([Reception(good[0].packets * 2)], SIZES[:1])[0].kind == "nothing"


def test_the_best_rate_that_fits_is_sent(codec: Path, weights: Path, dual: TransformersDualEncoder) -> None:
    system, image = Taco(Models(dual, FakeVLM()), weights=str(weights), codec=str(codec)), images()[:1]
    said = FakeVLM().caption([systems.base.Recovered(image=image[0])])[0]
    of = Encodings(system.codec, system.encoder.latent_of(image[0], token_states(dual, [said])[0]))
    codes = [of.coded(rate) for rate in range(system.codec.rates)]
    for room in sorted({len(code) for code in codes}):
        sent = system.transmit(image, FakeBudget(8 * room + 12))[0].packets[0].payload
        assert len(sent) <= room and sent in codes, SEED
        safe = next((rate for rate, code in enumerate(codes) if len(code) > room), len(codes))
        assert len(codes) - codes[::-1].index(sent) >= safe, (
            SEED
        )  # at least as good as all rates up to the first bump
    assert system.transmit(image, FakeBudget(8 * min(map(len, codes)) + 11))[0].outage


def test_a_lost_packet_leaves_the_spare(codec: Path, weights: Path, dual: TransformersDualEncoder) -> None:
    """Each packet of the resilient message alone is what the codec makes of it."""
    system = Taco(Models(dual, FakeVLM()), "resilient", str(weights), str(codec))
    for image, size in zip(images(), SIZES, strict=True):
        (message,) = system.transmit([image], FakeBudget(20_000))
        want = load_codec(str(codec)).decompress([p.payload for p in message.packets], size)
        assert len(want) == 2, SEED
        for alive in range(3):  # the first, the second, none
            packets = [ReceivedPacket(p.payload, i == alive) for i, p in enumerate(message.packets)]
            (seen,) = system.receive([Reception(tuple(packets))], [size])
            if alive == 2:
                assert seen.kind == "nothing", SEED
            else:
                assert seen.image is not None and np.array_equal(seen.image, want[alive]), SEED


def test_the_question_guides_where_it_is_known(
    codec: Path, weights: Path, dual: TransformersDualEncoder
) -> None:
    models = Models(dual, FakeVLM())
    system = systems.create("taco-question", models, weights=str(weights), codec=str(codec))
    asked = [Query("vqa", str(i), text) for i, text in enumerate(TEXTS[:3])]
    got = system.transmit(images(), FakeBudget(2000), asked)
    network, encoder = load_codec(str(codec)), load(str(weights), load_codec(str(codec)), dual)
    for image, query, message in zip(images(), asked, got, strict=True):
        want = Encodings(network, encoder.latent_of(image, token_states(dual, [query.text])[0]))
        assert message.packets[0].payload == want.best(FakeBudget(2000).packet_bytes()), SEED
    assert type(system).needs_query and not Taco.needs_query
    with pytest.raises(ValueError, match="one query for each image"):
        system.transmit(images(), FakeBudget(2000))


def test_weights_of_other_models_say_what_to_train(
    codec: Path, weights: Path, dual: TransformersDualEncoder
) -> None:
    network = load_codec(str(codec))
    assert load(str(weights), network, dual).adapter.first.gamma.abs().sum() > 0
    with pytest.raises(InputError, match="semcom train taco --vlm embedded"):
        load(str(weights), network, load_dual_encoder("embedded"))
    with torch.no_grad():
        network.synthesis[0][0].bias += 1
    with pytest.raises(InputError, match="another image codec"):
        load(str(weights), network, dual)
    with pytest.raises(InputError, match="has no text tower"):
        load(str(weights), network, FakeDual())


def test_token_states_are_those_that_the_dual_encoder_pools() -> None:
    dual = load_dual_encoder("embedded")
    states, padding = token_states(dual, TEXTS)
    assert padding is not None and padding.shape == states.shape[:2] and padding.any()
    last = (~padding).sum(1) - 1  # CLIP pools the end token
    pooled = dual.model.text_projection(states[torch.arange(len(TEXTS)), last])
    assert torch.allclose(normalize(pooled, dim=-1), torch.from_numpy(dual.embed_texts(TEXTS)), atol=1e-5)
    for text, row, missing in zip(TEXTS, states, padding, strict=True):
        assert torch.allclose(token_states(dual, [text])[0][0], row[~missing], atol=1e-5), text


def test_the_losses_see_what_the_dual_encoder_sees(dual: TransformersDualEncoder) -> None:
    rng = np.random.default_rng(SEED)
    pictures = [smooth_image(rng, (tiny.SIZE, tiny.SIZE)) for _ in range(4)]
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    features, embedding = recipe.Eyes(dual)(x)
    assert torch.allclose(embedding, torch.from_numpy(dual.embed_images(pictures)), atol=0.05), SEED
    assert len(features) == 2 and features[0].shape == (4, 32, 4, 4)
    assert float(recipe.distance(features, features).abs().max()) == 0
    rows = recipe.distance([features[0].flip(0)], features[:1])
    error = (features[0].flip(0) - features[0]).square() / features[0].var((0, 2, 3), keepdim=True)
    assert rows.shape == (4, recipe.GRID, recipe.GRID)
    assert torch.allclose(rows.mean((1, 2)), error.mean((1, 2, 3)), rtol=1e-4), (
        SEED
    )  # the grid only repeats patches


def test_named_patches_show_what_the_text_names() -> None:
    start = int(np.random.default_rng(SEED).integers(10**6))
    scenes = draw_scenes("train", start + np.arange(40))
    samples, owners = Scenes("train", 40, offset=start).batch(0, 40), dense.owners(scenes, recipe.GRID)
    for row, sample in enumerate(samples):
        for text in [sample.captions[0], *(q.text for q in sample.questions)]:
            got = recipe.named(scenes, owners, [row], [text])[0].flatten().bool().numpy()
            objects = [
                f"{recipe.COLORS[scenes.color[row, j]]} {recipe.SHAPES[scenes.shape[row, j]]}"
                for j in range(int(scenes.count[row]))
            ]
            about = [j for j, o in enumerate(objects) if any(w in text.split() for w in o.split())]
            for patch, owner in enumerate(owners[row]):
                if "background" in text:
                    assert got[patch] == (owner < 0), (start, row, text)
                elif about:
                    assert got[patch] == (owner in about), (start, row, text)
                else:
                    assert got[patch] == (owner >= 0), (start, row, text)
        caption = recipe.named(scenes, owners, [row], [sample.captions[0]])[0].flatten().bool().numpy()
        assert np.array_equal(caption, owners[row] >= 0)


def test_training_moves_the_encoder_alone_and_reads_the_text(
    codec: Path, dual: TransformersDualEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = draw_scenes("train", np.arange(48))
    monkeypatch.setattr(recipe.loop, "pool", lambda: (scenes, render(scenes)))
    network = load_codec(str(codec))
    before = codec_mark(network)
    encoder, _ = recipe.guide(tmp_path / "a", network, dual, steps=3)
    assert codec_mark(network) == before
    assert encoder.adapter.second.gamma.abs().min() > 0  # gradients came through the codec and both losses
    assert not torch.equal(encoder.analysis[0][1].weight, network.analysis[0][1].weight)
    again, _ = recipe.guide(tmp_path / "b", network, dual, steps=3)
    blind, _ = recipe.guide(tmp_path / "c", network, dual, steps=3, text=False)
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(encoder.parameters(), blind.parameters(), strict=True))
    pretrained.save(tmp_path / "a", encoder, recipe.config(network, dual))
    assert load(str(tmp_path / "a"), network, dual).adapter.second.gamma.abs().sum() > 0
