"""Every channel against closed forms, within five standard deviations: one false alarm in 10^6."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special, stats

import channels
from channels import theory
from channels.base import Channel
from channels.flat import FlatChannel
from channels.selftest import bit_errors

OPTIONS: list[tuple[str, dict[str, float]]] = [
    ("awgn", {}),
    ("rayleigh", {"coherence": 1}),
    ("rician", {"coherence": 1, "k_db": 3.0}),
    ("nakagami", {"coherence": 1, "m": 1.5}),
    ("jakes", {"doppler_hz": 41_000.0}),
    ("trace", {"symbol_rate_khz": 0.01}),
]
FADING = {
    "awgn": None,
    "rayleigh": theory.rayleigh_mgf(),
    "rician": theory.rician_mgf(3.0),
    "nakagami": theory.nakagami_mgf(1.5),
    "jakes": theory.rayleigh_mgf(),
}


def test_options_cover_every_flat_channel() -> None:
    flat = {name for name in channels.available() if channels.CHANNELS[name].facts["family"] == "flat"}
    assert {name for name, _ in OPTIONS} == flat


@pytest.mark.parametrize(("name", "options"), OPTIONS)
@pytest.mark.parametrize("snr_db", [-7.0, 13.0])
def test_asked_snr_is_measured_snr(name: str, options: dict[str, float], snr_db: float, seed: int) -> None:
    """Both by what the channel says of its noise, and by the noise that it makes: E|h|^2 = 1 and E|w|^2 = no."""
    rows, asked = 2000, 10 ** (snr_db / 10)
    x = torch.ones(rows, 200, dtype=torch.complex64)
    y, no = channels.create(name, **options)(x, snr_db, seed)
    said = (1 / no).double().mean(dim=1).numpy()
    noise = ((y - x).abs().square() / no).double().mean(dim=1).numpy()
    assert said.mean() == pytest.approx(asked, rel=5 * said.std() / asked / rows**0.5 + 1e-6)
    assert noise.mean() == pytest.approx(1, abs=5 * noise.std() / rows**0.5)


def gains(channel: Channel, n: int, seed: int) -> np.ndarray:
    assert isinstance(channel, FlatChannel)
    h = channel.realise(n, [seed]).gains
    assert h is not None
    return h[0].numpy().astype(np.complex128)


def test_gain_distributions(seed: int) -> None:
    n, k = 100_000, 10**0.3
    power = {name: np.abs(gains(channels.create(name, **o), n, seed)) ** 2 for name, o in OPTIONS[1:4]}
    laws = {
        "rayleigh": stats.expon(),
        "rician": stats.ncx2(2, 2 * k, scale=1 / (2 * (k + 1))),
        "nakagami": stats.gamma(1.5, scale=1 / 1.5),
    }
    for name, law in laws.items():
        assert stats.kstest(power[name], law.cdf).pvalue > 1e-6, name
        assert power[name].mean() == pytest.approx(1, abs=5 * law.std() / n**0.5), name


def test_phases_are_uniform_without_line_of_sight(seed: int) -> None:
    for name in ("rayleigh", "nakagami"):
        phase = np.angle(gains(channels.create(name, coherence=1), 50_000, seed))
        assert stats.kstest(phase, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-6, name


def test_noise_is_circular_gaussian(seed: int) -> None:
    x = torch.ones(1, 100_000, dtype=torch.complex64)
    y, _ = channels.create("awgn")(x, 0.0, seed)
    w = (y - x).numpy()[0].astype(np.complex128) * 2**0.5
    assert stats.kstest(w.real, "norm").pvalue > 1e-6
    assert stats.kstest(w.imag, "norm").pvalue > 1e-6
    assert abs(np.mean(w.real * w.imag)) < 5 / len(w) ** 0.5


@pytest.mark.parametrize("coherence", [1, 7, 64, None])
def test_coherence(coherence: int | None, seed: int) -> None:
    h = gains(channels.create("rayleigh", coherence=coherence), 200, seed)
    length = coherence or 200
    blocks = [h[i : i + length] for i in range(0, 200, length)]
    assert all(np.all(block == block[0]) for block in blocks)
    assert len({complex(block[0]) for block in blocks}) == len(blocks)


@pytest.mark.parametrize(
    ("name", "bits", "snr_db"),
    [
        *(("awgn", bits, snr_db) for bits, snr_db in ((2, 4.0), (2, 8.0), (4, 11.0), (6, 16.0), (8, 21.0))),
        *(("rayleigh", bits, snr_db) for bits, snr_db in ((2, 0.0), (2, 12.0), (4, 12.0), (6, 18.0))),
        ("rician", 2, 7.0),
        ("nakagami", 2, 7.0),
        ("nakagami", 4, 12.0),
        ("jakes", 4, 10.0),
    ],
)
def test_uncoded_bit_error_rate(name: str, bits: int, snr_db: float, seed: int) -> None:
    channel = channels.create(name, **dict(OPTIONS)[name])
    errors = bit_errors(channel, bits, snr_db, 200_000, seed) / bits
    expected = theory.qam_ber(bits, snr_db, FADING[name])
    z = (errors.mean() - expected) / (errors.std() / len(errors) ** 0.5)
    assert abs(z) < 5, f"measured {errors.mean():.3e}, theory {expected:.3e}, z = {z:.1f}"


def test_theory_agrees_with_simpler_forms() -> None:
    for snr_db in (-3.0, 5.0, 14.0):
        g = float(theory.snr(snr_db))
        assert theory.qam_ber(2, snr_db) == pytest.approx(stats.norm.sf(g**0.5))
        # Proakis & Salehi, Digital Communications, eq. 13.3-7 with Eb/N0 = g / 2
        closed = 0.5 * (1 - (g / 2 / (1 + g / 2)) ** 0.5)
        assert theory.qam_ber(2, snr_db, theory.rayleigh_mgf()) == pytest.approx(closed)
        assert theory.qam_ber(4, snr_db, theory.nakagami_mgf(1)) == pytest.approx(
            theory.qam_ber(4, snr_db, theory.rayleigh_mgf())
        )
        assert theory.qam_ber(6, snr_db, theory.rician_mgf(60)) == pytest.approx(
            theory.qam_ber(6, snr_db), 1e-3
        )
        # 16-QAM: the two bits of an axis have different error rates; written out
        d = (g / 10) ** 0.5
        first = (special.erfc(d) + special.erfc(3 * d)) / 4
        second = (2 * special.erfc(d) + special.erfc(3 * d) - special.erfc(5 * d)) / 4
        assert theory.qam_ber(4, snr_db) == pytest.approx((first + second) / 2)


def test_ergodic_capacity_and_outage(seed: int) -> None:
    power = np.abs(gains(channels.create("rayleigh", coherence=1), 200_000, seed)) ** 2
    rates = np.log2(1 + 10 * power)
    assert rates.mean() == pytest.approx(
        float(theory.rayleigh_capacity(10)), abs=5 * rates.std() / len(rates) ** 0.5
    )
    out = float(theory.rayleigh_outage(10, 2.0))
    assert (rates < 2).mean() == pytest.approx(out, abs=5 * (out * (1 - out) / len(rates)) ** 0.5)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_snr_changes_the_noise_and_nothing_else(name: str, options: dict[str, float], seed: int) -> None:
    channel, x = channels.create(name, **options), torch.ones(2, 500, dtype=torch.complex64)
    y, no = channel(x, [0.0, 20.0], [seed, seed])
    assert torch.allclose(no[0] / no[1], torch.tensor(100.0))
    assert torch.allclose((y[0] - x[0]) / 10, y[1] - x[1], atol=1e-4, rtol=1e-3)
