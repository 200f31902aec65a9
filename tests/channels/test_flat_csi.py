"""Estimated and missing channel knowledge against closed forms, within five standard deviations."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import channels
from channels import theory
from channels.errors import InputError
from channels.flat import PilotFading
from channels.selftest import bit_errors


def assert_bit_error_rate(channel: channels.Channel, snr_db: float, expected: float, seed: int) -> None:
    errors = bit_errors(channel, 2, snr_db, 400_000, seed) / 2
    z = (errors.mean() - expected) / (errors.std() / len(errors) ** 0.5)
    assert abs(z) < 5, f"measured {errors.mean():.3e}, theory {expected:.3e}, z = {z:.1f}"


@pytest.mark.parametrize(("snr_db", "pilots"), [(-5.0, 1), (3.0, 1), (3.0, 4), (15.0, 1), (15.0, 2)])
def test_rayleigh_estimates_cost_what_theory_says(snr_db: float, pilots: int, seed: int) -> None:
    channel = channels.create("rayleigh", coherence=1, csi="estimated", pilots=pilots)
    effective = float(theory.pilot_snr_db(snr_db, pilots))
    expected = theory.qam_ber(2, effective, theory.rayleigh_mgf())
    assert effective < snr_db
    assert_bit_error_rate(channel, snr_db, expected, seed)


@pytest.mark.parametrize(("snr_db", "k_db"), [(0.0, 3.0), (9.0, 3.0), (6.0, 10.0)])
def test_rician_estimates_cost_what_theory_says(snr_db: float, k_db: float, seed: int) -> None:
    """The estimate is Rician with its own K, and meets the noise E|e|^2 + no."""
    no, k = 10 ** (-snr_db / 10), 10 ** (k_db / 10)
    sight, scatter = k / (k + 1), 1 / (k + 1)
    error = scatter * no / (scatter + no)
    known = sight + scatter - error
    expected = theory.qam_ber(
        2,
        10 * np.log10(known / (error + no)),
        theory.rician_mgf(10 * np.log10(sight / (scatter - error))),
    )
    channel = channels.create("rician", k_db=k_db, coherence=1, csi="estimated")
    assert_bit_error_rate(channel, snr_db, expected, seed)


def test_nakagami_of_one_is_rayleigh(seed: int) -> None:
    channel = channels.create("nakagami", m=1, coherence=1, csi="estimated")
    expected = theory.qam_ber(2, float(theory.pilot_snr_db(8.0, 1)), theory.rayleigh_mgf())
    assert_bit_error_rate(channel, 8.0, expected, seed)


@pytest.mark.parametrize(("snr_db", "k_db"), [(2.0, 6.0), (12.0, 6.0), (5.0, 0.0)])
def test_without_csi_the_scatter_is_noise(snr_db: float, k_db: float, seed: int) -> None:
    k, no = 10 ** (k_db / 10), 10 ** (-snr_db / 10)
    channel = channels.create("rician", k_db=k_db, coherence=1, csi="none")
    _, variance = channel(torch.ones(1, 3, dtype=torch.complex64), snr_db, seed)
    said = (1 / (k + 1) + no) * (k + 1) / k
    assert variance.numpy() == pytest.approx(said, rel=1e-5)
    expected = float(stats.norm.sf(said**-0.5))
    assert_bit_error_rate(channel, snr_db, expected, seed)


CHANNELS: list[tuple[str, dict[str, Any]]] = [
    ("rayleigh", {"csi": "estimated"}),
    ("nakagami", {"csi": "estimated", "m": 0.8, "pilots": 3}),
    ("rician", {"csi": "estimated", "k_db": 2.0}),
    ("rician", {"csi": "none", "k_db": 2.0}),
]


@pytest.mark.parametrize(("name", "options"), CHANNELS)
@pytest.mark.parametrize("snr_db", [-100.0, -10.0, 0.0, 20.0])
def test_noise_is_what_is_said(name: str, options: dict[str, Any], snr_db: float, seed: int) -> None:
    """E |y - x|^2 / no = 1, for QPSK and for Gaussian symbols, and the noise does not follow the symbols."""
    rng, rows = np.random.default_rng(seed), 4000
    qpsk = rng.choice([-1, 1], (rows, 30, 2)) * 0.5**0.5
    channel = channels.create(name, coherence=10, **options)
    for values in (qpsk, rng.standard_normal((rows, 30, 2)) * 0.5**0.5):
        x = torch.from_numpy(values.astype(np.float32).view(np.complex64)[..., 0])
        y, no = channel(x, snr_db, seed, power="trust")
        scaled = (y - x).to(torch.complex128) / no.double().sqrt()
        power = scaled.abs().square().mean(dim=1).numpy()
        assert power.mean() == pytest.approx(1, abs=5 * power.std() / rows**0.5)
        product = (scaled * x.conj()).mean(dim=1).numpy()
        assert abs(product.mean()) < 5 * product.std() / rows**0.5


@pytest.mark.parametrize(("name", "options"), CHANNELS)
def test_capacity_is_that_of_perfect_csi(name: str, options: dict[str, Any], seed: int) -> None:
    perfect = {k: v for k, v in options.items() if k not in ("csi", "pilots")}
    seeds = [seed + i for i in range(50)]
    some, best = (channels.create(name, coherence=7, **o) for o in (options, perfect))
    assert torch.equal(some.information(100, 4.0, seeds), best.information(100, 4.0, seeds))
    assert torch.equal(some.gain(100, seeds), best.gain(100, seeds))
    said = torch.log2(1 + 1 / some(torch.ones(50, 100, dtype=torch.complex64), 4.0, seeds)[1])
    assert float(said.mean()) < float(some.information(100, 4.0, seeds).mean())


def test_many_pilots_are_as_good_as_perfect_csi(seed: int) -> None:
    x = torch.ones(4, 100, dtype=torch.complex64)
    for name in ("rayleigh", "nakagami", "rician"):
        perfect = channels.create(name, coherence=5)(x, 40.0, seed)
        estimated = channels.create(name, coherence=5, csi="estimated", pilots=10**6)(x, 40.0, seed)
        # P(|e / g| > 0.1) = 1e-10 / 0.1^2 over Rayleigh fading
        assert torch.allclose(estimated[0], perfect[0], rtol=0.1, atol=0.1)
        assert torch.allclose(estimated[1], perfect[1], rtol=0.2)


def test_pilots_are_charged() -> None:
    channel = channels.create("rayleigh", coherence=10, csi="estimated", pilots=2)
    assert [channel.uses(n) for n in (0, 1, 10, 11, 25)] == [0, 3, 12, 15, 31]
    whole = channels.create("nakagami", csi="estimated")
    assert [whole.uses(n) for n in (0, 1, 1000)] == [0, 2, 1001]
    assert channels.create("rician", coherence=10).uses(25) == 25
    for n in range(40):
        assert channel.uses(n) <= channel.uses(n + 1)
        assert channel.uses(channel.symbols(n)) <= n
    link = channels.DigitalLink(channel)
    symbols = link.grant(7).symbols
    assert link.send([b"payload"], 10.0, 1)[0].ledger.pilots == 2 * -(-symbols // 10)


@pytest.mark.parametrize(("name", "options"), CHANNELS)
def test_rows_stand_alone(name: str, options: dict[str, Any], seed: int) -> None:
    channel, rng = channels.create(name, coherence=7, **options), np.random.default_rng(seed)
    x = torch.from_numpy(np.exp(2j * np.pi * rng.random((9, 201))).astype(np.complex64))
    seeds, snr_db = [int(s) for s in rng.integers(2**63, size=9)], rng.uniform(-5, 20, 9)
    y, no = channel(x, snr_db, seeds)
    copy = pickle.loads(pickle.dumps(channel))
    for rows, n in ((slice(2, 5), 201), (slice(8, 9), 37), (slice(0, 9), 8)):
        part, part_no = copy(x[rows, :n], snr_db[rows], seeds[rows])
        assert torch.equal(part, y[rows, :n]) and torch.equal(part_no, no[rows, :n])


@pytest.mark.parametrize(("name", "options"), CHANNELS)
def test_gradients_are_the_ratio_of_the_gains(name: str, options: dict[str, Any], seed: int) -> None:
    """y = (h x + w) / g is linear in x: a step in x moves y by h / g times it."""
    channel = channels.create(name, **options)
    x = torch.ones(3, 20, dtype=torch.complex64)
    tangent = torch.full_like(x, 0.6 - 0.8j)

    def send(symbols: torch.Tensor) -> torch.Tensor:
        return channel(symbols, 3.0, seed, power="trust")[0]

    _, slope = torch.autograd.functional.jvp(send, x, tangent)
    assert torch.allclose(slope, send(x + tangent) - send(x), rtol=1e-3, atol=1e-3)


def test_an_estimate_serves_a_whole_block(seed: int) -> None:
    channel = channels.create("rayleigh", coherence=5, csi="estimated")
    _, no = channel(torch.ones(1, 20, dtype=torch.complex64), 3.0, seed)
    blocks = no.reshape(4, 5)
    assert torch.equal(blocks, blocks[:, :1].expand(4, 5)) and len(blocks[:, 0].unique()) == 4


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rayleigh", {"csi": "none"}, "rayleigh: csi must be 'perfect' or 'estimated', not 'none'"),
        ("nakagami", {"csi": "none"}, "nakagami: csi must be"),
        ("rayleigh", {"csi": "estimate"}, "Did you mean 'estimated'"),
        ("rayleigh", {"csi": None}, "unknown csi of channel 'rayleigh': None"),
        ("rayleigh", {"pilots": 2}, "rayleigh: pilots must be left out unless csi is 'estimated', not 2"),
        ("rician", {"csi": "none", "pilots": 1}, "pilots must be left out"),
        ("rayleigh", {"csi": "estimated", "pilots": 0}, "pilots must be a whole number >= 1"),
        ("rayleigh", {"csi": "estimated", "pilots": 1.5}, "pilots must be a whole number >= 1"),
        ("nakagami", {"csi": "estimated", "pilots": True}, "pilots must be a whole number >= 1"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        channels.create(name, **options)


def test_options_are_seen(seed: int) -> None:
    channel = channels.create("rician", csi="estimated")
    assert isinstance(channel, PilotFading)
    assert repr(channel) == "Rician(k_db=6.0, coherence=None, csi='estimated', pilots=1)"
