"""Each impairment against closed forms, brute force, or numerical integration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

import channels
from channels import theory
from channels.impairments import Impaired, impaired
from channels.impairments.adc import ADC, best_clip, gaussian_moments
from channels.impairments.interference import Interference
from channels.impairments.iq import IQImbalance
from channels.impairments.pa import PowerAmplifier
from channels.selftest import bit_errors
from tests.channels.impairments.symbols import Wire, gaussian, qam, seeds

SILENT = 150.0  # dB: no noise to speak of


def wire(*specs: str | dict[str, Any], waveform: str = "single-carrier", fft: int = 64) -> Impaired:
    return impaired(Wire(), specs, waveform, fft)


# Carrier frequency offset


@pytest.mark.parametrize("block", [1, 10, 64])
def test_frequency_offset_turns_the_phase_from_each_pilot_on(block: int) -> None:
    y, no = wire({"name": "cfo", "offset": 3e-3, "block": block})(torch.ones(1, 200) + 0j, SILENT, 1)
    k = np.arange(200) % block + 1
    assert np.allclose(y[0].numpy(), np.exp(2j * np.pi * 3e-3 * k), atol=1e-6)
    assert np.allclose(no[0].numpy(), 2 - 2 * np.cos(2 * np.pi * 3e-3 * k), rtol=1e-4, atol=1e-9)


def test_mean_error_of_a_frequency_offset() -> None:
    eps, block = 2e-3, 50
    _, no = wire({"name": "cfo", "offset": eps, "block": block})(torch.ones(1, 400) + 0j, SILENT, 1)
    # sum of cos(2 pi eps k), k = 1 .. block
    cosines = (
        math.sin(math.pi * eps * block) * math.cos(math.pi * eps * (block + 1)) / math.sin(math.pi * eps)
    )
    assert float(no.mean()) == pytest.approx(2 * (1 - cosines / block), rel=1e-4)


@pytest.mark.parametrize("eps", [0.01, 0.1, 0.3])
def test_frequency_offset_between_subcarriers(eps: float, seed: int) -> None:
    fft, x = 256, qam(200, 512, seed, 2)
    y, no = wire({"name": "cfo", "offset": eps / fft}, waveform="ofdm", fft=fft)(x, SILENT, 1)
    kept = 1 / (1 + no.double())  # |J_0|^2: what is lost of the signal is interference
    dirichlet = (math.sin(math.pi * eps) / fft / math.sin(math.pi * eps / fft)) ** 2
    assert np.allclose(1 - kept.numpy(), 1 - dirichlet, rtol=1e-4)
    assert np.allclose(1 - kept.numpy(), 1 - np.sinc(eps) ** 2, rtol=1e-3)
    error = (y - x).abs().square().double().mean(dim=1)
    assert abs(float(error.mean() - no.mean())) < 5 * float(error.std()) / 200**0.5


def test_one_subcarrier_leaks_as_the_dirichlet_kernel_says() -> None:
    eps, fft = 0.2, 32
    x = torch.zeros(1, fft, dtype=torch.complex64)
    x[0, 5] = 1
    y, _ = wire({"name": "cfo", "offset": eps / fft}, waveform="ofdm", fft=fft)(x, SILENT, 1, power="trust")
    shift = eps - (np.arange(fft) - 5)
    leakage = (np.sin(np.pi * shift) / np.sin(np.pi * shift / fft)) ** 2
    assert np.allclose(y[0].abs().square().numpy(), leakage / leakage[5], atol=1e-6)


# Phase noise


def test_phase_noise_is_a_wiener_process_between_pilots(seed: int) -> None:
    width, block, n = 2e-4, 20, 20_000
    channel = wire({"name": "phase-noise", "linewidth": width, "block": block})
    y, _ = channel(torch.ones(1, n) + 0j, SILENT, seed)
    phase = np.angle(y[0].numpy()).reshape(-1, block)
    steps = np.diff(phase, axis=1, prepend=0) / (2 * np.pi * width) ** 0.5
    assert stats.kstest(steps.ravel(), "norm").pvalue > 1e-6
    assert steps.var() == pytest.approx(1, abs=5 * (2 / n) ** 0.5)
    last = phase[:, -1].var() / (2 * np.pi * width * block)
    assert last == pytest.approx(1, abs=5 * (2 * block / n) ** 0.5)


def test_mean_error_of_phase_noise() -> None:
    width, block = 5e-4, 40
    _, no = wire({"name": "phase-noise", "linewidth": width, "block": block})(
        torch.ones(1, 80) + 0j, SILENT, 1
    )
    # 2 (1 - sum of q^k / block), k = 1 .. block
    q = math.exp(-math.pi * width)
    assert float(no.mean()) == pytest.approx(2 * (1 - q * (1 - q**block) / (1 - q) / block), rel=1e-4)


def test_phase_noise_between_subcarriers(seed: int) -> None:
    width, fft, rows = 3e-4, 64, 400
    channel = wire({"name": "phase-noise", "linewidth": width}, waveform="ofdm", fft=fft)
    _, no = channel(qam(rows, fft, seed, 2), SILENT, seeds(rows, seed))
    lost = (1 - 1 / (1 + no[:, 0])).double().numpy()
    lag = np.abs(np.subtract.outer(np.arange(fft), np.arange(fft)))
    expected = 1 - np.exp(-np.pi * width * lag).mean()  # 1 - E|J_0|^2
    assert lost.mean() == pytest.approx(expected, abs=5 * lost.std() / rows**0.5)


# IQ imbalance


@pytest.mark.parametrize(("gain_db", "phase_deg"), [(1.0, 5.0), (-3.0, -20.0), (0.0, 2.0), (0.5, 0.0)])
def test_iq_imbalance_is_a_wrong_quadrature_branch(gain_db: float, phase_deg: float, seed: int) -> None:
    x, g, phi = gaussian(1, 2000, seed), 10 ** (gain_db / 20), math.radians(phase_deg)
    y, no = wire({"name": "iq-imbalance", "gain_db": gain_db, "phase_deg": phase_deg})(x, SILENT, 1, "trust")
    re, im = x.real.double(), x.imag.double()
    wrong = torch.complex(re, g * (im * math.cos(phi) - re * math.sin(phi)))
    mu = (1 + g * np.exp(-1j * phi)) / 2
    assert torch.allclose(y.to(torch.complex128), wrong / mu, atol=1e-5)
    rejection = (1 + g**2 - 2 * g * math.cos(phi)) / (1 + g**2 + 2 * g * math.cos(phi))
    assert IQImbalance(gain_db, phase_deg).image_rejection == pytest.approx(rejection, rel=1e-6, abs=1e-12)
    assert torch.allclose(no, torch.tensor(rejection), rtol=1e-4, atol=1e-9)


def test_iq_imbalance_mirrors_subcarriers() -> None:
    x = torch.zeros(1, 32, dtype=torch.complex64)
    x[0, 5] = 1j
    spec = {"name": "iq-imbalance", "gain_db": 1.0, "phase_deg": 4.0}
    y, _ = wire(spec, waveform="ofdm", fft=32)(x, SILENT, 1, power="trust")
    image = torch.zeros(32)
    image[5], image[32 - 5] = 1, IQImbalance(1.0, 4.0).image_rejection
    assert torch.allclose(y[0].abs().square(), image, atol=1e-6)


# Power amplifiers


def test_soft_limiter_is_the_limit_of_smoothness() -> None:
    for backoff_db in (-10.0, 0.0, 3.0, 7.0):
        g = 10 ** (backoff_db / 20)
        alpha = 1 - math.exp(-(g**2)) + math.pi**0.5 / 2 * g * special.erfc(g)
        known = PowerAmplifier(backoff_db, 500.0)._bussgang
        assert known == pytest.approx(alpha / (1 - math.exp(-(g**2))) ** 0.5, abs=2e-4)
        assert known.imag == 0
    # Deep saturation leaves the phases alone: pi / 4 of the power is signal.
    assert abs(PowerAmplifier(-20.0, 500.0)._bussgang) ** 2 == pytest.approx(math.pi / 4, abs=5e-3)


@pytest.mark.parametrize(
    ("backoff_db", "p", "ampm_deg"), [(0.0, 2.0, 0.0), (6.0, 1.1, 16.5), (3.0, 3.0, -30.0)]
)
def test_distortion_of_gaussian_samples(backoff_db: float, p: float, ampm_deg: float, seed: int) -> None:
    s = 10 ** (backoff_db / 20)

    def f(r: float) -> complex:
        turn = math.radians(ampm_deg) * (r / s) ** 4 / (1 + (r / s) ** 4)
        return r / (1 + (r / s) ** (2 * p)) ** (1 / (2 * p)) * complex(math.cos(turn), math.sin(turn))

    def mean(of: Any) -> float:
        return float(integrate.quad(lambda r: of(r) * 2 * r * math.exp(-r * r), 0, 7, epsabs=1e-10)[0])

    alpha = complex(mean(lambda r: (f(r) * r).real), mean(lambda r: (f(r) * r).imag))
    power = mean(lambda r: abs(f(r)) ** 2)
    x = gaussian(100, 1000, seed)
    y, no = wire({"name": "pa", "backoff_db": backoff_db, "smoothness": p, "ampm_deg": ampm_deg})(
        x, SILENT, 1, "trust"
    )
    assert torch.allclose(no, torch.tensor(power / abs(alpha) ** 2 - 1), rtol=1e-4)
    evm = (y - x).abs().square().double().mean(dim=1)
    assert float(evm.mean()) == pytest.approx(
        float(no[0, 0]), abs=5 * float(evm.std()) / 10 + 0.002 * float(no[0, 0])
    )
    r = torch.tensor([0.0, 0.01, 0.5, 1.0, 3.0, 30.0], dtype=torch.float64)
    pa = PowerAmplifier(backoff_db, p, ampm_deg)
    assert np.allclose((pa.gain(r.square()) * r).numpy(), [f(float(v)) for v in r], rtol=1e-6)


@pytest.mark.parametrize("waveform", ["single-carrier", "ofdm"])
def test_amplifiers_keep_the_power_and_cut_the_peaks(waveform: str, seed: int) -> None:
    x, inner = gaussian(20, 1024, seed), Wire()
    impaired(inner, [{"name": "pa", "backoff_db": 0.0, "smoothness": 100.0}], waveform)(x, 0.0, 1, "trust")
    power = [s.abs().square().mean(dim=1) for s in (inner.sent, x)]
    assert torch.allclose(*power, rtol=1e-5)
    peak = inner.sent.abs().square().amax(dim=1) / power[0]
    if waveform == "single-carrier":
        assert bool((peak < 1.7).all())  # 1 / (1 - 1/e) = 1.58 for a soft limiter at the mean power
    else:
        time = torch.fft.ifft(inner.sent.reshape(20, -1, 64), norm="ortho").abs().square().flatten(1)
        assert bool((time.amax(dim=1) / power[0] < 1.7).all())


def test_no_transmitter_raises_the_power(seed: int) -> None:
    for name in ("cfo", "phase-noise", "iq-imbalance", {"name": "pa", "backoff_db": -3.0}):
        for bits in (2, 6):
            inner, x = Wire(), qam(20, 2048, seed, bits)
            for waveform in ("single-carrier", "ofdm"):
                impaired(inner, [name], waveform)(x, 0.0, seed)
                excess = (inner.sent.abs().square() - x.abs().square()).mean(dim=1)
                assert float(excess.mean()) < 5 * float(excess.std()) / 20**0.5 + 1e-6


# Analog-to-digital converters


@pytest.mark.parametrize(
    ("bits", "snr_db", "step"),
    [(1, 4.40, 1.596), (2, 9.25, 0.9957), (3, 14.27, 0.5860), (4, 19.38, 0.3352), (5, 24.57, 0.1881)],
)
def test_best_uniform_quantisers(bits: int, snr_db: float, step: float, seed: int) -> None:
    # Max, Quantizing for minimum distortion, IRE Trans. Inf. Theory 6(1), 1960, table 2
    assert 2 * best_clip(bits) / 2**bits == pytest.approx(step, abs=3e-4)
    gain, power = gaussian_moments(bits, best_clip(bits))
    assert -10 * math.log10(1 - 2 * gain + power) == pytest.approx(snr_db, abs=0.01)
    u = gaussian(1, 400_000, seed)[0]
    q = ADC(bits).quantise(u)
    error = (q - u).abs().square().double()
    asked = 1 - 2 * gain + power
    assert float(error.mean()) == pytest.approx(asked, abs=5 * float(error.std()) / len(u) ** 0.5)
    slope = (q * u.conj()).real.double()
    assert float(slope.mean()) == pytest.approx(gain, abs=5 * float(slope.std()) / len(u) ** 0.5)


def test_quantiser_is_uniform_and_mid_rise() -> None:
    ramp = torch.linspace(-5, 5, 20_001)
    q = ADC(3, clip_db=6.0).quantise(torch.complex(ramp, -ramp))
    levels = torch.unique(q.real)
    assert len(levels) == 8
    step = 2 * 10 ** (6 / 20) / 2**0.5 / 8
    assert torch.allclose(levels, (torch.arange(-4, 4) + 0.5) * step, atol=1e-6)
    inside = ramp.abs() < 4 * step
    assert bool(((q.real - ramp).abs()[inside] <= step / 2 + 1e-5).all())
    assert torch.allclose(q.real[~inside].abs(), torch.tensor(3.5 * step))


@pytest.mark.parametrize("snr_db", [0.0, 30.0])
def test_converter_sees_signal_and_noise_at_unit_power(snr_db: float, seed: int) -> None:
    channel, x = impaired(channels.create("rayleigh"), [{"name": "adc", "bits": 2}]), gaussian(3, 300, seed)
    y, no = channel(x, snr_db, seeds(3, seed), power="trust")
    inner, no_inner = channels.create("rayleigh")(x, snr_db, seeds(3, seed), power="trust")
    scaled = y / (1 + no_inner).sqrt()
    for row in scaled:  # four levels in each dimension, in the receiver's frame: up to one phase a row
        assert len(np.unique(np.round(row.abs().numpy(), 4))) <= 3
    gain, power = gaussian_moments(2, best_clip(2))
    assert torch.allclose(no, no_inner + (power / gain**2 - 1) * (1 + no_inner), rtol=1e-4)
    assert float((inner - x).abs().mean()) < float((y - x).abs().mean())


def test_one_bit_costs_two_decibel_at_low_snr() -> None:
    # Mezghani & Nossek 2007: 10 log10(pi / 2) = 1.96 dB
    _, no = impaired(channels.create("awgn"), [{"name": "adc", "bits": 1}])(torch.ones(1, 4) + 0j, -30.0, 1)
    assert 10 * math.log10(float(no[0, 0]) / 1e3) == pytest.approx(10 * math.log10(math.pi / 2), abs=0.01)


# Interference


@pytest.mark.parametrize("name", ["awgn", "rayleigh"])
@pytest.mark.parametrize(("snr_db", "sir_db"), [(7.0, 10.0), (30.0, 6.0)])
def test_bit_error_rate_is_that_of_the_sinr(name: str, snr_db: float, sir_db: float, seed: int) -> None:
    inner = channels.create(name, **({} if name == "awgn" else {"coherence": 1}))
    channel = impaired(inner, [{"name": "interference", "sir_db": sir_db}])
    sinr_db = -10 * math.log10(10 ** (-snr_db / 10) + 10 ** (-sir_db / 10))
    errors = bit_errors(channel, 2, snr_db, 200_000, seed) / 2
    expected = theory.qam_ber(2, sinr_db, None if name == "awgn" else theory.rayleigh_mgf())
    assert abs(errors.mean() - expected) < 5 * errors.std() / len(errors) ** 0.5
    _, no = channel(torch.ones(1, 1000) + 0j, snr_db, seed)
    h2 = 10 ** (-snr_db / 10) / inner(torch.ones(1, 1000) + 0j, snr_db, seed)[1]
    assert torch.allclose(h2 / no, torch.tensor(10 ** (sinr_db / 10)) * h2**2, rtol=1e-3)


def test_interferers(seed: int) -> None:
    rows = seeds(2000, seed)
    kinds = [(symbols, fading) for symbols in ("gaussian", "qpsk") for fading in (False, True)]
    wave = {
        kind: np.array([Interference(3.0, *kind).draw(50, r, "hw0").numpy() for r in rows]) for kind in kinds
    }
    power = {kind: np.mean(np.abs(w.astype(complex)) ** 2, axis=1) * 10**0.3 for kind, w in wave.items()}
    assert np.allclose(power["qpsk", False], 1, atol=1e-5)
    assert stats.kstest(power["qpsk", True], "expon").pvalue > 1e-6
    for law in power.values():
        assert law.mean() == pytest.approx(1, abs=5 * law.std() / len(rows) ** 0.5 + 1e-5)
    points = wave["qpsk", True]
    assert np.allclose((points / points[:, :1]) ** 4, 1, atol=1e-4)  # four phases, one gain a row
    uniform = stats.uniform(-np.pi, 2 * np.pi).cdf
    for fading in (False, True):
        assert stats.kstest(np.angle(wave["qpsk", fading][:, 0]), uniform).pvalue > 1e-6
