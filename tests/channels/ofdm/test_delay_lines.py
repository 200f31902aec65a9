"""TDL and CDL: power, delay spread, Doppler, frequency and antenna correlation against what they were asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import special

import channels
from channels.draws import row_seeds
from channels.errors import InputError
from channels.ofdm import Wideband

MODELS = ("A", "B", "C", "D", "E")


def make(name: str, **options: Any) -> Wideband:
    channel = channels.create(name, **options)
    assert isinstance(channel, Wideband)
    return channel


def paths(channel: Wideband, drops: int, symbols: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """[drops, R, T, paths, symbols] coefficients and [paths] delays in ns, for one user."""
    drawn = [channel.cir(s, symbols) for s in row_seeds(seed, drops)]
    a = torch.stack([a[0, 0, :, 0] for a, _ in drawn]).numpy().astype(np.complex128)
    return a, drawn[0][1][0, 0, 0].numpy().astype(np.float64) * 1e9


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["tdl", "cdl"])
def test_power_and_delay_spread(name: str, model: str, seed: int) -> None:
    drops, asked = 300 if name == "tdl" else 150, 137.0
    a, delays = paths(make(name, model=model, delay_spread_ns=asked, rx_antennas=2), drops, 1, seed)
    power = (np.abs(a[..., 0]) ** 2).mean(axis=(1, 2))  # [drops, paths]
    total = power.sum(axis=1)
    assert total.mean() == pytest.approx(1, abs=5 * total.std() / drops**0.5)

    def spread(p: NDArray[Any]) -> float:
        p = p.mean(axis=0) / p.mean(axis=0).sum()
        return float(np.sqrt(p @ delays**2 - (p @ delays) ** 2))

    parts = [spread(np.delete(power, np.s_[i::10], axis=0)) for i in range(10)]  # jackknife
    deviation = float(np.std(parts)) * 3
    assert spread(power) == pytest.approx(asked, abs=5 * deviation + 0.01 * asked)  # the tables are rounded


def test_delay_profile_is_that_of_the_table(seed: int) -> None:
    """TR 38.901 V19.2, table 7.7.2-1 (TDL-A) and 7.7.2-4 (TDL-D, two lines of which are one tap)."""
    _, delays = paths(make("tdl", model="A", delay_spread_ns=100), 1, 1, seed)
    assert len(delays) == 23
    assert delays[:4] == pytest.approx([0, 38.19, 40.25, 58.68], abs=0.01)
    a, delays = paths(make("tdl", model="D"), 400, 1, seed)
    first = np.abs(a[:, 0, 0, 0, 0]) ** 2
    # delay 0 has a line of sight and scatter; the powers of the table are scaled to the sum of 1
    table = [-0.2, -13.5, -18.8, -21, -22.8, -17.9, -20.1, -21.9, -22.9, -27.8, -23.6, -24.8, -30, -27.7]
    sight, scatter, *_ = power = 10 ** (np.array(table) / 10) / (10 ** (np.array(table) / 10)).sum()
    deviation = (2 * sight * scatter + scatter**2) ** 0.5  # of a Rician power
    assert first.mean() == pytest.approx(sight + scatter, abs=5 * deviation / 400**0.5)
    late = (np.abs(a[:, 0, 0, 1:, 0]) ** 2).mean(axis=0)  # exponential: as wide as their mean
    assert late == pytest.approx(power[2:], rel=5 / 400**0.5)


@pytest.mark.parametrize("speed_kmh", [60.0, 300.0])
def test_time_correlation_is_that_of_jakes(speed_kmh: float, seed: int) -> None:
    """E h(t) h*(t + s) = J0(2 pi f_D s), f_D = v f_c / c.   [Clarke 1968]"""
    channel = make("tdl", speed_kmh=speed_kmh)
    drops, symbols = 400, 84
    a, _ = paths(channel, drops, symbols, seed)
    h = a.sum(axis=3)[:, 0, 0]  # at the carrier
    doppler = speed_kmh / 3.6 * 3.5e9 / 299_792_458
    for lag in (7, 14, 40, 83):
        product = (h[:, 0] * h[:, lag].conj()).real
        expected = special.j0(2 * np.pi * doppler * lag * channel.symbol_seconds)
        assert product.mean() == pytest.approx(expected, abs=5 * product.std() / drops**0.5)


def test_speed_zero_is_static(seed: int) -> None:
    for name in ("tdl", "cdl"):
        a, _ = paths(make(name, speed_kmh=0), 2, 30, seed)
        assert np.allclose(a, a[..., :1], atol=1e-5)


def test_frequency_correlation_is_the_transform_of_the_profile(seed: int) -> None:
    channel, drops = make("tdl", delay_spread_ns=300, model="C"), 400
    a, delays = paths(channel, drops, 1, seed)
    profile = (np.abs(a[:, 0, 0, :, 0]) ** 2).mean(axis=0)
    h = np.stack([next(channel.slots(1, s)).h[0, :, 0, 0].numpy() for s in row_seeds(seed, drops)])
    for lag in (1, 10, 30):
        product = h[:, 0] * h[:, lag].conj()
        expected = (profile * np.exp(2j * np.pi * lag * 30e3 * delays * 1e-9)).sum()
        assert (
            abs(product.mean() - expected) < 5 * product.std() / drops**0.5 + 5 * profile.std() / drops**0.5
        )


def test_antenna_correlation(seed: int) -> None:
    a, _ = paths(make("tdl", rx_antennas=3, tx_antennas=2, correlation=0.7), 500, 1, seed)
    h = a.sum(axis=3)[..., 0]
    for first, second, expected in (
        ((0, 0), (1, 0), 0.7), ((0, 0), (2, 0), 0.49), ((0, 0), (0, 1), 0.7), ((0, 0), (1, 1), 0.49),
    ):  # fmt: skip
        product = (h[:, *first] * h[:, *second].conj()).real
        assert product.mean() == pytest.approx(expected, abs=5 * product.std() / 500**0.5)


def test_users_fade_independently_and_the_first_does_not_depend_on_the_others(seed: int) -> None:
    for name in ("tdl", "cdl"):
        one, many = make(name, rx_antennas=2), make(name, rx_antennas=2, users=3)
        if name == "tdl":
            assert torch.equal(one.cir(seed, 14)[0], many.cir(seed, 14)[0][:, :, :, :1])
        h = torch.stack([many.cir(s, 1)[0][0, 0, 0, :, 0].sum(1)[:, 0] for s in row_seeds(seed, 200)])
        product = (h[:, 0] * h[:, 1].conj()).numpy()
        assert abs(product.mean()) < 5 * product.std() / 200**0.5


def test_line_of_sight_is_broadside_and_users_have_bearings(seed: int) -> None:
    """CDL-E departs at azimuth 0 (TR 38.901 V19.2, table 7.7.1-5): equal phases, until a user turns away."""
    for direction in ("uplink", "downlink"):
        antennas = {"rx_antennas" if direction == "uplink" else "tx_antennas": 16}
        a, _ = paths(make("cdl", model="E", direction=direction, **antennas), 100, 1, seed)
        h = a.sum(axis=3)[..., 0].reshape(100, 16)
        correlation = (h[:, 0] * h[:, 15].conj()).mean() / (np.abs(h) ** 2).mean()
        assert correlation.real > 0.8 and abs(correlation.imag) < 0.1  # 89 % of the power is line of sight
        channel = make("cdl", model="E", direction=direction, users=2, **antennas)
        same = []
        for s in row_seeds(seed, 60):
            h = channel.cir(s, 1)[0].sum(5)[..., 0].numpy().squeeze()
            first, second = h if direction == "downlink" else h.T
            same.append(abs(np.vdot(first, second)) / np.linalg.norm(first) / np.linalg.norm(second))
        assert np.median(same) < 0.5


def test_antennas_of_an_array_agree_more_than_independent_ones(seed: int) -> None:
    """Rays from few directions: the gains of 8 antennas have an effective rank well below 8."""
    a, _ = paths(make("cdl", model="A", rx_antennas=8), 200, 1, seed)
    h = a.sum(axis=3)[:, :, 0, 0]
    values = np.linalg.eigvalsh(h.T @ h.conj() / 200)
    assert values.sum() ** 2 / (values**2).sum() < 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "TDL-A"}, "unknown model of channel 'cdl': 'TDL-A'. Did you mean 'A'|Known: A, B"),
        ({"delay_spread_ns": 5000}, "cdl: delay_spread_ns must be at most the cyclic prefix"),
        ({"delay_spread_ns": "long"}, "cdl: delay_spread_ns must be a number"),
        ({"tx_antennas": 64, "rx_antennas": 64}, "cdl: drop_slots must be at most"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        channels.create("cdl", **options)
