"""Spatial multiplexing, beamforming and diversity against Sionna and closed forms, within five deviations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import channels
from channels import theory
from channels.draws import generator
from channels.errors import InputError
from channels.mimo import arrays
from channels.mimo.spatial import MIMO
from channels.modem import modem
from channels.selftest import bit_errors

from .oracles import left_over, linear_filter, qpsk

OPTIONS: list[dict[str, Any]] = [
    {},
    {"tx_antennas": 1, "rx_antennas": 4, "detector": "mrc"},
    {"tx_antennas": 4, "rx_antennas": 8, "detector": "zf", "coherence": 2},
    {"tx_antennas": 3, "rx_antennas": 2},
    {"tx_antennas": 4, "rx_antennas": 3, "precoder": "svd", "coherence": 4},
    {"tx_antennas": 4, "rx_antennas": 2, "precoder": "svd", "streams": 1, "correlation": 0.5},
    {"tx_antennas": 3, "rx_antennas": 1, "precoder": "mrt", "detector": "mrc"},
    {"rx_antennas": 3, "precoder": "alamouti", "coherence": 6},
    {"tx_antennas": 4, "rx_antennas": 4, "correlation": 0.6, "coherence": 3},
    {"tx_antennas": 3, "rx_antennas": 4, "csi": "estimated", "correlation": 0.6, "coherence": 5},
    {"precoder": "alamouti", "csi": "estimated", "pilots": 2, "correlation": 0.4},
    {"tx_antennas": 3, "rx_antennas": 3, "detector": "ep", "csi": "estimated"},
    {"tx_antennas": 3, "rx_antennas": 3, "detector": "kbest", "coherence": 2},
]
each_channel = pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())) or "2x2"
)


def mimo(**options: Any) -> MIMO:
    channel = channels.create("mimo", **options)
    assert isinstance(channel, MIMO)
    return channel


def matrices(channel: MIMO, n: int, seed: int) -> np.ndarray:
    """[blocks, rx, tx] gains from antenna to antenna."""
    rx, tx = (
        arrays.exponential(a, channel.correlation)[1] for a in (channel.rx_antennas, channel.tx_antennas)
    )
    return rx @ channel.realise(n, [seed]).h[0].numpy().astype(np.complex128) @ tx.T


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_fading_has_power_one_and_the_exponential_correlation(correlation: float, seed: int) -> None:
    from sionna.phy.channel import exp_corr_mat

    n = 40_000
    h = matrices(
        mimo(tx_antennas=2, rx_antennas=3, coherence=1, correlation=correlation), 2 * n, seed
    ).reshape(n, 6)
    rx, tx = (exp_corr_mat(correlation, a, precision="double").numpy() for a in (3, 2))
    products = h[:, :, None] * h[:, None].conj()
    z = (products.mean(axis=0) - np.kron(rx, tx)) / products.std(axis=0) * n**0.5
    assert np.abs(z).max() < 5
    assert np.abs(h.mean(axis=0)).max() < 5 / n**0.5


@each_channel
def test_total_transmit_power_is_one(options: dict[str, Any], seed: int) -> None:
    """Power arriving at all antennas is |H|^2 times that which is sent into each direction."""
    channel, n = mimo(**options), 3000
    real = channel.realise(n, [seed + i for i in range(300)])
    power = real.columns.abs().square().sum(dim=(2, 3)).double()  # [batch, blocks]
    if channel.precoder in ("svd", "mrt"):  # the strongest of all directions
        beams = torch.linalg.svdvals(real.h)[..., : channel.streams].square().sum(dim=-1) / channel.streams
        assert torch.allclose(power, beams.double(), rtol=1e-4)
        return
    mean = power.mean(dim=1) / channel.rx_antennas / (2 if channel.precoder == "alamouti" else 1)
    assert float(mean.mean()) == pytest.approx(1, abs=5 * float(mean.std()) / 300**0.5)


@each_channel
def test_noise_that_is_measured_is_noise_that_is_said(options: dict[str, Any], seed: int) -> None:
    channel, rows = mimo(**options), 1000
    x = qpsk(rows, 25, seed)
    for snr_db in (-5.0, 10.0, 60.0):
        y, no = channel(x, snr_db, seed)
        ratio = ((y - x).abs().square() / no).double().mean(dim=1)
        assert float(ratio.mean()) == pytest.approx(1, abs=5 * float(ratio.std()) / rows**0.5)


@each_channel
def test_rows_do_not_depend_on_the_batch(options: dict[str, Any], seed: int) -> None:
    channel, rng = mimo(**options), np.random.default_rng(seed)
    for n in (1, 37):
        x, snr_db = qpsk(6, n, seed), rng.uniform(-5, 20, 6)
        seeds = [int(s) for s in rng.integers(2**63, size=6)]
        y, no = channel(x, snr_db, seeds)
        llr, bits = channel.llr(x, snr_db, seeds, 2), channel.information(n, snr_db, seeds)
        assert y.shape == no.shape == bits.shape == (6, n) and llr.shape == (6, 2 * n)
        for rows in ([3], [5, 0], [1, 2, 4]):
            some = snr_db[rows], [seeds[i] for i in rows]
            assert all(torch.equal(a, b[rows]) for a, b in zip(channel(x[rows], *some), (y, no), strict=True))
            assert torch.equal(channel.llr(x[rows], *some, 2), llr[rows])
            assert torch.equal(channel.information(n, *some), bits[rows])


@each_channel
def test_a_longer_row_starts_like_a_shorter_one(options: dict[str, Any], seed: int) -> None:
    channel = mimo(**options)
    y, no = channel(qpsk(1, 60, seed), 8.0, seed)
    for uses in (1, 2, 7):
        n = uses * channel.streams * (2 if channel.precoder == "alamouti" else 1)
        short = channel(qpsk(1, 60, seed)[:, :n], 8.0, seed)
        assert torch.equal(short[0], y[:, :n]) and torch.equal(short[1], no[:, :n])


@each_channel
def test_the_channel_is_linear_and_so_is_its_gradient(options: dict[str, Any], seed: int) -> None:
    channel = mimo(**options)
    x, step = qpsk(2, 11, seed).requires_grad_(), qpsk(2, 11, seed + 1)
    weight = qpsk(2, 11, seed + 2)
    y, _ = channel(x, 10.0, seed, power="trust")
    (gradient,) = torch.autograd.grad((y * weight.conj()).sum().real, x)
    moved, _ = channel(x.detach() + step, 10.0, seed, power="trust")
    change = ((moved - y.detach()) * weight.conj()).sum().real
    assert float((gradient.conj() * step).sum().real) == pytest.approx(float(change), abs=1e-3)


@pytest.mark.parametrize(
    "options", [o for o in OPTIONS if "csi" not in o]
)  # a lucky estimate promises too much
def test_nothing_linear_beats_the_capacity(options: dict[str, Any], seed: int) -> None:
    """log2 det >= sum of log2(1 + SINR), in whole uses and at the ragged end."""
    channel, n = mimo(**options), 23
    seeds = [seed + i for i in range(200)]
    for snr_db in (-10.0, 10.0, 40.0):
        _, no = channel(qpsk(200, n, seed), snr_db, seeds)
        bits = channel.information(n, snr_db, seeds).double().sum(dim=1)
        assert bool((torch.log2(1 + 1 / no.double()).sum(dim=1) <= bits * (1 + 1e-5) + 1e-5).all())


def test_capacities_are_those_of_the_textbook(seed: int) -> None:
    n, no = 24, 0.05
    for options in (
        {"tx_antennas": 3, "rx_antennas": 2},
        {"tx_antennas": 2, "rx_antennas": 4, "correlation": 0.5},
    ):
        channel = mimo(coherence=4, **options)
        h, streams = matrices(channel, n, seed), channel.streams
        gram = h @ h.conj().swapaxes(1, 2) / no / streams
        expected = np.linalg.slogdet(np.eye(channel.rx_antennas) + gram)[1] / np.log(2) / streams
        bits = channel.capacity(n, channel.realise(n, [seed]), torch.tensor([[no]]))[0]
        np.testing.assert_allclose(bits, np.repeat(expected, 4 * streams)[:n], rtol=1e-4)
        beams = mimo(coherence=4, precoder="svd", **options)  # no water-filling: equal power in each beam
        values = np.linalg.svd(matrices(beams, n, seed), compute_uv=False)
        expected = np.log2(1 + values**2 / no / 2).mean(axis=1)
        bits = beams.capacity(n, beams.realise(n, [seed]), torch.tensor([[no]]))[0]
        np.testing.assert_allclose(bits, np.repeat(expected, 8)[:n], rtol=1e-4)
    coded = mimo(precoder="alamouti", rx_antennas=2)
    power = (np.abs(matrices(coded, 2, seed)) ** 2).sum()
    bits = coded.capacity(2, coded.realise(2, [seed]), torch.tensor([[no]]))
    np.testing.assert_allclose(bits, np.log2(1 + power / 2 / no), rtol=1e-4)


def test_sinr_of_detectors_is_ordered(seed: int) -> None:
    x = qpsk(300, 12, seed)
    lmmse, zf = (mimo(tx_antennas=3, rx_antennas=4, detector=d)(x, 8.0, seed)[1] for d in ("lmmse", "zf"))
    assert bool((lmmse <= zf * (1 + 1e-5)).all()) and float((zf / lmmse).mean()) > 1.02


@pytest.mark.parametrize(
    ("antennas", "correlation", "published"),
    [
        ((2, 2), 0.0, 0.0293),
        ((4, 4), 0.0, 0.0434),
        ((4, 8), 0.0, 2e-4),
        ((2, 2), 0.6, 0.0596),
        ((4, 4), 0.6, 0.0937),
    ],
)
def test_uncoded_bit_error_rate_is_that_of_sionna(
    antennas: tuple[int, int], correlation: float, published: float, seed: int
) -> None:
    """Sionna's equaliser on the same gains and noise; and the rates it was measured to have, 16-QAM at 20 dB."""
    from sionna.phy.mimo import lmmse_equalizer

    (tx, rx), uses, no = antennas, 15_000, 0.01
    channel = mimo(tx_antennas=tx, rx_antennas=rx, coherence=1, correlation=correlation)
    n = uses * tx
    sent = generator(seed, "bits").integers(0, 2, (1, 4 * n), np.uint8)
    x = modem(4).map(sent)
    y, said = channel.apply(x, channel.realise(n, [seed]), torch.tensor([[no]]))
    real = channel.realise(n, [seed])
    h = real.columns[0]
    received = (h @ x.reshape(uses, tx, 1))[..., 0] + no**0.5 * real.noise[0]
    theirs, their_no = lmmse_equalizer(received, h, (no * torch.eye(rx)).to(h.dtype), precision="double")
    assert torch.allclose(said[0].double(), their_no.flatten(), rtol=1e-3)
    assert float((y[0] - theirs.flatten()).abs().max()) < 1e-3 * float(theirs.abs().max())
    wrong = ((modem(4).demap(y, said) > 0).numpy() != sent).reshape(uses, -1).mean(axis=1)
    tolerance = 5 * wrong.std() / uses**0.5 + (0.05 if published > 1e-3 else 0.2) * published
    assert wrong.mean() == pytest.approx(published, abs=tolerance)


@pytest.mark.parametrize(
    ("options", "diversity", "loss_db"),
    [
        ({"tx_antennas": 1, "rx_antennas": 1}, 1, 0.0),
        ({"tx_antennas": 1, "rx_antennas": 2, "detector": "mrc"}, 2, 0.0),
        ({"tx_antennas": 1, "rx_antennas": 4}, 4, 0.0),
        ({"tx_antennas": 3, "rx_antennas": 1, "precoder": "mrt"}, 3, 0.0),
        ({"rx_antennas": 1, "precoder": "alamouti", "coherence": 2}, 2, 3.0103),
        ({"rx_antennas": 2, "precoder": "alamouti", "coherence": 2, "detector": "zf"}, 4, 3.0103),
        # ZF of K streams: |h|^2 of M - K + 1 antennas, at the power of one stream
        ({"tx_antennas": 2, "rx_antennas": 3, "detector": "zf"}, 2, 3.0103),
    ],
)
def test_diversity(options: dict[str, Any], diversity: int, loss_db: float, seed: int) -> None:
    snr_db, n = 6.0, 120_000
    wrong = (
        bit_errors(mimo(**({"coherence": 1} | options)), 2, snr_db, n, seed).reshape(-1, 4).mean(axis=1) / 2
    )
    expected = float(theory.rayleigh_mrc_ber(snr_db - loss_db, diversity))
    assert wrong.mean() == pytest.approx(expected, abs=5 * wrong.std() / len(wrong) ** 0.5)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_estimates_are_the_best_linear_ones(correlation: float, seed: int) -> None:
    """R (R + e I)^-1 of all antenna pairs at once, against the scalar estimates of each direction."""
    channel = mimo(
        tx_antennas=3, rx_antennas=2, correlation=correlation, csi="estimated", pilots=2, coherence=1
    )
    no, n = 0.4, 9
    real = channel.realise(n, [seed])
    columns, error = channel._estimate(real, torch.tensor([[no]]))
    rx, tx = (arrays.exponential(a, correlation)[1] for a in (2, 3))
    powers = [correlation ** np.abs(np.subtract.outer(np.arange(a), np.arange(a))) for a in (2, 3)]
    covariance, e = np.kron(*powers), no / 2
    weight = covariance @ np.linalg.inv(covariance + e * np.eye(6))
    seen = rx @ (real.h + e**0.5 * real.pilots).numpy()[0] @ tx.T
    expected = rx.T @ (seen.reshape(3, 6) @ weight.T).reshape(3, 2, 3) / 3**0.5
    np.testing.assert_allclose(columns[0].numpy(), expected, rtol=1e-3, atol=1e-4)
    missed = (covariance - weight @ covariance).reshape(2, 3, 2, 3)
    turned = np.einsum("ai,asbt,bi->ist", rx, missed, rx)  # per direction at the receiver
    np.testing.assert_allclose(error[0].numpy(), np.einsum("iss->is", turned) / 3, rtol=1e-4)


def test_streams_without_a_symbol_are_silent(seed: int) -> None:
    channel, no = mimo(tx_antennas=4, rx_antennas=4), torch.tensor([[0.1]])
    real = channel.realise(6, [seed])
    _, said = channel.apply(qpsk(1, 6, seed), real, no)
    h = real.columns[0, 0].numpy()
    expected = [left_over(linear_filter(g, 0.1, "lmmse"), g, 0.1) for g in (h, h[:, :2])]
    np.testing.assert_allclose(said[0], np.concatenate(expected), rtol=1e-4)


def test_uses() -> None:
    assert [mimo().uses(n) for n in (0, 1, 2, 3, 100)] == [0, 1, 1, 2, 50]
    assert [mimo(precoder="alamouti").uses(n) for n in (0, 1, 2, 3)] == [0, 2, 2, 4]
    assert mimo(tx_antennas=4, rx_antennas=2, precoder="svd").uses(9) == 5
    pilots = mimo(tx_antennas=4, rx_antennas=4, csi="estimated", coherence=10, pilots=2)
    assert [pilots.uses(n) for n in (0, 1, 40, 41)] == [0, 1 + 8, 10 + 8, 11 + 16]
    assert mimo(csi="estimated").uses(200) == 102


def test_estimates_cost_what_they_should(seed: int) -> None:
    """With more pilots the noise falls to that of perfect CSI."""
    x = qpsk(400, 20, seed)
    noise = [
        mimo(tx_antennas=2, rx_antennas=4, **csi)(x, 10.0, seed)[1].log().mean()
        for csi in ({"csi": "estimated"}, {"csi": "estimated", "pilots": 4}, {})
    ]
    assert noise[0] > noise[1] + 0.2 > noise[2] + 0.2


def test_joint_detection_delivers_no_less_than_lmmse(seed: int) -> None:
    payloads = [np.random.default_rng(seed + i).bytes(40) for i in range(60)]
    lost = {}
    for detector in ("lmmse", "ep", "kbest"):
        channel = mimo(tx_antennas=4, rx_antennas=4, detector=detector, coherence=8)
        lost[detector] = sum(
            not r.ok for r in channels.DigitalLink(channel, "qam16", 0.5).send(payloads, 12.0, seed)
        )
    assert lost["kbest"] <= lost["lmmse"] and lost["ep"] <= lost["lmmse"]
    assert lost["lmmse"] > 0


def test_threads_change_nothing(seed: int) -> None:
    channel, x = mimo(tx_antennas=4, rx_antennas=4, detector="kbest", coherence=1), qpsk(2, 1500, seed)
    one, threads = (*channel(x, 9.0, seed), channel.llr(x[:, :200], 9.0, seed, 2)), torch.get_num_threads()
    torch.set_num_threads(2)
    two = *channel(x, 9.0, seed), channel.llr(x[:, :200], 9.0, seed, 2)
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tx_antennas": 0}, "tx_antennas must be a whole number >= 1 and <= 64, not 0"),
        ({"rx_antennas": 2.0}, "rx_antennas must be a whole number"),
        ({"streams": 3}, "streams must be 2 without precoder, one an antenna, not 3"),
        ({"streams": 1}, "streams must be 2 without precoder"),
        ({"streams": 0}, "streams must be a whole number >= 1"),
        (
            {"streams": 3, "precoder": "svd"},
            "streams must be at most 2 with 2 transmit antennas and 2 receive",
        ),
        ({"streams": 2, "precoder": "mrt"}, "streams must be 1 with precoder 'mrt', not 2"),
        ({"tx_antennas": 4, "precoder": "alamouti"}, "'alamouti' must have 2 transmit antennas, not 4"),
        ({"coherence": 3, "precoder": "alamouti"}, "coherence must be even"),
        ({"tx_antennas": 3, "detector": "zf"}, "detector 'zf' must have at most 2 streams"),
        ({"tx_antennas": 3, "detector": "kbest"}, "detector 'kbest' must have at most 2 streams"),
        ({"detector": "mrc"}, "not 'mrc'"),
        ({"detector": "mmse"}, "Did you mean 'lmmse'"),
        ({"precoder": "svt"}, "Did you mean 'svd'"),
        ({"csi": "estimate"}, "Did you mean 'estimated'"),
        ({"csi": "estimated", "precoder": "svd"}, "csi must be 'perfect' with precoder 'svd'"),
        ({"csi": "estimated", "pilots": 0}, "pilots must be a whole number >= 1"),
        ({"pilots": 2}, "pilots must be left out"),
        ({"correlation": 1.0}, "correlation must be below 1"),
        ({"correlation": -0.1}, "correlation must be a number >= 0"),
        ({"coherence": 0}, "coherence must be a whole number >= 1"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"mimo.*{message}"):
        mimo(**options)
