"""The learned codec: codes against its own estimate, exactness, damaged bytes, slices, and what it is measured by."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys

import numpy as np
import pytest
import torch

from channels.errors import InputError
from semcom import codecs, pretrained
from semcom.codecs import hyperprior
from semcom.codecs.base import Ladder
from semcom.codecs.hyperprior import RATES, Hyperprior
from semcom.codecs.learned import LatentPackets, LearnedCodec
from semcom.data.scenes import draw_scenes, render
from semcom.types import Image, Packet, ReceivedPacket, Reception
from tests.fakes import FakeBudget, psnr, smooth_image


def fresh() -> tuple[int, np.random.Generator]:
    seed = secrets.randbelow(2**32)
    torch.manual_seed(seed)
    return seed, np.random.default_rng(seed)


@pytest.fixture(scope="module")
def codec() -> Hyperprior:
    return hyperprior.load()


def scenes(rng: np.random.Generator, count: int) -> list[Image]:
    return list(render(draw_scenes("test", rng.integers(0, 10**6, count))))


def small() -> Hyperprior:
    network = Hyperprior(width=16, latent=12, hyper=4).eval().requires_grad_(False)
    network.freeze()
    return network


def test_codes_hold_what_was_quantised_at_every_rate_and_size() -> None:
    seed, rng = fresh()
    network, largest = small(), 0
    for rate in (0, int(rng.integers(1, RATES - 1)), RATES - 1):
        for size in [(64, 64), (33, 65), (7, 5), (1, 1), (8, 120)]:
            y = network.latent_of(smooth_image(rng, size)) * float(rng.uniform(1, 200))
            latent = network.quantise(y, rate)
            back = network.streams.decode(network.streams.encode(latent), size)
            assert back is not None and back.rate == rate, seed
            assert np.array_equal(back.z, latent.z) and np.array_equal(back.symbols, latent.symbols), seed
            largest = max(largest, int(np.abs(latent.symbols).max()))
            y_hat = network.dequantise(latent)
            assert y_hat.shape == y.shape and torch.equal(y_hat, network.dequantise(back))
            assert network.picture(y_hat, size).shape == (*size, 3)
    assert largest > 1, seed  # not zeros throughout; a single pixel at the lowest rate may be


def test_rounding_is_to_the_nearest_step_of_the_gain() -> None:
    """|y - y_hat| <= step / 2 where nothing is clipped and the symbol is coded."""
    seed, rng = fresh()
    network = small()
    y = network.latent_of(smooth_image(rng)) * 20
    for rate in (0, 11, RATES - 1):
        latent = network.quantise(y, rate)
        coded = network.levels(latent.z, rate, (8, 8)) > 0
        error = (y - network.dequantise(latent))[0] * network.gain(torch.tensor([rate]))[0]
        inside = torch.from_numpy(coded & (np.abs(latent.symbols) < 31))
        assert inside.any() and error[inside].abs().max() <= 0.5 + 1e-4, seed
        assert (latent.symbols[~coded] == 0).all(), seed


def test_gains_interpolate_their_logarithms() -> None:
    _, rng = fresh()
    network = small()
    network.log_gain.copy_(torch.from_numpy(rng.normal(size=network.log_gain.shape)))
    places = np.arange(RATES) * 7 / 31
    want = [np.interp(places, np.arange(8), network.log_gain[:, c].numpy()) for c in range(12)]
    got = network.gain(torch.arange(RATES))[:, :, 0, 0].log().numpy()
    assert np.allclose(got, np.stack(want, 1), atol=1e-5)


def test_training_and_coding_see_the_same_network() -> None:
    """In evaluation mode ``forward`` is analyse, quantise, dequantise, synthesise; its bits those of the tables."""
    seed, rng = fresh()
    network = small()
    images = np.stack([smooth_image(rng) for _ in range(3)])
    rates = torch.tensor([0, 13, 31])
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        decoded, bits = network(x, rates)
    for image, one, rate, b in zip(images, decoded, rates.tolist(), bits, strict=True):
        code = network.compress([image], rate)[0]
        shown = network.decompress([code], (64, 64))[0]
        assert shown is not None
        expected = (one * 255).round().clamp(0, 255).permute(1, 2, 0).numpy()
        assert np.mean(np.abs(shown - expected) > 1) < 0.01, (
            seed
        )  # a value on the edge of two may round otherwise
        assert abs(8 * len(code) - float(b)) < 0.03 * float(b) + 16, seed


def test_gradients_reach_every_part() -> None:
    fresh()
    network = Hyperprior(width=16, latent=12, hyper=4).train()
    decoded, bits = network(torch.rand(4, 3, 64, 64), torch.tensor([0, 9, 20, 31]))
    (decoded.square().mean() + bits.mean() / 4096).backward()
    missing = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missing == []


def test_any_bytes_give_an_image_or_nothing(codec: Hyperprior) -> None:
    seed, rng = fresh()
    image = scenes(rng, 1)[0]
    good = codec.compress([image], 12)[0]
    for _ in range(150):
        code = bytearray(good)
        code[int(rng.integers(len(code)))] ^= 1 << int(rng.integers(8))
        for data in (bytes(code), good[: int(rng.integers(len(good)))], rng.bytes(int(rng.integers(0, 300)))):
            shown = codec.decompress([data], (64, 64))[0]
            assert shown is None or (shown.shape == (64, 64, 3) and shown.dtype == np.uint8), seed


def test_codes_are_within_three_per_cent_of_the_models_estimate(codec: Hyperprior) -> None:
    """Mean over fresh test scenes, at low, middle and high rates; and the card says so for its own scenes."""
    seed, rng = fresh()
    images = scenes(rng, 40)
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    for rate in (0, 15, 31):
        with torch.inference_mode():
            estimate = float(codec(x, torch.full((40,), rate))[1].mean()) / 8
        coded = float(np.mean([len(code) for code in codec.compress(images, rate)]))
        assert abs(coded / estimate - 1) < 0.03, (seed, rate, coded, estimate)
    card = json.loads((pretrained.WEIGHTS / "image-codec" / "card.json").read_text())["scores"]
    rows = [row for name, row in card.items() if name.startswith("rate")]
    assert len(rows) >= 8
    assert all(abs(row["bytes"] / row["estimated bytes"] - 1) < 0.03 for row in rows)


@pytest.mark.parametrize("rival", ["jpeg", "webp"])
def test_more_psnr_than_jpeg_and_webp_at_equal_bytes(codec: Hyperprior, rival: str) -> None:
    """Each image at the rival's own bytes or fewer: our best rate in the bytes of some of the rival's low qualities."""
    seed, rng = fresh()
    theirs, ours = codecs.create(rival), codecs.create("learned")
    gains = []
    for image in scenes(rng, 12):
        ladder = Ladder(ours, image)
        for quality in (theirs.ladder[0], theirs.ladder[10]):
            code = theirs.encode(image, quality)
            mine, other = ours.decode(ladder.best(len(code)) or b"", (64, 64)), theirs.decode(code, (64, 64))
            assert mine is not None and other is not None
            gains.append(psnr(image, mine) - psnr(image, other))
    assert np.mean(gains) > 1, (seed, np.mean(gains))


def test_bytes_and_psnr_rise_with_the_rate(codec: Hyperprior) -> None:
    seed, rng = fresh()
    images = scenes(rng, 12)
    sizes, quality = [], []
    for rate in range(0, RATES, 5):
        codes = codec.compress(images, rate)
        shown = codec.decompress(codes, (64, 64))
        sizes.append(np.mean([len(code) for code in codes]))
        quality.append(np.mean([psnr(a, b) for a, b in zip(images, shown, strict=True) if b is not None]))
    assert sizes == sorted(sizes) and quality == sorted(quality), seed
    assert sizes[0] < 40 and sizes[-1] > 180


def test_as_a_picture_codec(codec: Hyperprior) -> None:
    _, rng = fresh()
    short, full = LearnedCodec(), LearnedCodec("full")
    image = scenes(rng, 1)[0][:40, :51]
    a, b = short.encode(image, 17), full.encode(image, 17)
    assert a == codec.compress([image], 17)[0] and b == bytes([0, 40, 0, 51]) + a
    x, y = short.decode(a, (40, 51)), full.decode(b, (40, 51))
    assert x is not None and y is not None and np.array_equal(x, y)
    assert full.decode(b, (40, 52)) is None and short.decode(b"", (40, 51)) is None
    assert any(c.isdigit() for c in short.version)


def test_another_process_with_other_arithmetic_reads_the_same(codec: Hyperprior) -> None:
    """Rows of the tables from float sums in another order (other threads, no oneDNN) are equal."""
    seed, rng = fresh()
    image = smooth_image(rng, (64, 96))
    latent = codec.quantise(codec.latent_of(image), 20)
    program = (
        "import sys, numpy as np, torch; torch.set_num_threads(2); torch.backends.mkldnn.enabled = False\n"
        "from semcom.codecs import hyperprior\n"
        "latent = hyperprior.load().streams.decode(bytes.fromhex(sys.argv[1]), (64, 96))\n"
        "print(latent.rate, latent.z.tobytes().hex(), latent.symbols.tobytes().hex())"
    )
    code = codec.streams.encode(latent)
    done = subprocess.run(
        [sys.executable, "-c", program, code.hex()], capture_output=True, text=True, check=True
    )
    expected = [str(latent.rate), latent.z.tobytes().hex(), latent.symbols.tobytes().hex()]
    assert done.stdout.split() == expected, seed


def test_the_spare_packet_costs_a_third_and_stands_in(codec: Hyperprior) -> None:
    seed, rng = fresh()
    packets, one, two = LatentPackets("image-codec", "resilient"), LatentPackets("image-codec", "one"), 0
    for image in scenes(rng, 12):
        budget = FakeBudget(int(rng.integers(200, 3000)))
        message, alone = (
            packets.send(image, image.tobytes(), budget),
            one.send(image, image.tobytes(), budget),
        )
        assert budget.cost(message) <= budget.channel_uses, seed
        if len(message.packets) < 2:
            assert message.packets == alone.packets and budget.channel_uses < 1000, seed
            continue
        two += 1
        first, spare = (p.payload for p in message.packets)
        least = len(codec.compress([image], 0)[0])
        assert len(spare) <= max(least, budget.packet_bytes(3)), seed
        assert len(first) >= 0.6 * len(alone.packets[0].payload) - 2 * least, seed
        shown = []
        for lost in ([], [0], [1], [0, 1]):
            received = tuple(ReceivedPacket(p.payload, i not in lost) for i, p in enumerate(message.packets))
            shown.append(packets.receive(Reception(received), (64, 64)))
        whole, second, first_alone, nothing = shown
        assert whole is not None and second is not None and first_alone is not None and nothing is None, seed
        assert torch.equal(whole[0], first_alone[0]) and whole[1] == first_alone[1] >= second[1], seed
        want = codec.decompress([spare], (64, 64))[0]
        assert want is not None and np.array_equal(codec.picture(second[0], (64, 64)), want), seed
    assert two > 3, seed


def test_the_highest_rate_that_fits(codec: Hyperprior) -> None:
    seed, rng = fresh()
    image = scenes(rng, 1)[0]
    packets = LatentPackets("image-codec", "one")
    sizes = [len(codec.compress([image], rate)[0]) for rate in range(RATES)]
    for _ in range(20):
        budget = FakeBudget(int(rng.integers(100, 6000)))
        message, room = packets.send(image, b"", budget), budget.packet_bytes()
        fitting = [size for size in sizes if size <= room]
        assert message.packets == (
            (Packet(codec.compress([image], len(fitting) - 1)[0]),) if fitting else ()
        ), seed


def test_wrong_settings_say_what_is_right() -> None:
    with pytest.raises(InputError, match="Did you mean 'resilient'"):
        LatentPackets("image-codec", "resiliant")
    with pytest.raises(InputError, match="weights"):
        LearnedCodec(weights="no-such").encode(np.zeros((8, 8, 3), np.uint8), 3)
