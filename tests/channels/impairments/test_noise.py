"""The noise that a receiver counts is the noise that it meets, whatever hardware stands between."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import channels
from channels.impairments import IMPAIRMENTS, impaired
from tests.channels.impairments.symbols import gaussian, qam, seeds

ANY = [  # exact for all symbols of mean power 1
    {"name": "cfo", "offset": 2e-3},
    {"name": "cfo", "offset": -1e-3, "block": 17},
    {"name": "phase-noise", "linewidth": 3e-4, "block": 32},
    {"name": "iq-imbalance", "gain_db": 1.5, "phase_deg": 5.0},
    {"name": "iq-imbalance", "gain_db": -1.0, "phase_deg": -3.0, "side": "receiver"},
    {"name": "interference", "sir_db": 8.0},
    {"name": "interference", "sir_db": 15.0, "symbols": "qpsk"},
]
GAUSSIAN = [  # exact for Gaussian symbols
    {"name": "pa", "backoff_db": 0.0},
    {"name": "pa", "backoff_db": 6.0, "smoothness": 3.0, "ampm_deg": 15.0},
    {"name": "pa", "backoff_db": 3.0, "smoothness": 50.0},
    {"name": "adc", "bits": 1},
    {"name": "adc", "bits": 4},
    {"name": "adc", "bits": 3, "clip_db": 2.0},
]


def ratio(channel: channels.Channel, x: torch.Tensor, snr_db: float, seed: int) -> tuple[float, float]:
    """Mean of |y - x|^2 / no over independent rows, and its standard error."""
    y, no = channel(x, snr_db, seeds(len(x), seed), power="trust")
    rows = ((y - x).abs().square() / no).double().mean(dim=1)
    return float(rows.mean()), float(rows.std()) / len(x) ** 0.5


def test_every_impairment_is_here() -> None:
    assert {spec["name"] for spec in ANY + GAUSSIAN} == set(IMPAIRMENTS)


@pytest.mark.parametrize("waveform", ["single-carrier", "ofdm"])
@pytest.mark.parametrize("spec", ANY + GAUSSIAN, ids=str)
def test_counted_noise_is_the_noise(spec: dict[str, Any], waveform: str, seed: int) -> None:
    for inner in ("awgn", "rayleigh"):
        channel = impaired(channels.create(inner), [spec], waveform)
        for snr_db in (0.0, 22.0):
            for x in (gaussian(100, 704, seed), *([qam(100, 704, seed, 4)] if spec in ANY else [])):
                mean, error = ratio(channel, x, snr_db, seed)
                # A row's power is kept, not its expectation, which matters as 1 / n.
                assert abs(mean - 1) < 5 * error + (1 / 704 if spec["name"] == "pa" else 0), (inner, snr_db)


def test_fading_interference_is_counted_with_its_mean(seed: int) -> None:
    spec = {"name": "interference", "sir_db": 8.0, "symbols": "qpsk", "fading": True}
    for inner in ("awgn", "rayleigh"):
        # Each row is a draw of an exponential distribution: many rows, or the tails are not Gaussian.
        mean, error = ratio(impaired(channels.create(inner), [spec]), qam(6000, 4, seed, 2), 20.0, seed)
        assert abs(mean - 1) < 5 * error, (inner, mean, error)


@pytest.mark.parametrize("waveform", ["single-carrier", "ofdm"])
def test_linear_impairments_add_up_exactly(waveform: str, seed: int) -> None:
    specs = [
        {"name": "cfo", "offset": 2e-3},
        {"name": "phase-noise", "linewidth": 5e-4},
        {"name": "iq-imbalance", "gain_db": 1.0},
        {"name": "interference", "sir_db": 12.0},
        {"name": "adc", "bits": 12},
    ]
    for inner in ("awgn", "rayleigh", "jakes"):
        channel = impaired(channels.create(inner), specs, waveform)
        for snr_db in (3.0, 25.0):
            mean, error = ratio(channel, qam(100, 704, seed, 2), snr_db, seed)
            assert abs(mean - 1) < 5 * error, (inner, snr_db, mean, error)


@pytest.mark.parametrize("name", ["pa", "adc"])
@pytest.mark.parametrize("bits", [2, 4, 6])
def test_qam_behind_nonlinearities(name: str, bits: int, seed: int) -> None:
    for waveform in ("single-carrier", "ofdm"):
        channel = impaired(channels.create("rayleigh"), [name], waveform)
        mean, error = ratio(channel, qam(100, 704, seed, bits), 25.0, seed)
        assert mean < 1 + 5 * error  # lower peaks, so never over-confident
        if waveform == "ofdm":
            assert mean > 1 - 5 * error - 2 / 64  # the mean of 64 symbols is nearly Gaussian


def test_cascades_of_nonlinearities_are_within_a_few_per_cent(seed: int) -> None:
    for specs in (
        [{"name": "pa", "backoff_db": 1.0}, {"name": "adc", "bits": 2}],
        [{"name": "pa", "backoff_db": 6.0}, {"name": "adc", "bits": 6}],
        [{"name": "iq-imbalance", "gain_db": 1.0}, {"name": "pa", "backoff_db": 1.0}],
    ):
        for waveform in ("single-carrier", "ofdm"):
            channel = impaired(channels.create("awgn"), specs, waveform)
            mean, error = ratio(channel, gaussian(100, 704, seed), 25.0, seed)
            assert abs(mean - 1) < 0.06 + 5 * error, (specs, mean)


@pytest.mark.parametrize(
    "spec", ["phase-noise", "pa", "iq-imbalance", {"name": "adc", "bits": 3}, "interference"]
)
def test_over_ofdm_channels(spec: str | dict[str, Any], seed: int) -> None:
    channel = impaired(channels.create("tdl"), [spec])
    assert channel.waveform == "ofdm"
    mean, error = ratio(channel, gaussian(60, 1024, seed), 15.0, seed)
    assert abs(mean - 1) < 5 * error + 0.01


@pytest.mark.parametrize("waveform", ["single-carrier", "ofdm"])
@pytest.mark.parametrize("spec", [*GAUSSIAN, ANY[3], ANY[4], ANY[5]], ids=str)
def test_gain_is_one(spec: dict[str, Any], waveform: str, seed: int) -> None:
    x = gaussian(100, 704, seed)
    y, _ = impaired(channels.create("awgn"), [spec], waveform)(x, 10.0, seeds(100, seed), power="trust")
    rows = ((y - x) * x.conj()).mean(dim=1).to(torch.complex128)
    error = float(rows.abs().square().mean()) ** 0.5 / 100**0.5
    assert abs(complex(rows.mean())) < 5 * error
