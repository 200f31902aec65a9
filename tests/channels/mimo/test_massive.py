"""Massive MIMO against textbook filters, a simulation antenna by antenna, and closed forms."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import channels
from channels import theory
from channels.errors import InputError
from channels.mimo import arrays
from channels.mimo.massive import Massive
from channels.mimo.planes import planes
from channels.selftest import bit_errors

from .oracles import left_over, linear_filter, normal, qpsk

UPLINK, DOWNLINK = ("mrc", "zf", "lmmse"), ("mrt", "zf", "rzf")
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *(("massive-uplink", {"detector": d}) for d in UPLINK),
    *(("massive-downlink", {"precoder": p}) for p in DOWNLINK),
]
for _name, _options in list(OPTIONS):
    OPTIONS.append(
        (
            _name,
            _options | {"users": 3, "antennas": 8, "csi": "estimated", "correlation": 0.7, "coherence": 5},
        )
    )
each_channel = pytest.mark.parametrize(
    ("name", "options"), OPTIONS, ids=[f"{n}-{'-'.join(map(str, o.values()))}" for n, o in OPTIONS]
)


def massive(name: str, **options: Any) -> Massive:
    channel = channels.create(name, **options)
    assert isinstance(channel, Massive)
    return channel


def variances(channel: Massive, n: int, snr_db: float, seed: int) -> np.ndarray:
    """[n] noise variances of one row."""
    return channel(qpsk(1, n, seed), snr_db, seed)[1][0].double().numpy()


def test_zero_forcing_leaves_a_gamma_law(seed: int) -> None:
    """SINR ~ rho Gamma(M - K + 1), of mean M - K + 1; its inverse has mean 1 / (M - K).   [Tse & Viswanath, ch. 8]"""
    n, rho, degrees = 20_000, 10**0.5, 64 - 4 + 1
    no = variances(massive("massive-uplink", detector="zf", coherence=1), n, 5.0, seed)
    law = stats.gamma(degrees)
    assert stats.kstest(1 / no / rho, law.cdf).pvalue > 1e-6
    assert (1 / no).mean() == pytest.approx(degrees * rho, abs=5 * law.std() * rho / n**0.5)
    assert no.mean() == pytest.approx(1 / (60 * rho), abs=5 * no.std() / n**0.5)
    assert 10 * np.log10(1 / no.mean() / rho) == pytest.approx(10 * np.log10(60), abs=0.3)
    down = variances(massive("massive-downlink", precoder="zf", coherence=1), n, 5.0, seed)
    assert stats.kstest(4 / down / rho, law.cdf).pvalue > 1e-6


def test_errors_of_zero_forcing_have_diversity_m_minus_k_plus_1(seed: int) -> None:
    n = 60_000
    channel = massive("massive-uplink", users=3, antennas=4, detector="zf", coherence=1)
    wrong = bit_errors(channel, 2, 6.0, n, seed) / 2
    expected = float(theory.rayleigh_mrc_ber(6.0, 2))
    assert wrong.mean() == pytest.approx(expected, abs=5 * wrong.std() / n**0.5)


@pytest.mark.parametrize(("users", "antennas"), [(1, 1), (1, 8), (4, 64), (5, 3)])
def test_uplink_filters_are_those_of_the_textbook(users: int, antennas: int, seed: int) -> None:
    for detector, snr_db in itertools.product(
        UPLINK if users <= antennas else ("mrc", "lmmse"), (-10.0, 30.0)
    ):
        channel = massive("massive-uplink", users=users, antennas=antennas, detector=detector, coherence=1)
        no = 10 ** (-snr_db / 10)
        h = channel.realise(10, [seed]).h[0].numpy()
        expected = [left_over(linear_filter(g, no, detector), g, no)[0] for g in h]
        np.testing.assert_allclose(variances(channel, 10, snr_db, seed), expected, rtol=1e-4)


@pytest.mark.parametrize(("users", "antennas"), [(1, 8), (4, 64), (5, 6)])
def test_downlink_beams_are_those_of_sionna(users: int, antennas: int, seed: int) -> None:
    """Their columns have norm 1, so that with 1 / users in each the total power is 1."""
    from sionna.phy.mimo import cbf_precoding_matrix, rzf_precoding_matrix

    for precoder, snr_db in itertools.product(DOWNLINK, (-10.0, 18.0)):
        channel = massive("massive-downlink", users=users, antennas=antennas, precoder=precoder, coherence=1)
        no = 10 ** (-snr_db / 10)
        h = channel.realise(10, [seed]).h[0].transpose(1, 2).to(torch.complex128)
        beams = (
            cbf_precoding_matrix(h, precision="double")
            if precoder == "mrt"
            else rzf_precoding_matrix(h, users * no * (precoder == "rzf"), precision="double")
        )
        assert torch.allclose(beams.abs().square().sum(dim=(1, 2)) / users, torch.ones(10).double())
        gains = (h @ beams)[:, 0].abs().square() / users
        expected = (gains[:, 1:].sum(dim=1) + no) / gains[:, 0]
        np.testing.assert_allclose(variances(channel, 10, snr_db, seed), expected, rtol=1e-3)


def test_array_gain_of_regularised_zero_forcing(seed: int) -> None:
    """|h^T g| was measured with Sionna: 7.83 for 64 antennas and 4 users at 18 dB; sqrt(M - K + 1) is 7.81."""
    no = variances(massive("massive-downlink", coherence=1), 4000, 18.0, seed)
    gain = np.sqrt(4 * 10**-1.8 / no)
    assert gain.mean() == pytest.approx(7.83, abs=5 * gain.std() / 4000**0.5 + 0.06)


def test_interference_of_matched_filters_has_the_mean_of_the_textbook(seed: int) -> None:
    """no_eff = (sum of |h_0^H h_k|^2 / |h_0|^2 + no) / |h_0|^2 with E no_eff = (K - 1 + no) / (M - 1)."""
    n = 20_000
    no = variances(massive("massive-uplink", users=6, antennas=32, detector="mrc", coherence=1), n, 3.0, seed)
    assert no.mean() == pytest.approx((5 + 10**-0.3) / 31, abs=5 * no.std() / n**0.5)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
@pytest.mark.parametrize("detector", UPLINK)
def test_uplink_agrees_with_a_simulation_of_every_antenna(
    detector: str, correlation: float, seed: int
) -> None:
    """Received vectors, estimates from pilots, filters and the other users' symbols, all of them drawn."""
    users, antennas, n, no = 3, 6, 60_000, 0.3
    channel = massive(
        "massive-uplink",
        users=users,
        antennas=antennas,
        detector=detector,
        correlation=correlation,
        csi="estimated",
    )
    real = channel.realise(1, [seed])
    assert real.pilots is not None
    arguments = planes(real.h, 2), planes(real.pilots, 2), torch.tensor([[no]]).double()
    real_part, imag_part, variance, said = (float(a) for a in channel._equalised(*arguments))

    directions = arrays.exponential(antennas, correlation)[1]
    r = correlation ** np.abs(np.subtract.outer(np.arange(antennas), np.arange(antennas)))
    h, pilots = (directions @ a[0, 0].numpy().astype(np.complex128) for a in (real.h, real.pilots))
    e = no / users
    known = r @ np.linalg.solve(r + e * np.eye(antennas), h + e**0.5 * pilots)
    error = r - r @ np.linalg.solve(r + e * np.eye(antennas), r)
    covariance = no * np.eye(antennas) + users * error
    inverse = np.linalg.inv(covariance)
    gram = known.conj().T @ inverse @ known
    weights = {"mrc": np.eye(users), "zf": np.linalg.inv(gram), "lmmse": np.linalg.inv(gram + np.eye(users))}
    v = inverse @ known @ weights[detector][:, 0]
    v = v / (v.conj() @ known[:, 0]).conj()
    rest = (np.abs(v.conj() @ known[:, 1:]) ** 2).sum() + (v.conj() @ covariance @ v).real
    assert said == pytest.approx(rest, rel=1e-3)

    rng = np.random.default_rng(seed)
    x, w = normal(rng, users, n), normal(rng, antennas, n)
    y = v.conj() @ (h @ x + no**0.5 * w)
    gain = 1 + real_part + 1j * imag_part
    assert v.conj() @ h[:, 0] == pytest.approx(gain, rel=1e-3, abs=1e-4)
    left = np.abs(y - gain * x[0]) ** 2
    assert left.mean() == pytest.approx(variance, abs=5 * left.std() / n**0.5)


@each_channel
def test_noise_that_is_measured_is_noise_that_is_said(name: str, options: dict[str, Any], seed: int) -> None:
    channel, rows = massive(name, **options), 1000
    x = qpsk(rows, 20, seed)
    for snr_db in (-20.0, 5.0, 50.0):
        y, no = channel(x, snr_db, seed)
        ratio = ((y - x).abs().square() / no).double().mean(dim=1)
        assert float(ratio.mean()) == pytest.approx(1, abs=5 * float(ratio.std()) / rows**0.5)


@each_channel
def test_gain_is_one(name: str, options: dict[str, Any], seed: int) -> None:
    gain = massive(name, **options).gain(10, [seed + i for i in range(500)]).double()
    assert gain.shape == (500,)
    assert float(gain.mean()) == pytest.approx(1, abs=5 * float(gain.std()) / 500**0.5)


@each_channel
def test_rows_do_not_depend_on_the_batch_nor_on_their_length(
    name: str, options: dict[str, Any], seed: int
) -> None:
    channel, rng, n = massive(name, **options), np.random.default_rng(seed), 37
    x, snr_db = qpsk(6, n, seed), rng.uniform(-15, 10, 6)
    seeds = [int(s) for s in rng.integers(2**63, size=6)]
    y, no = channel(x, snr_db, seeds)
    bits = channel.information(n, snr_db, seeds)
    for rows in ([3], [5, 0], [1, 2, 4]):
        some = snr_db[rows], [seeds[i] for i in rows]
        assert all(torch.equal(a, b[rows]) for a, b in zip(channel(x[rows], *some), (y, no), strict=True))
        assert torch.equal(channel.information(n, *some), bits[rows])
        short = channel(x[rows, :11], *some)
        assert torch.equal(short[0], y[rows, :11]) and torch.equal(short[1], no[rows, :11])


@each_channel
def test_gradients(name: str, options: dict[str, Any], seed: int) -> None:
    x, step = qpsk(2, 9, seed).requires_grad_(), qpsk(2, 9, seed + 1)
    channel = massive(name, **options)
    y, _ = channel(x, 0.0, seed, power="trust")
    (gradient,) = torch.autograd.grad(y.sum().real, x)
    change = (channel(x.detach() + step, 0.0, seed, power="trust")[0] - y.detach()).sum().real
    assert float((gradient.conj() * step).sum().real) == pytest.approx(float(change), abs=1e-3)


@pytest.mark.parametrize(
    ("name", "field", "filters"),
    [("massive-uplink", "detector", UPLINK), ("massive-downlink", "precoder", ("mrt", "zf"))],
)
def test_no_filter_beats_the_bound(name: str, field: str, filters: tuple[str, ...], seed: int) -> None:
    for snr_db in (-20.0, 0.0, 40.0):
        sinr = []
        for value in filters:
            channel = massive(name, antennas=8, coherence=2, **{field: value})
            sinr.append(1 / variances(channel, 400, snr_db, seed))
            bits = channel.information(400, snr_db, [seed])[0].double().numpy()
            assert np.all(np.log2(1 + sinr[-1]) <= bits * (1 + 1e-5))
        if name == "massive-uplink":
            assert np.all(sinr[2] >= np.maximum(sinr[0], sinr[1]) * (1 - 1e-5))


def test_estimates_cost_less_at_high_snr(seed: int) -> None:
    """Their loss for ZF: each user's error e = no / (K + no) in K + 1 terms; about 3 dB for K pilots of K users."""
    for snr_db in (0.0, 20.0):
        perfect, estimated = (
            variances(
                massive("massive-uplink", detector="zf", coherence=1, csi=csi), 4000, snr_db, seed
            ).mean()
            for csi in ("perfect", "estimated")
        )
        no = 10 ** (-snr_db / 10)
        e = no / 4 / (1 + no / 4)
        expected = (no + 4 * e) / (1 - e) / 60  # estimates of power 1 - e, noise of the errors of all users
        assert estimated == pytest.approx(expected, rel=0.02) and perfect == pytest.approx(no / 60, rel=0.02)


def test_uses() -> None:
    assert massive("massive-uplink").uses(100) == massive("massive-downlink").uses(100) == 100
    pilots = massive("massive-uplink", users=8, csi="estimated", coherence=40)
    assert [pilots.uses(n) for n in (0, 1, 40, 41)] == [0, 9, 48, 41 + 16]
    assert massive("massive-downlink", csi="estimated").uses(100) == 104


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("massive-uplink", {"users": 0}, "users must be a whole number >= 1"),
        ("massive-uplink", {"antennas": 2000}, "antennas must be a whole number >= 1 and <= 1024, not 2000"),
        ("massive-uplink", {"detector": "mmse"}, "Did you mean 'lmmse'"),
        (
            "massive-uplink",
            {"detector": "zf", "users": 9, "antennas": 8},
            "as many antennas as users, not 8 for 9",
        ),
        ("massive-uplink", {"precoder": "zf"}, "option"),
        ("massive-downlink", {"precoder": "zrf"}, "Known: mrt, rzf, zf"),
        ("massive-downlink", {"precoder": "zf", "users": 9, "antennas": 8}, "as many antennas as users"),
        ("massive-downlink", {"correlation": 1}, "correlation must be below 1"),
        ("massive-downlink", {"csi": "none"}, "unknown csi"),
        ("massive-downlink", {"coherence": 0}, "coherence must be"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        massive(name, **options)
