"""The closed forms against independent ways to the same number, and the simulation against their slopes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

import channels
from channels import theory
from channels.flat import FlatChannel


def powers(name: str, n: int, seed: int, **options: float) -> np.ndarray:
    channel = channels.create(name, coherence=1, **options)
    assert isinstance(channel, FlatChannel)
    h = channel.realise(n, [seed]).gains
    assert h is not None
    return np.abs(h[0].numpy().astype(np.complex128)) ** 2


LAWS = [
    ("rayleigh", {}, theory.rayleigh_cdf),
    ("nakagami", {"m": 0.5}, lambda t: theory.nakagami_cdf(t, 0.5)),
    ("nakagami", {"m": 2.0}, lambda t: theory.nakagami_cdf(t, 2.0)),
    ("rician", {"k_db": 5.0}, lambda t: theory.rician_cdf(t, 5.0)),
]


@pytest.mark.parametrize(("name", "options", "cdf"), LAWS)
def test_outage_is_that_of_the_law(name: str, options: dict[str, float], cdf: theory.MGF, seed: int) -> None:
    n = 400_000
    power = powers(name, n, seed, **options)
    assert stats.kstest(power, cdf).pvalue > 1e-6
    for t in (0.003, 0.03, 0.3, 2.0):
        p = float(cdf(np.float64(t)))
        assert (power < t).mean() == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5 + 5 / n)
    assert power.mean() == pytest.approx(1, abs=5 * power.std() / n**0.5)


@pytest.mark.parametrize(("name", "options", "cdf"), LAWS)
def test_laws_and_their_transforms_agree(name: str, options: dict[str, float], cdf: theory.MGF) -> None:
    """E exp(-s |h|^2) = s int exp(-s t) P(|h|^2 < t) dt."""
    mgf = {
        "rayleigh": theory.rayleigh_mgf(),
        "nakagami": theory.nakagami_mgf(options.get("m", 1.0)),
        "rician": theory.rician_mgf(5.0),
    }[name]
    for s in (0.3, 1.0, 8.0):
        value, _ = integrate.quad(lambda u, s=s: np.exp(-u) * float(cdf(np.float64(u / s))), 0, 60, limit=200)
        assert value == pytest.approx(float(mgf(np.float64(s))), rel=1e-5)


@pytest.mark.parametrize(("m", "low"), [(0.5, 1e-3), (1.0, 3e-3), (2.0, 0.02)])
def test_diversity_is_m(m: float, low: float, seed: int) -> None:
    """P(|h|^2 < t) falls as t^m: a factor 3 in t."""
    assert theory.nakagami_cdf(3e-6, m) / theory.nakagami_cdf(1e-6, m) == pytest.approx(3**m, rel=1e-4)
    n = 1_000_000
    power = powers("nakagami", n, seed, m=m)
    few, more = (power < low).sum(), (power < 3 * low).sum()
    slope = np.log(more / few) / np.log(3)
    expected = np.log(theory.nakagami_cdf(3 * low, m) / theory.nakagami_cdf(low, m)) / np.log(3)
    # log(more / few) = log(1 + others / few), others and few nearly independent
    error = ((more - few) / more) * (1 / few + 1 / (more - few)) ** 0.5 / np.log(3)
    assert slope == pytest.approx(expected, abs=5 * error)
    assert expected == pytest.approx(m, abs=0.05)


@pytest.mark.parametrize("antennas", [1, 2, 3, 4])
def test_maximum_ratio_combining(antennas: int, seed: int) -> None:
    """Rows as antennas: combined by |h|^2 / no, they have the error rate of theory and its slope."""
    snr_db, n = 2.0, 300_000
    x = torch.full((1, n), (1 + 1j) / 2**0.5, dtype=torch.complex64)
    channel = channels.create("rayleigh", coherence=1)
    y, no = channel(x.expand(antennas, n), snr_db, seed)
    combined = (y / no).sum(dim=0)
    errors = ((combined.real < 0).double() + (combined.imag < 0).double()) / 2
    expected = float(theory.rayleigh_mrc_ber(snr_db, antennas))
    assert float(errors.mean()) == pytest.approx(expected, abs=5 * float(errors.std()) / n**0.5)
    by_mgf = theory.qam_ber(2, snr_db, theory.mrc_mgf(theory.rayleigh_mgf(), antennas))
    assert by_mgf == pytest.approx(expected, rel=1e-9)
    slope = np.log10(theory.rayleigh_mrc_ber(50, antennas) / theory.rayleigh_mrc_ber(60, antennas))
    assert slope == pytest.approx(antennas, abs=1e-3)


@pytest.mark.parametrize("antennas", [2, 4])
def test_combined_qam_is_nakagami(antennas: int) -> None:
    """L Rayleigh antennas of power 1 are one Nakagami channel with m = L and power L."""
    for bits in (2, 4, 6):
        combined = theory.qam_ber(bits, 8.0, theory.mrc_mgf(theory.rayleigh_mgf(), antennas))
        alone = theory.qam_ber(bits, 8.0 + 10 * np.log10(antennas), theory.nakagami_mgf(antennas))
        assert combined == pytest.approx(alone, rel=1e-9)


def test_error_rates_without_cancellation() -> None:
    for snr_db in (-10.0, 20.0, 120.0):
        u = (theory.snr(snr_db) / 2 / (1 + theory.snr(snr_db) / 2)) ** 0.5
        exact = stats.binom.sf(3, 7, (1 - u) / 2)  # more than half of 2 L - 1 = 7 wrong: the same sum
        assert float(theory.rayleigh_mrc_ber(snr_db, 4)) == pytest.approx(
            exact, rel=1e-9 if snr_db < 100 else 1e-3
        )


def test_pilots_cost_less_the_more_there_are() -> None:
    """3 dB for one pilot at high SNR; nothing for many; the square of the SNR at low SNR."""
    assert 60 - theory.pilot_snr_db(60, 1) == pytest.approx(10 * np.log10(2), abs=1e-4)
    assert 10 - theory.pilot_snr_db(10, 10**9) == pytest.approx(0, abs=1e-6)
    assert theory.pilot_snr_db(-60, 1) == pytest.approx(-120, abs=1e-4)


def test_bsc_crossover() -> None:
    p = np.array([0.49, 0.1, 1e-5, 1e-100])
    assert special.ndtr(-(10 ** (theory.bsc_snr_db(p) / 20))) == pytest.approx(p, rel=1e-9)


def test_dispersion_is_the_variance_of_information_density(seed: int) -> None:
    """V is the variance of log p(y|x) / p(y) for symbols on the power shell, |x| = 1 [bit^2]."""
    rng, n = np.random.default_rng(seed), 400_000
    for snr_db in (-5.0, 3.0, 15.0):
        g = float(theory.snr(snr_db))
        w = (rng.standard_normal(n) + 1j * rng.standard_normal(n)) * 0.5**0.5
        y = g**0.5 + w
        density = np.log2(1 + g) + (np.abs(y) ** 2 / (1 + g) - np.abs(w) ** 2) * np.log2(np.e)
        assert density.mean() == pytest.approx(
            float(theory.awgn_capacity(snr_db)), abs=5 * density.std() / n**0.5
        )
        square = (density - density.mean()) ** 2
        assert square.mean() == pytest.approx(
            float(theory.awgn_dispersion(snr_db)), abs=5 * square.std() / n**0.5
        )
    assert theory.awgn_dispersion(-150.0) == pytest.approx(2e-15 * np.log2(np.e) ** 2, rel=1e-6)
    assert theory.awgn_dispersion(100.0) == pytest.approx(np.log2(np.e) ** 2, rel=1e-6)


def test_normal_approximation() -> None:
    """Half of the codes fail at capacity + 1/2 log2 n; a deviation more or less is Q(+-1); none is a step."""
    half = theory.normal_approximation(500 + 0.5 * np.log2(400), 500, 90, 400)
    assert half == pytest.approx(0.5)
    one = theory.normal_approximation(500 - 90**0.5, 500, 90, 1)
    assert one == pytest.approx(float(stats.norm.sf(1)))
    rates = [theory.normal_approximation(bits, 500, 90, 400) for bits in range(460, 540)]
    assert bool(np.all(np.diff(rates) > 0))
    assert theory.normal_approximation(499, 500, 0.0, 1) == 0
    assert theory.normal_approximation(501, 500, 0.0, 1) == 1
    # 500 bits in 500 symbols of complex AWGN need about 0.5 dB for 5 % block errors
    c, v = 500 * theory.awgn_capacity(0.5), 500 * theory.awgn_dispersion(0.5)
    assert theory.normal_approximation(500, float(c), float(v), 500) == pytest.approx(0.05, abs=0.01)
