"""What is particular to each system."""

from collections.abc import Sequence

import numpy as np
import pytest

from semcom import systems
from semcom.codecs.quantise import GAUSSIAN_STEP
from semcom.systems.base import Memo
from semcom.systems.baselines.decide import index_bytes
from semcom.types import Image, Packet, Query, ReceivedPacket, Reception
from tests.fakes import NAMES, FakeBudget, FakeVLM, psnr, smooth_image
from tests.systems.common import models, perfect, queries

IMAGES = [smooth_image(np.random.default_rng(10 + i)) for i in range(4)]
SIZES = [(64, 64)] * 4
AMPLE = FakeBudget(200_000)


def noisy(message_symbols: np.ndarray, variance: np.ndarray, rng: np.random.Generator) -> Reception:
    n = len(message_symbols)
    noise = np.sqrt(variance / 2) * (rng.normal(size=n) + 1j * rng.normal(size=n))
    return Reception((), (message_symbols + noise).astype(np.complex64), variance.astype(np.float32))


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", "hevc-intra"])
def test_pictures_improve_with_the_budget(name: str) -> None:
    system = systems.create(name, models())
    quality = []
    for uses in (1200, 2400, 4800, 9600):
        messages = system.transmit(IMAGES[:2], FakeBudget(uses))
        recovered = system.receive([perfect(m) for m in messages], SIZES[:2])
        assert all(
            len(m.packets) == 1 and m.packets[0].protection == "payload" for m in messages if not m.outage
        )
        quality.append(
            [0 if r.image is None else psnr(r.image, i) for r, i in zip(recovered, IMAGES[:2], strict=True)]
        )
    means = np.mean(quality, axis=1)
    assert (np.diff(means) > 0).all() and min(quality[-1]) > 28


def test_a_thumbnail_fits_where_the_picture_does_not() -> None:
    budget = FakeBudget(600)
    whole = systems.create("jpeg", models()).transmit(IMAGES, budget)
    small = systems.create("jpeg", models(), shrink=4)
    messages = small.transmit(IMAGES, budget)
    assert all(m.outage for m in whole) and not any(m.outage for m in messages)
    for recovered, image in zip(small.receive([perfect(m) for m in messages], SIZES), IMAGES, strict=True):
        assert recovered.image is not None and psnr(recovered.image, image) > 15


def test_captions_arrive_word_for_word_or_cut_to_whole_words() -> None:
    shared = models()
    system = systems.create("caption-text", shared)
    said = shared.describe(IMAGES)
    full = system.transmit(IMAGES, AMPLE)
    assert [r.text for r in system.receive([perfect(m) for m in full], SIZES)] == said
    longest = max(len(m.packets[0].payload) for m in full)
    for room in range(longest + 1):
        messages = system.transmit(IMAGES, FakeBudget(8 * room, 0))
        for recovered, text in zip(system.receive([perfect(m) for m in messages], SIZES), said, strict=True):
            words = (recovered.text or "").split()
            assert words == text.split()[: len(words)]
        assert all(m.outage or m.payload_bits <= 8 * room for m in messages)


def test_embedding_bits_and_signs() -> None:
    shared = models()
    true = np.stack(shared.embed(IMAGES))
    for bits, least in ((8, 0.9999), (4, 0.99), (2, 0.9), (1, 0.7)):
        system = systems.create("embedding", shared, bits=bits)
        messages = system.transmit(IMAGES, AMPLE)
        assert {m.payload_bits for m in messages} == {32 * bits}
        got = np.stack(
            [
                r.embedding
                for r in system.receive([perfect(m) for m in messages], SIZES)
                if r.embedding is not None
            ]
        )
        assert (np.sum(got * true, axis=1) > least).all()
        if bits == 1:
            np.testing.assert_allclose(got, np.where(true >= 0, 1, -1) / np.sqrt(32), atol=1e-6)
        tight = FakeBudget(32 * bits, 0)
        assert not system.transmit(IMAGES, tight)[0].outage
        assert system.transmit(IMAGES, FakeBudget(32 * bits - 1, 0))[0].outage


def test_analog_embedding_repeats_and_combines() -> None:
    shared = models()
    system = systems.create("embedding", shared, analog=True)
    assert system.transmit(IMAGES, FakeBudget(15))[0].outage
    rng = np.random.default_rng(3)
    cosine = []
    for uses in (16, 63, 1600):
        messages = system.transmit(IMAGES * 25, FakeBudget(uses))
        symbols = messages[0].symbols
        assert symbols is not None and len(symbols) == uses // 16 * 16
        air = [noisy(m.symbols, np.full(len(m.symbols), 1.0), rng) for m in messages if m.symbols is not None]
        got = np.stack([r.embedding for r in system.receive(air, SIZES * 25) if r.embedding is not None])
        cosine.append(float(np.mean(np.sum(got * np.stack(shared.embed(IMAGES * 25)), axis=1))))
    # cos of s + n with s: 1 / sqrt(1 + no / repetitions)
    expected = [1 / np.sqrt(1 + 1 / r) for r in (1, 3, 100)]
    assert cosine == pytest.approx(expected, abs=0.03)


def test_bad_repetitions_are_ignored() -> None:
    shared = models()
    system = systems.create("embedding", shared, analog=True)
    (message,) = system.transmit(IMAGES[:1], FakeBudget(32))
    assert message.symbols is not None
    variance = np.repeat([1e-4, 1e4], 16)
    (recovered,) = system.receive([noisy(message.symbols, variance, np.random.default_rng(1))], SIZES[:1])
    assert recovered.embedding is not None and recovered.embedding @ shared.embed(IMAGES[:1])[0] > 0.999


@pytest.mark.parametrize("bits", [8, 4, 2, 1])
def test_tokens_fill_the_budget_and_return_within_the_quantiser(bits: int) -> None:
    shared = models()
    system = systems.create("visual-tokens", shared, select="uniform", bits=bits, tokens_per_packet=3)
    budget = FakeBudget(700, 20)
    (message,) = system.transmit(IMAGES[:1], budget)
    # Brute force: n packets of at most 3 tokens of 16 * bits bits.
    sizes = [min(3, 8 * budget.packet_bytes(n) // (16 * bits)) * n for n in range(1, 17)]
    kept = min(max(sizes), 16)
    assert message.payload_bits == kept * 16 * bits
    (recovered,) = system.receive([perfect(message)], SIZES[:1])
    tokens = shared.tokens(IMAGES[:1])[0]
    where = ((2 * np.arange(kept) + 1) * 16) // (2 * kept)
    assert recovered.tokens is not None and recovered.tokens.shape == (kept, 16)
    vlm = shared.generative
    z = (tokens[where] - vlm.token_mean) / vlm.token_scale
    back = (recovered.tokens - vlm.token_mean) / vlm.token_scale
    inside = np.abs(z) < GAUSSIAN_STEP[bits] * 2 ** (bits - 1)
    assert np.abs(back - z)[inside].max() <= GAUSSIAN_STEP[bits] / 2 + 1e-4


def test_fewer_bits_carry_more_tokens() -> None:
    kept = []
    for bits in (8, 4, 2, 1):
        (message,) = systems.create("visual-tokens", models(), bits=bits).transmit(
            IMAGES[:1], FakeBudget(400)
        )
        kept.append(message.payload_bits // (16 * bits))
    assert kept == sorted(kept) and kept[0] < kept[-1]


def test_lost_packets_lose_their_tokens_only() -> None:
    system = systems.create("visual-tokens", models(), select="none", tokens_per_packet=4)
    (message,) = system.transmit(IMAGES[:1], AMPLE)
    assert [len(p.payload) for p in message.packets] == [32] * 4
    whole = system.receive([perfect(message)], SIZES[:1])[0].tokens
    packets = tuple(ReceivedPacket(p.payload, i != 1) for i, p in enumerate(message.packets))
    rest = system.receive([Reception(packets)], SIZES[:1])[0].tokens
    assert whole is not None and rest is not None
    assert np.array_equal(rest, np.concatenate([whole[:4], whole[8:]]))


def test_fixed_numbers_of_tokens_fit_or_are_outages() -> None:
    keep = systems.create("visual-tokens", models(), keep=6, bits=8, tokens_per_packet=6)
    everything = systems.create("visual-tokens", models(), select="none", bits=8, tokens_per_packet=16)
    for system, tokens in ((keep, 6), (everything, 16)):
        enough = tokens * 16 * 8
        assert system.transmit(IMAGES[:1], FakeBudget(enough, 0))[0].payload_bits == enough
        assert system.transmit(IMAGES[:1], FakeBudget(enough - 1, 0))[0].outage
        assert system.transmit(IMAGES[:1], AMPLE)[0].payload_bits == enough
    analog = systems.create("visual-tokens", models(), keep=6, analog=True)
    symbols = analog.transmit(IMAGES[:1], FakeBudget(48))[0].symbols
    assert (
        symbols is not None and len(symbols) == 48 and analog.transmit(IMAGES[:1], FakeBudget(47))[0].outage
    )


def test_analog_tokens_keep_their_scale_and_reach_the_lmmse_error() -> None:
    """With Gaussian tokens of the known statistics, error per number = no / (1 + no)."""
    rng = np.random.default_rng(4)

    class Gaussian(FakeVLM):
        def visual_tokens(self, images: Sequence[Image]) -> list[np.ndarray]:
            z = rng.normal(size=(len(images), 64, 16))
            return [(self.token_mean + self.token_scale * t).astype(np.float32) for t in z]

    vlm = Gaussian(16)
    shared = systems.Models(models().dual, vlm)
    system = systems.create("visual-tokens", shared, select="none", analog=True)
    messages = system.transmit(IMAGES, FakeBudget(512))
    true = shared.tokens(IMAGES)
    for variance, expected in ((0.0, 0.002), (0.25, 0.2), (1.0, 0.5)):
        air = [noisy(m.symbols, np.full(512, variance), rng) for m in messages if m.symbols is not None]
        got = [r.tokens for r in system.receive(air, SIZES)]
        error = np.mean(
            [((g - t) / vlm.token_scale) ** 2 for g, t in zip(got, true, strict=True) if g is not None]
        )
        assert error == pytest.approx(expected, rel=0.06, abs=0.003)


def test_the_decision_is_one_robust_byte() -> None:
    system = systems.create("decide-at-transmitter", models())
    closed = [Query("vqa", str(i), "which ?", candidates=NAMES) for i in range(4)]
    messages = system.transmit(IMAGES, AMPLE, closed)
    expected = [NAMES[int(np.argmax(i.mean((0, 1))))] for i in IMAGES]
    lowest = "robust-1/80"
    assert [m.packets for m in messages] == [(Packet(bytes([NAMES.index(e)]), lowest),) for e in expected]
    air = [perfect(m) for m in messages]
    assert [r.answer for r in system.receive(air, SIZES, closed)] == expected
    assert {r.kind for r in system.receive(air, SIZES)} == {"nothing"}
    beyond = [Reception((ReceivedPacket(b"\x03", True),))] * 4
    assert {r.kind for r in system.receive(beyond, SIZES, closed)} == {"nothing"}
    with pytest.raises(ValueError, match="one query for each"):
        system.transmit(IMAGES, AMPLE)


def test_the_decision_takes_the_lowest_rate_that_fits() -> None:
    from semcom.link import Link
    from semcom.systems.baselines.decide import CLASSES

    link, system = Link("awgn"), systems.create("decide-at-transmitter", models())
    closed = [Query("vqa", str(i), "which ?", candidates=NAMES) for i in range(4)]
    for uses in (30, 60, 119, 120, 500, 5000):
        for message in system.transmit(IMAGES, link.budget(uses), closed):
            lower = [
                c
                for c in CLASSES
                if not message.packets or CLASSES.index(c) < CLASSES.index(message.packets[0].protection)
            ]
            assert link.uses(message) <= uses
            assert all(link.digital.uses(1, c) > uses for c in lower)


@pytest.mark.parametrize(("n", "size"), [(1, 1), (2, 1), (256, 1), (257, 2), (65536, 2), (65537, 3)])
def test_index_bytes(n: int, size: int) -> None:
    assert index_bytes(n) == size and 256**size >= n


def test_the_decider_of_the_sweep_is_asked() -> None:
    shared = models()
    system = systems.create("decide-at-transmitter", shared)
    shared.decide = lambda images, asked: ["blue" if q.candidates else "so many words" for q in asked]
    mixed = queries(4)
    messages = system.transmit(IMAGES, AMPLE, mixed)
    answers = [r.answer for r in system.receive([perfect(m) for m in messages], SIZES, mixed)]
    assert answers == ["blue", "so many words"] * 2
    shared.decide = lambda images, asked: ["mauve" if q.candidates else "" for q in asked]
    assert all(m.outage for m in system.transmit(IMAGES, AMPLE, mixed))


def test_models_run_once_for_all_systems_and_budgets() -> None:
    shared = models()
    for options in ({}, {"select": "uniform"}, {"bits": 1}):
        for uses in (100, 1000):
            systems.create("visual-tokens", shared, **options).transmit(IMAGES, FakeBudget(uses))
            systems.create("embedding", shared).transmit(IMAGES, FakeBudget(uses + 300))
    assert shared.generative.calls == shared.dual.calls == 1  # type: ignore[attr-defined]


def test_memo_forgets_the_oldest() -> None:
    calls = []
    memo = Memo(limit_bytes=2500)

    def compute(images: Sequence[Image]) -> list[np.ndarray]:
        calls.append(len(images))
        return [np.zeros(250, np.float32) for _ in images]

    for batch in (IMAGES[:1], IMAGES[1:2], IMAGES[:1], IMAGES[2:3], IMAGES[:1], IMAGES[1:2]):
        memo(batch, compute)
    assert len(calls) == 4 and memo([], compute) == []
