"""All codes: exact without noise, honest about their lengths, and as good as theory and Sionna say."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import channels
from channels import fec, theory
from channels.errors import InputError
from channels.fec.bits import crc_bytes
from channels.fec.convolutional import Convolutional
from channels.fec.polar import Polar
from channels.modem import MODULATIONS, modem

AWGN = channels.create("awgn")
RATES: dict[str, list[Any]] = {
    "ldpc": [0.07, 0.2, 0.5, 0.926],
    "polar": [0.05, 1 / 8, 0.2, 0.5, 0.75, 0.9],
    "convolutional": [0.05, 0.2, 1 / 3, 0.45, 0.5, 0.6, 2 / 3, 3 / 4, 5 / 6, 7 / 8],
    "uncoded": [None],
}
ALL = [(code, rate) for code, rates in RATES.items() for rate in rates]


def over_awgn(code: np.ndarray, m: int, snr_db: float, seed: int) -> torch.Tensor:
    y, no = AWGN(modem(m).map(code), snr_db, seed, power="trust")
    return modem(m).demap(y, no)


def random_bits(blocks: int, k: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (blocks, k), np.uint8)


def test_every_code_is_tested_here() -> None:
    assert set(RATES) == set(fec.CODES)


@given(
    size=st.integers(1, 3000) | st.integers(1, fec.MAX_PAYLOAD),
    m=st.sampled_from([2, 4, 6, 8]),
    code=st.sampled_from(sorted(RATES)),
    asked=st.floats(0.01, 1),
)
def test_grants_respect_the_code(size: int, m: int, code: str, asked: float) -> None:
    rate = min(fec.code_rate(asked, "uncoded"), fec.CODES[code].make.highest_rate)  # type: ignore[attr-defined]
    grant = fec.grant(size, m, rate, code)
    sent = 8 * (size + crc_bytes(size))
    assert grant.n % m == 0 and grant.code == code
    assert 0 <= grant.blocks * grant.k - sent < m * grant.blocks
    assert Fraction(grant.k, grant.n * grant.copies) <= rate
    if code == "polar":
        assert 20 <= grant.k <= 1013 and grant.k + 11 <= grant.n <= 1024
    elif code == "convolutional":
        assert grant.k <= 1024 and Fraction(grant.k + 6, grant.n) <= Fraction(7, 8)
    elif code == "uncoded":
        assert grant.blocks == 1 and grant.k == grant.n
    if size > 200 and code != "uncoded" and grant.blocks < 50:  # what is asked is about what one gets
        assert sent / grant.code_bits > 0.93 * rate


@pytest.mark.parametrize(("code", "rate"), ALL)
def test_every_code_is_exact_without_noise(code: str, rate: float | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for modulation in rng.permutation(list(MODULATIONS))[:2]:
        link = channels.DigitalLink(AWGN, str(modulation), rate, code)
        lengths = [1, 2, 3, 4, *(int(n) for n in rng.integers(5, 120, 2)), int(rng.integers(130, 700))]
        payloads = [rng.bytes(n) for n in lengths] + [bytes(20), b"\xff" * 20]
        for payload, received in zip(payloads, link.send(payloads, 60.0, seed), strict=True):
            assert received.ok and received.payload == payload, (modulation, len(payload))


@pytest.mark.parametrize(("code", "size"), [("polar", 4_000), ("convolutional", 40_000), ("uncoded", 2**20)])
def test_long_payloads_are_exact_without_noise(code: str, size: int, seed: int) -> None:
    payload = np.random.default_rng(seed).bytes(size)
    (received,) = channels.DigitalLink(AWGN, "qam16", coding=code).send([payload], 60.0, seed)
    assert received.ok and received.payload == payload


LINKS = [
    channels.DigitalLink(AWGN, modulation, rate, code)
    for modulation in ("qpsk", "qam64", "qam256")
    for code, rate in ALL
]


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(LINKS), st.integers(0, 40_000), st.sampled_from(["payload", "robust-1/10"]))
def test_max_bytes_is_the_largest_that_fits(link: channels.DigitalLink, uses: int, protection: str) -> None:
    best = link.max_bytes(uses, protection)
    assert best == 0 or link.uses(best, protection) <= uses
    for larger in range(best + 1, best + 150):
        assert link.uses(larger, protection) > uses


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(LINKS), st.integers(1, fec.MAX_PAYLOAD))
def test_max_bytes_inverts_uses_for_any_size(link: channels.DigitalLink, size: int) -> None:
    assert size <= link.max_bytes(link.uses(size))
    assert link.uses(link.max_bytes(link.uses(size))) <= link.uses(size)


@pytest.mark.parametrize(
    ("code", "k", "n", "snr_db"),
    [
        ("polar", 96, 200, 1.0),
        ("polar", 300, 600, 1.2),
        ("convolutional", 140, 292, 1.3),
        ("uncoded", 20, 20, 10.0),
    ],
)
def test_results_do_not_depend_on_the_batch(code: str, k: int, n: int, snr_db: float, seed: int) -> None:
    decoder, rng = fec.CODES[code].make(k, n, 2), np.random.default_rng(seed)
    llr = over_awgn(decoder.encode(random_bits(70, k, seed)), 2, snr_db, seed)
    bits, valid = decoder.decode(llr)
    for rows in (rng.permutation(70), rng.permutation(70)[:17], rng.permutation(70)[:1]):
        some, some_valid = decoder.decode(llr[rows])
        assert np.array_equal(some, bits[rows]) and np.array_equal(some_valid, valid[rows])


@pytest.mark.parametrize("code", sorted(RATES))
@pytest.mark.parametrize("fill", [0.0, float("nan"), float("inf"), -float("inf"), 1e38])
def test_decoders_survive_any_input(code: str, fill: float) -> None:
    grant = fec.grant(3, 2, fec.code_rate(None, code), code)
    bits, _ = fec.code(grant).decode(torch.full((3, grant.n), fill))
    assert bits.shape == (3, grant.k) and set(np.unique(bits)) <= {0, 1}


@pytest.mark.parametrize(("k", "n"), [(24, 48), (120, 600), (400, 512), (900, 1000)])
def test_polar_code_is_sionnas(k: int, n: int, seed: int) -> None:
    from sionna.phy.fec.polar import Polar5GDecoder, Polar5GEncoder

    encoder = Polar5GEncoder(k, n)
    decoder = Polar5GDecoder(encoder, "SCL", 8)
    ours, bits = Polar(k, n, 2), random_bits(48, k, seed)
    code = encoder(torch.from_numpy(bits).float())
    assert np.array_equal(ours.encode(bits), code.numpy())
    llr = over_awgn(code.byte().numpy(), 2, 10 * np.log10(2 ** (2 * k / n) - 1) + 1.5, seed)
    decided, valid = ours.decode(llr)
    wrong = (decided != bits).any(axis=1)
    assert np.array_equal(decided, decoder(llr).numpy())  # whole lanes here: equal to the last bit
    assert 0 < wrong.sum() < 48 or k / n > 0.8
    assert not (valid & wrong).sum() > 2  # a CRC of 11 bits, one of eight paths


def test_polar_code_lies_between_the_bound_and_twice_its_energy(seed: int) -> None:
    """(100, 200) over 100 QPSK symbols: above the normal approximation, below that of 2 dB less."""
    k, n, count, snr_db = 100, 200, 1500, 1.5
    code, bits = Polar(k, n, 2), random_bits(count, k, seed)
    decided, _ = code.decode(over_awgn(code.encode(bits), 2, snr_db, seed))
    measured = (decided != bits).any(axis=1).mean()
    bound, loose = (
        theory.normal_approximation(
            k, 100 * float(theory.awgn_capacity(s)), 100 * float(theory.awgn_dispersion(s)), 100
        )
        for s in (snr_db, snr_db - 2)
    )
    spread = 5 * (measured * (1 - measured) / count) ** 0.5
    assert bound - spread < measured < loose + spread, (bound, measured, loose)


def shift_register(bits: np.ndarray, octal: str) -> np.ndarray:
    """One output of a feed-forward convolutional encoder that starts and ends in state zero."""
    taps = [int(b) for b in f"{int(octal, 8):b}"]
    return np.array([np.convolve(row, taps) % 2 for row in bits], np.uint8)


@pytest.mark.parametrize(
    ("rate", "octal", "pattern"),
    [
        (Fraction(1, 2), ("133", "171"), ("1", "1")),
        (Fraction(1, 3), ("171", "145", "133"), ("1", "1", "1")),
        (Fraction(3, 4), ("133", "171"), ("110", "101")),
        (Fraction(7, 8), ("133", "171"), ("1111010", "1000101")),
    ],
)
def test_convolutional_code_by_hand(rate: Fraction, octal: Any, pattern: Any, seed: int) -> None:
    k = 162  # 168 steps: whole periods of all patterns
    blocks, cut_k, n = Convolutional.cut(k, 2, rate)
    assert (blocks, cut_k, n) == (1, k, 168 / rate)
    bits = random_bits(3, k, seed)
    streams = np.stack([shift_register(bits, o) for o in octal], axis=2).reshape(3, -1)
    kept = [p[t % len(p)] == "1" for t in range(k + 6) for p in pattern]
    punctured = streams[:, kept]
    rows = int(n**0.5)
    columns = -(-n // rows)
    filled = np.full((3, rows * columns), 2, np.uint8)
    filled[:, :n] = punctured
    read = filled.reshape(3, rows, columns).transpose(0, 2, 1).reshape(3, -1)
    assert np.array_equal(Convolutional(k, n, 2).encode(bits), np.array([row[row < 2] for row in read]))


@lru_cache
def information_weights(octal: tuple[str, ...], pattern: tuple[str, ...], most: int) -> dict[int, float]:
    """c_d: wrong information bits, summed over all error events of weight d that start in one period of the pattern.

    By brute force over the trellis: all paths that leave state zero and come back once.
    """
    taps, period = [int(o, 8) for o in octal], len(pattern[0])
    total: dict[int, float] = {}
    for start in range(period):
        paths = {
            (1 << 5, _weight(1 << 6, taps, pattern, start)): np.array([1.0, 1.0])
        }  # events, their wrong bits
        step = start
        while paths:
            step, following = step + 1, {}
            for (state, weight), (events, wrong) in paths.items():
                for bit in (0, 1):
                    register = bit << 6 | state
                    added = weight + _weight(register, taps, pattern, step)
                    if added > most:
                        continue
                    counts = np.array([events, wrong + bit * events])
                    if register >> 1 == 0:
                        total[added] = total.get(added, 0) + counts[1]
                    else:
                        key = register >> 1, added
                        following[key] = following.get(key, 0) + counts
            paths = following
    return {d: c / period for d, c in sorted(total.items())}


def _weight(register: int, taps: list[int], pattern: tuple[str, ...], step: int) -> int:
    return sum(
        (register & t).bit_count() & 1 for t, p in zip(taps, pattern, strict=True) if p[step % len(p)] == "1"
    )


def test_distance_spectrum_is_the_published_one() -> None:
    """Proakis & Salehi 2008, table 8.3-1 (free distances); Frenger, Orten & Ottosson 1999 (coefficients)."""
    weights = information_weights(("133", "171"), ("1", "1"), 16)
    assert weights == {10: 36, 12: 211, 14: 1404, 16: 11633}
    assert min(information_weights(("171", "145", "133"), ("1", "1", "1"), 15)) == 14
    for pattern, free in ((("11", "10"), 6), (("110", "101"), 5), (("11010", "10101"), 4)):
        assert min(information_weights(("133", "171"), pattern, free + 1)) == free


@pytest.mark.parametrize(
    ("rate", "pattern", "snr_db", "most", "looseness"),
    [(Fraction(1, 2), ("1", "1"), 3.2, 24, 2.0), (Fraction(3, 4), ("110", "101"), 6.2, 12, 1.25)],
)
def test_viterbi_meets_the_union_bound(
    rate: Fraction, pattern: Any, snr_db: float, most: int, looseness: float, seed: int
) -> None:
    """Pb <= sum_d c_d Q(sqrt(d Es/N0)) for QPSK, and close to it at high SNR.   [Proakis & Salehi 2008, 8.2-1]

    Measured with many more blocks: 54 % of the bound at rate 1/2 and 3.2 dB, 83 % at 3.6 dB; 95 % at rate 3/4.
    """
    k, count = 1002, 1500
    code, bits = Convolutional(k, int((k + 6) / rate), 2), random_bits(count, k, seed)
    decided, _ = code.decode(over_awgn(code.encode(bits), 2, snr_db, seed))
    errors = (decided != bits).mean(axis=1)
    weights = information_weights(("133", "171"), pattern, most)
    bound = sum(c * float(special.ndtr(-((d * 10 ** (snr_db / 10)) ** 0.5))) for d, c in weights.items())
    spread = 5 * errors.std() / count**0.5
    assert 1e-5 < bound < 1e-3
    assert bound / looseness - spread < errors.mean() < bound + spread, (bound, errors.mean(), spread)


@pytest.mark.parametrize("n", [292, 438])
def test_viterbi_decides_like_sionnas(n: int, seed: int) -> None:
    from sionna.phy.fec.conv import ConvEncoder, ViterbiDecoder

    k, outputs = 140, n // 146
    ours, bits = Convolutional(k, n, 2), random_bits(200, k, seed)
    encoder = ConvEncoder(rate=1 / outputs, constraint_length=7, terminate=True)
    code = encoder(torch.from_numpy(bits).float()).byte().numpy()
    # 200 random words tell all code bits apart (but for two that are always alike), and so the interleaver's order.
    place, order = ours.encode(bits), []
    for column in place.T:
        alike = np.flatnonzero((code == column[:, None]).all(axis=0))
        order.append(next(int(i) for i in alike if i not in order))
    llr = over_awgn(place, 2, {2: 1.0, 3: -1.0}[outputs], seed)
    sorted_llr = torch.empty_like(llr)
    sorted_llr[:, order] = llr
    decided, _ = ours.decode(llr)
    expected = ViterbiDecoder(encoder=encoder)(sorted_llr).numpy()
    wrong, expected_wrong = (decided != bits).any(axis=1), (expected != bits).any(axis=1)
    assert 0 < wrong.sum() < 200
    assert (wrong != expected_wrong).sum() <= 3  # ours rounds LLRs to 2^-12
    assert (decided != expected).any(axis=1).sum() <= 4


@pytest.mark.parametrize("modulation", ["qpsk", "qam64"])
def test_uncoded_packets_fail_as_theory_says(modulation: str, seed: int) -> None:
    """A packet of b bits arrives if all are right: (1 - BER)^b for QPSK, whose bits err apart."""
    link, size, count = channels.DigitalLink(AWGN, modulation, coding="uncoded"), 40, 3000
    m = MODULATIONS[modulation]
    snr_db = {"qpsk": 8.5, "qam64": 20.0}[modulation]
    rng = np.random.default_rng(seed)
    received = link.send([rng.bytes(size) for _ in range(count)], snr_db, seed)
    wrong = np.mean([not r.ok for r in received])
    assert link.uses(size) == -(-8 * (size + 2) // m)
    expected = 1 - (1 - theory.qam_ber(m, snr_db)) ** (8 * (size + 2))
    spread = 5 * (expected * (1 - expected) / count) ** 0.5
    tied = 1.0 if m == 2 else 0.97  # the bits of a QAM symbol err together now and then
    assert tied * expected - spread < wrong < expected + spread, (expected, wrong)


def test_repetition_makes_robust_packets_of_any_code(seed: int) -> None:
    payloads = [np.random.default_rng(seed + i).bytes(10) for i in range(30)]
    for code in RATES:
        link = channels.DigitalLink(AWGN, "qam16", coding=code)
        assert all(r.ok for r in link.send(payloads, 0.5, seed, ["robust-1/20"] * 30)), code
        assert not all(r.ok for r in link.send(payloads, 0.5, seed)), code
        assert link.uses(10, "robust-1/20") == pytest.approx(20 * 8 * 12 / 2, rel=0.3)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    for code in RATES:
        channels.DigitalLink(AWGN, "qam64", coding=code).send([b"q", b"quiet" * 40], 5.0, 1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("code", "rate", "message"),
    [
        ("polar", 0.95, "code_rate must be a number from 1/100 to 0.9 .polar; repeated below 1/8., not 0.95"),
        ("convolutional", 0.9, "code_rate must be a number from 1/100 to 0.875"),
        ("convolutional", 0.001, "code_rate must be"),
        ("uncoded", 0.5, "code_rate must be 1, or left out, for coding 'uncoded', not 0.5"),
        ("uncoded", 1.5, "code_rate must be"),
        ("ldpc", 1, "code_rate must be"),
        ("finite", 0.95, "code_rate must be"),
        ("polaar", 0.5, "unknown coding 'polaar'. Did you mean 'polar'"),
    ],
)
def test_bad_codes(code: str, rate: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        channels.DigitalLink(AWGN, "qpsk", rate, code)


def test_default_rates() -> None:
    for code in RATES:
        assert channels.DigitalLink(AWGN, coding=code).code_rate == (1 if code == "uncoded" else 0.5)
