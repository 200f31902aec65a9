"""Retransmissions: Sionna's redundancy versions, what combining is worth, and who pays for it."""

from __future__ import annotations

import pickle
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import channels
from channels import fec
from channels.errors import InputError
from channels.fec.ldpc import LDPC
from channels.links import Harq
from channels.modem import modem

AWGN = channels.create("awgn")


def link(
    harq: Harq | None, modulation: str = "qpsk", rate: float = 0.5, **channel: Any
) -> channels.DigitalLink:
    air = channels.create("rayleigh", **channel) if channel else AWGN
    return channels.DigitalLink(air, modulation, rate, harq=harq)


def lost(harq: Harq | None, rate: float, snr_db: float, count: int, seed: int, size: int = 60) -> float:
    """Fraction of payloads over AWGN that do not arrive."""
    rng = np.random.default_rng(seed)
    received = link(harq, rate=rate).send([rng.bytes(size) for _ in range(count)], snr_db, seed)
    return float(np.mean([not r.ok for r in received]))


def apart(a: float, b: float, count: int) -> float:
    """How many standard deviations two measured rates lie apart."""
    pooled = (a + b) / 2
    return abs(a - b) / max((2 * pooled * (1 - pooled) / count) ** 0.5, 1e-9)


CODES = [(496, 620, 2), (120, 156, 6), (500, 1000, 4), (2040, 2280, 8), (600, 3000, 2), (24, 48, 2)]


@pytest.mark.parametrize(("k", "n", "m"), CODES)
def test_redundancy_versions_are_those_of_38_212(k: int, n: int, m: int, seed: int) -> None:
    from sionna.phy.fec.ldpc import LDPC5GEncoder

    bits = np.random.default_rng(seed).integers(0, 2, (3, k), np.uint8)
    versions = (0, 2, 3, 1)
    encoder = LDPC5GEncoder(k, n, num_bits_per_symbol=m)
    expected = encoder(torch.from_numpy(bits).float(), rv=list(versions)).numpy()
    assert np.array_equal(LDPC(k, n, m, versions).encode(bits), expected.reshape(3, -1))
    for i, version in enumerate(versions):
        assert np.array_equal(LDPC(k, n, m, (version,)).encode(bits), expected[:, i])


@pytest.mark.parametrize("versions", [(0, 2), (0, 2, 3, 1), (0, 3, 3)])
def test_combining_decides_like_sionnas(versions: tuple[int, ...], seed: int) -> None:
    from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder

    k, n, m = 496, 620, 2
    ours = LDPC(k, n, m, versions)
    decoder = LDPC5GDecoder(LDPC5GEncoder(k, n, num_bits_per_symbol=m), num_iter=20, harq_mode=True)
    bits = np.random.default_rng(seed).integers(0, 2, (60, k), np.uint8)
    snr_db = {2: 0.1, 3: -0.6, 4: -3.5}[len(versions)]
    y, no = AWGN(modem(m).map(ours.encode(bits)), snr_db, seed, power="trust")
    llr = modem(m).demap(y, no)
    decided, valid = ours.decode(llr)
    expected = decoder(llr.reshape(60, len(versions), n), rv=list(versions)).numpy()
    assert valid.sum() > 0
    assert (decided[valid] != expected[valid]).any(axis=1).sum() <= 3
    wrong, expected_wrong = (decided != bits).any(axis=1), (expected != bits).any(axis=1)
    assert (wrong != expected_wrong).sum() <= 3


def test_two_chase_attempts_are_worth_three_decibels(seed: int) -> None:
    """Sums of AWGN LLRs are those of twice the SNR, exactly: block error rates agree, and 0.3 dB would show."""
    count, snr_db = 1200, 1.5
    one, better, worse = (lost(None, 0.5, snr_db + d, count, seed) for d in (0.0, 0.3, -0.3))
    two = lost(Harq("chase", 2), 0.5, snr_db - 10 * np.log10(2), count, seed + 1)
    assert 0.02 < one < 0.4
    assert apart(one, two, count) < 5, (one, two)
    assert better < two < worse


def test_incremental_redundancy_beats_chase_at_high_rate(seed: int) -> None:
    """Two attempts at rate 0.8 make a code of rate 0.4: new parity is worth more than the same bits again."""
    count, rate, snr_db = 600, 0.8, 0.3
    chase, incremental = (lost(Harq(s, 2), rate, snr_db, count, seed) for s in ("chase", "incremental"))
    assert incremental < chase and apart(incremental, chase, count) > 5, (incremental, chase)
    # The code of rate 0.4 itself sends the first parity bits without a gap; half a decibel covers the difference.
    low, high = (lost(None, rate / 2, snr_db + d, count, seed + 1) for d in (0.5, -0.5))
    assert low <= incremental <= high, (low, incremental, high)


@pytest.mark.parametrize("scheme", ["chase", "incremental"])
def test_never_worse_than_one_attempt(scheme: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    payloads = [rng.bytes(int(n)) for n in rng.choice([5, 40, 300, 2500], 60)]
    snrs = [float(s) for s in rng.uniform(0, 18, 60)]
    classes = [str(c) for c in rng.choice(["payload", "robust-1/10"], 60)]
    one, four = (
        link(h, "qam16", 0.75, coherence=30).send(payloads, snrs, seed, classes) for h in (None, Harq(scheme))
    )
    for payload, first, last in zip(payloads, one, four, strict=True):
        if first.ok:
            assert last == first
        elif last.ok:
            assert last.payload == payload and last.ledger.retransmissions > 0
    assert sum(r.ok for r in one) < sum(r.ok for r in four)


def test_one_attempt_is_a_link_without(seed: int) -> None:
    payloads = [np.random.default_rng(seed + i).bytes(30) for i in range(40)]
    snrs = [float(s) for s in np.linspace(-4, 8, 40)]
    plain, one = (link(h, coherence=8).send(payloads, snrs, seed) for h in (None, Harq(attempts=1)))
    assert plain == one and 0 < sum(r.ok for r in plain) < 40


@pytest.mark.parametrize("harq", [Harq("chase", 3), Harq("incremental", 6), Harq("chase", 4, 700)])
def test_the_ledger_charges_what_was_sent(harq: Harq, seed: int) -> None:
    rng = np.random.default_rng(seed)
    payloads = [rng.bytes(int(n)) for n in rng.choice([8, 50, 90], 60)]
    sent = link(harq, "qam16", 0.5, coherence=None)
    attempts = set()
    for payload, received in zip(payloads, sent.send(payloads, 5.0, seed), strict=True):
        symbols = sent.grant(len(payload)).symbols
        once = sent.grant(len(payload)).ledger(symbols, symbols)
        assert astuple(received.ledger)[:7] == astuple(once)[:7]
        again = received.ledger.retransmissions / once.channel_uses
        assert again == int(again) and again < harq.attempts
        assert received.ledger.payload_bits == 8 * len(payload)
        assert received.ledger.channel_uses <= sent.uses(len(payload))
        assert received.ok or again + 1 == harq.within(once.channel_uses)
        attempts.add(again)
    assert len(attempts) > 1


def test_the_deadline_is_kept(seed: int) -> None:
    uses = link(None).uses(40)
    for deadline, most in ((uses - 1, 0), (uses, 1), (2 * uses - 1, 1), (2 * uses, 2), (9 * uses, 4)):
        sent = link(Harq("chase", 4, deadline))
        (received,) = sent.send([bytes(40)], -30.0, seed)
        assert not received.ok and len(received.payload) == 40
        assert received.ledger.channel_uses == most * uses <= max(deadline, uses) and (
            most or not any(received.payload)
        )
        assert sent.uses(40) == max(uses, min(4 * uses, deadline))
        (received,) = sent.send([bytes(40)], 30.0, seed)
        assert received.ok == (most > 0) and received.ledger.channel_uses == (uses if most else 0)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 20_000),
    st.integers(1, 16),
    st.none() | st.integers(1, 20_000),
    st.sampled_from([0.2, 0.5, 0.9]),
)
def test_max_bytes_is_the_largest_that_fits(
    uses: int, attempts: int, deadline: int | None, rate: float
) -> None:
    sent = link(Harq("chase", attempts, deadline), rate=rate)
    plain = link(None, rate=rate)
    best = sent.max_bytes(uses)
    assert best == 0 or (sent.uses(best) <= uses and plain.uses(best) <= (deadline or uses))
    for larger in range(best + 1, best + 60):
        assert sent.uses(larger) > uses or plain.uses(larger) > (deadline or uses)


@pytest.mark.parametrize("scheme", ["chase", "incremental"])
def test_results_do_not_depend_on_what_else_is_sent(scheme: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sent = link(Harq(scheme, 3), "qam16", 0.8, coherence=50)
    payloads = [rng.bytes(int(n)) for n in rng.choice([20, 21, 300, 1500], 24)]
    seeds = [int(s) for s in rng.integers(2**63, size=24)]
    snrs = [float(s) for s in rng.uniform(0, 16, 24)]
    together = sent.send(payloads, snrs, seeds)
    order = rng.permutation(24)
    for part in np.split(order, [1, 2, 9]):
        assert sent.send(*([s[i] for i in part] for s in (payloads, snrs, seeds))) == [
            together[i] for i in part
        ]  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(sent)).send(payloads, snrs, seeds) == together


def test_attempts_meet_fresh_fading(seed: int) -> None:
    """Outage at two attempts is the square of that at one if they fade apart; it would stay if they did not."""
    payloads, count = [bytes([i % 256, i // 256]) * 10 for i in range(800)], 800
    once, twice = (
        np.mean([not r.ok for r in link(h, coherence=None).send(payloads, 4.0, seed)])
        for h in (None, Harq("chase", 2))
    )
    assert once**2 > twice  # what the buffer holds helps the second attempt
    assert once > 0.1 and apart(float(once), float(twice), count) > 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheme": "chaise"}, "unknown harq scheme 'chaise'. Did you mean 'chase'"),
        ({"scheme": []}, r"unknown harq scheme \[\]"),
        ({"attempts": 0}, "harq: attempts must be a whole number >= 1 and <= 16, not 0"),
        ({"attempts": 2.0}, "harq: attempts must be"),
        ({"deadline": 0}, "harq: deadline must be a whole number >= 1, not 0"),
        ({"deadline": 1.5}, "harq: deadline must be"),
    ],
)
def test_bad_harq(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Harq(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"harq": "chase"}, "harq must be channels.Harq"),
        ({"harq": Harq(), "coding": "polar"}, "harq is for coding 'ldpc'"),
        ({"harq": Harq(), "coding": "ideal"}, "harq is for coding 'ldpc'"),
        ({"harq": Harq(), "fidelity": "system"}, "harq is for coding 'ldpc' and fidelity 'link'"),
    ],
)
def test_bad_links(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        channels.DigitalLink(AWGN, **arguments)


def test_long_payloads_are_combined_block_by_block(seed: int) -> None:
    payload = np.random.default_rng(seed).bytes(9000)
    for scheme in ("chase", "incremental"):
        for modulation in ("qpsk", "qam64"):
            sent = link(Harq(scheme, 4), modulation, 0.9)
            assert sent.grant(9000).blocks > 1
            snr_db = {"qpsk": 3.0, "qam64": 14.0}[modulation]
            (received,) = sent.send([payload], snr_db, seed)
            assert received.ok and received.payload == payload and received.ledger.retransmissions > 0
    assert link(Harq()).max_bytes(10**9) == fec.MAX_PAYLOAD
