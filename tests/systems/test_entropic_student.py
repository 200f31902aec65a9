"""The bottleneck's coder and decoder, and what the system promises, on a tiny LLaVA and random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from channels.errors import InputError
from semcom import pretrained
from semcom.systems.base import Models
from semcom.systems.split_computing.bottleneck import REACH, Bottleneck
from semcom.systems.split_computing.entropic_student import EntropicStudent, split_grid
from semcom.training import entropic_student as recipe
from semcom.training import loop
from semcom.types import ReceivedPacket, Reception
from semcom.vlm.llava import Llava
from semcom.vlm.load import load_generative
from tests.fakes import FakeBudget, FakeVLM, smooth_image
from tests.systems.common import perfect
from tests.vlm import tiny

torch.set_num_threads(1)
SIZES = {"split": 1, "channels": 5, "rates": 4, "hidden": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA of 32 x 32 pixels, patches of 8 and two layers."""
    root = tmp_path_factory.mktemp("models")
    return tiny.llava(root / "llava", tiny.clip(root / "clip"))


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
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


@pytest.fixture
def net(llava: Llava, rng: np.random.Generator) -> Bottleneck:
    """Random weights, latents of several steps, and rates far apart."""
    made = Bottleneck(llava.trunk, **SIZES)
    with torch.no_grad():
        made.encoder[-1].weight *= 12
        made.gain += 0.3 * torch.randn(made.gain.shape)
        made.restore += 0.3 * torch.randn(made.restore.shape)
    made.freeze()
    return made.eval().requires_grad_(False)


@pytest.fixture
def weights(net: Bottleneck, llava: Llava, tmp_path: Path) -> str:
    pretrained.save(tmp_path / "weights", net, {"vlm": llava.fingerprint, **SIZES})
    return str(tmp_path / "weights")


def test_latents_come_back_from_their_bytes(net: Bottleneck, rng: np.random.Generator) -> None:
    for rate in range(net.rates):
        values = rng.integers(-REACH, REACH + 1, (net.channels, 16)) // int(rng.integers(1, 9))
        data = net.write(values, rate)
        found = net.read(data, 16)
        assert found is not None and found[1] == rate and np.array_equal(found[0], values)
        rows = 1 + rate * net.channels + np.repeat(np.arange(net.channels), 16)
        information = net.tables.bits(values, rows) + np.log2(net.rates)
        assert information - 8 <= 8 * len(data) <= information + 17


def test_the_coder_knows_the_densities_of_each_rate(net: Bottleneck, rng: np.random.Generator) -> None:
    values = torch.from_numpy(rng.integers(-2, 3, (4, net.channels, 4, 4))).float()
    rate = torch.from_numpy(rng.integers(0, net.rates, 4))
    for row, r, bits in zip(values, rate.tolist(), net.bits(values, rate).tolist(), strict=True):
        rows = 1 + r * net.channels + np.repeat(np.arange(net.channels), 16)
        assert net.tables.bits(row.numpy(), rows) == pytest.approx(bits, rel=0.01, abs=0.2)


def test_any_bytes_are_read_or_refused(net: Bottleneck, rng: np.random.Generator) -> None:
    for length in [0, 1, 2, *rng.integers(0, 200, 60)]:
        found = net.read(rng.bytes(int(length)), 16)
        if found is not None:
            assert found[0].shape == (net.channels, 16) and 0 <= found[1] < net.rates
            assert np.abs(found[0]).max() <= REACH


def test_untrained_copies_continue_the_tower(llava: Llava, rng: np.random.Generator) -> None:
    """The decoder's patches, put into the tower itself as embeddings, give the same tokens."""
    trunk, net = llava.trunk, Bottleneck(llava.trunk, **SIZES).eval()
    values, rate = torch.randn(3, 5, 4, 4), torch.tensor([0, 3, 1])
    seen: list[torch.Tensor] = []
    handle = net.leave.register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.inference_mode():
        tokens = trunk.visual_tokens(net.decode(values, rate, trunk), net.split)
        handle.remove()
        want = trunk.visual_tokens(trunk.assemble(seen[0].flatten(2).mT))
    assert torch.allclose(tokens, want, atol=1e-5)


def test_a_fresh_network_undoes_its_gains(llava: Llava, rng: np.random.Generator) -> None:
    net = Bottleneck(llava.trunk, **SIZES).eval()
    features = 0.1 * torch.randn(1, 5, 4, 4)
    rates = torch.arange(net.rates)
    with torch.inference_mode():
        states = net.decode(net.scaled(features.expand(net.rates, -1, -1, -1), rates), rates, llava.trunk)
    assert torch.allclose(states, states[:1].expand_as(states), atol=1e-4)


@pytest.mark.parametrize("grid", [(4, 4), (8, 8), (5, 3), (2, 7)])
def test_quadrants_partition_the_grid(grid: tuple[int, int]) -> None:
    parts = split_grid(grid, 4)
    assert sorted(np.concatenate(parts).tolist()) == list(range(grid[0] * grid[1])) and len(parts) == 4
    for part in parts:
        rows, columns = part // grid[1], part % grid[1]
        assert len(part) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # a rectangle
    assert [p.tolist() for p in split_grid(grid, 1)] == [list(range(grid[0] * grid[1]))]


@pytest.mark.parametrize("packets", ["one", "quadrants"])
def test_the_highest_rate_that_fits_is_sent(
    packets: str, weights: str, llava: Llava, rng: np.random.Generator
) -> None:
    system = EntropicStudent(Models(generative=llava), packets=packets, weights=weights)  # type: ignore[arg-type]
    net, count = system._net, 1 if packets == "one" else 4
    for image in (smooth_image(rng, (32, 32)), smooth_image(rng, (40, 70))):
        with torch.inference_mode():
            features = net.features(llava.trunk.normalised([image]))
        codes = []
        for rate in range(net.rates):
            values = net.scaled(features, torch.tensor([rate]))[0].flatten(1).round().long().numpy()
            codes.append([net.write(values[:, part], rate) for part in split_grid(net.grid, count)])
        for uses in (8 * max(map(len, code)) * count + 12 * count for code in codes):
            budget = FakeBudget(uses)
            fitting = [c for c in codes if max(map(len, c)) <= budget.packet_bytes(count)]
            sent = [p.payload for p in system.transmit([image], budget)[0].packets]
            assert fitting and sent == fitting[-1]


def test_lost_quadrants_are_masked(weights: str, llava: Llava, rng: np.random.Generator) -> None:
    system = EntropicStudent(Models(generative=llava), packets="quadrants", weights=weights)
    net, trunk, image = system._net, llava.trunk, smooth_image(rng, (32, 32))
    message = system.transmit([image], FakeBudget(100_000))[0]
    rate = torch.tensor([net.rates - 1])
    lost = rng.permutation([True, True, False, False])
    packets = [ReceivedPacket(p.payload, not gone) for p, gone in zip(message.packets, lost, strict=True)]
    tokens = system.receive([Reception(tuple(packets))], [(32, 32)])[0].tokens
    kept = torch.ones(1, 16, dtype=torch.bool)
    for part, gone in zip(split_grid(net.grid, 4), lost, strict=True):
        kept[:, part] = not gone
    with torch.inference_mode():
        values = net.encode(trunk.normalised([image]), rate).round()
        want = trunk.visual_tokens(net.decode(values, rate, trunk, kept.unflatten(1, net.grid)), net.split)
    assert tokens is not None and np.allclose(tokens, want[0].numpy(), atol=1e-4)
    whole = system.receive([perfect(message)], [(32, 32)])[0].tokens
    assert whole is not None and not np.allclose(tokens, whole, atol=1e-3)


def test_the_spare_packet_stands_in(weights: str, llava: Llava, rng: np.random.Generator) -> None:
    both = EntropicStudent(Models(generative=llava), packets="resilient", weights=weights)
    alone = EntropicStudent(Models(generative=llava), weights=weights)
    image, budget = smooth_image(rng, (32, 32)), FakeBudget(100_000)
    (message,) = both.transmit([image], budget)
    first, spare = message.packets
    assert budget.cost(message) <= budget.channel_uses

    def tokens(system: EntropicStudent, *packets: ReceivedPacket) -> np.ndarray | None:
        return system.receive([Reception(packets)], [(32, 32)])[0].tokens

    for one in (first, spare):
        got = tokens(both, *(ReceivedPacket(p.payload, p is one) for p in (first, spare)))
        want = tokens(alone, ReceivedPacket(one.payload, True))
        assert got is not None and np.array_equal(got, want)
    whole = tokens(both, *(ReceivedPacket(p.payload, True) for p in (first, spare)))
    assert np.array_equal(whole, tokens(alone, ReceivedPacket(first.payload, True)))
    assert tokens(both, *(ReceivedPacket(p.payload, False) for p in (first, spare))) is None
    assert tokens(both, *[ReceivedPacket(first.payload, True)] * 3) is None


def test_weights_of_another_model_are_refused(weights: str) -> None:
    with pytest.raises(
        InputError, match="semcom train entropic-student --vlm embedded"
    ):  # theirs are a tiny one's
        EntropicStudent(Models(), weights=weights).transmit(
            [np.zeros((64, 64, 3), np.uint8)], FakeBudget(1000)
        )
    with pytest.raises(InputError, match="needs a LLaVA"):
        EntropicStudent(Models(generative=FakeVLM())).recover(Reception(), (8, 8), None)
    with pytest.raises(InputError, match="resilient"):
        EntropicStudent(Models(), packets="resilent")  # type: ignore[arg-type]


def test_the_recipe_trains_for_another_llava(
    folder: Path, llava: Llava, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    images = np.stack([smooth_image(rng, (32, 32)) for _ in range(300)])
    monkeypatch.setattr(loop, "pool", lambda: (None, images))
    monkeypatch.setattr(recipe, "SAMPLES", 2)
    out = recipe.train(tmp_path / "made", steps=3, vlm=str(folder))
    assert sorted(p.name for p in out.iterdir()) == ["card.json", "config.json", "model.safetensors"]
    system = EntropicStudent(Models(generative=load_generative(str(folder))), weights=str(out))
    message = system.transmit(list(images[:1]), FakeBudget(9000))[0]
    tokens = system.receive([perfect(message)], [(32, 32)])[0].tokens
    assert tokens is not None and tokens.shape == (16, llava.token_dim) and np.isfinite(tokens).all()


def test_a_teacher_finds_no_error_in_itself(llava: Llava, rng: np.random.Generator) -> None:
    images = [smooth_image(rng, (32, 32)) for _ in range(6)]
    teacher = recipe.Teacher(llava, 1, True, images)
    states = teacher(images)
    assert not teacher.errors(states, states).any()
    tower, language = llava.trunk.layers, int(llava.model.config.text_config.num_hidden_layers)
    assert len(states) == tower - 1 + 1 + language
    with (
        torch.inference_mode()
    ):  # what enters the language model's first layer are the projected visual tokens
        tokens = torch.from_numpy(np.stack(llava.visual_tokens(images)))
        assert torch.equal(recipe.heard(llava, tokens)[0], llava.model.model.multi_modal_projector(tokens))
    shifted = [s + 0.5 * s.flatten(0, 1).std(0) for s in states]
    assert teacher.errors(shifted, states).float().numpy() == pytest.approx(0.25, rel=0.1)
