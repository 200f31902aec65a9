"""Transmitter and receiver of the OFDM channels against Sionna's blocks, plainly called, and against closed forms."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

import channels
from channels import theory
from channels.draws import generator, row_seeds
from channels.modem import modem
from channels.ofdm import Wideband
from channels.ofdm.estimation import estimate
from channels.ofdm.grid import DATA, PILOTS
from channels.ofdm.precoding import precode

MANY: list[dict[str, Any]] = [
    {},
    {"csi": "estimated"},
    {"tx_antennas": 4, "rx_antennas": 4},
    {"tx_antennas": 2, "rx_antennas": 3, "csi": "estimated", "detector": "zf", "correlation": 0.5},
    {"rx_antennas": 8, "users": 3},
    {"rx_antennas": 8, "users": 3, "csi": "estimated", "detector": "mrc"},
    {"tx_antennas": 8, "users": 3, "direction": "downlink", "precoder": "zf"},
    {"tx_antennas": 8, "users": 3, "direction": "downlink", "precoder": "rzf", "csi": "estimated"},
]


def make(**options: Any) -> Wideband:
    channel = channels.create("tdl", **options)
    assert isinstance(channel, Wideband)
    return channel


def symbols(batch: int, n: int, seed: int) -> torch.Tensor:
    signs = np.random.default_rng(seed).choice([-1, 1], (batch, n, 2)).astype(np.float32)
    return torch.from_numpy(signs.view(np.complex64)[..., 0] / np.float32(2**0.5))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tx_antennas": 4, "rx_antennas": 4},
        {"tx_antennas": 2, "rx_antennas": 8, "model": "D"},
        {"users": 4, "rx_antennas": 64},
    ],
)
def test_equalised_symbols_are_those_of_sionna(options: dict[str, Any], seed: int) -> None:
    """One slot through Sionna's mapper, channel and LMMSE equaliser, with the same channel, noise and others."""
    from sionna.phy.channel import ApplyOFDMChannel
    from sionna.phy.mimo import StreamManagement
    from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid, ResourceGridMapper

    channel, snr_db = make(**options), 7.0
    users, streams = channel.users, channel.tx_antennas
    n = 864 * streams
    x, no = symbols(1, n, seed), torch.tensor([10 ** (-snr_db / 10)])
    (slot,) = channel.slots(n, seed)
    grid = ResourceGrid(
        14,
        76,
        30e3,
        num_tx=users,
        num_streams_per_tx=streams,
        num_guard_carriers=(2, 1),
        dc_null=True,
        pilot_pattern="kronecker",
        pilot_ofdm_symbol_indices=list(PILOTS),
        device="cpu",
    )
    sent = torch.cat([x.reshape(-1, streams), slot.others[:, streams:]], dim=1) if users > 1 else x
    mapped = ResourceGridMapper(grid, device="cpu")(sent.reshape(864, users, streams).permute(1, 2, 0)[None])
    antennas = channel.rx_antennas
    h = torch.zeros(14, 76, antennas, users, streams, dtype=torch.complex64)
    noise = torch.zeros(14, 76, antennas, dtype=torch.complex64)
    used = torch.from_numpy(grid.effective_subcarrier_ind)
    h[:, used] = slot.h.reshape(14, 72, antennas, users, streams) / streams**0.5
    noise[:, used] = slot.noise
    h = h.permute(2, 3, 4, 0, 1)[None, None]  # [batch, rx, rx_ant, tx, tx_ant, symbols, subcarriers]
    received = ApplyOFDMChannel(device="cpu")(mapped, h) + no.sqrt() * noise.permute(2, 0, 1)
    equaliser = LMMSEEqualizer(grid, StreamManagement(np.ones((1, users), int), streams), device="cpu")
    theirs, variance = equaliser(received, h[..., used], torch.zeros(1), no)

    y, no_eff = channel(x, snr_db, [seed])
    theirs, variance = (a[0, 0].T.reshape(1, -1) if users == 1 else a[0, :1, 0] for a in (theirs, variance))
    assert torch.allclose(y, theirs, rtol=2e-3, atol=2e-3)
    assert torch.allclose(no_eff, variance, rtol=2e-3)


def test_single_antenna_noise_is_exact(seed: int) -> None:
    channel, x = make(model="C"), symbols(1, 2000, seed)
    y, no = channel(x, 3.0, [seed])
    slots = list(channel.slots(2000, seed))
    h = torch.cat([s.data[:, 0, 0] for s in slots])[:2000]
    w = torch.cat([s.noise[list(DATA)].flatten() for s in slots])[:2000]
    variance = 10**-0.3
    assert torch.allclose(no[0], variance / h.abs().square(), rtol=1e-4)
    assert torch.allclose((y - x)[0], variance**0.5 * w / h, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("combs", [1, 4])
def test_estimates_are_those_of_sionna(combs: int, seed: int) -> None:
    """Before they are scaled; with 4 combs below DC, whose gap Sionna does not see."""
    from sionna.phy.ofdm import LSChannelEstimator, ResourceGrid

    channel = make(tx_antennas=combs, rx_antennas=2, csi="estimated", speed_kmh=60, delay_spread_ns=300)
    (slot,) = channel.slots(1, seed)
    grid = ResourceGrid(
        14,
        76,
        30e3,
        num_streams_per_tx=combs,
        num_guard_carriers=(2, 1),
        dc_null=True,
        pilot_pattern="kronecker",
        pilot_ofdm_symbol_indices=list(PILOTS),
        device="cpu",
    )
    no = torch.tensor(0.05)
    pilots = torch.zeros(14, 72, combs, dtype=torch.complex64)
    pattern = grid.pilot_pattern.pilots[0].reshape(combs, 2, 72)
    for comb in range(combs):  # a unit-modulus pilot p: h p + w p is what h + w is to a pilot of 1
        own = pattern[comb, :, comb::combs]
        pilots[list(PILOTS), comb::combs, comb] = own / own.abs()
    clean = (slot.h * pilots[:, :, None, :]).sum(-1)
    y = torch.zeros(1, 1, 2, 14, 76, dtype=torch.complex64)
    y[0, 0, :, :, torch.from_numpy(grid.effective_subcarrier_ind)] = (
        clean + no.sqrt() * slot.noise * pilots.sum(-1)[..., None]
    ).permute(2, 0, 1)
    for comb in range(combs):
        pattern[comb, :, comb::combs] /= pattern[comb, :, comb::combs].abs()
    grid.pilot_pattern.normalize = False
    grid.pilot_pattern.pilots = pattern.reshape(1, combs, -1)
    theirs = LSChannelEstimator(grid, interpolation_type="lin", device="cpu")(y, no)[0]
    ours, variance = estimate(channel._grid, slot.h, slot.noise, no)
    power = slot.data.abs().square().mean((0, 1))
    ours = (ours / (1 - variance / power)[:, None]).reshape(12, 72, 2, combs)
    below = 72 if combs == 1 else 32
    theirs = theirs[0, 0, :, 0][..., list(DATA), :].permute(2, 3, 0, 1)
    assert torch.allclose(ours[:, :below], theirs[:, :below], atol=1e-4)


def test_mean_squared_error_of_the_estimate(seed: int) -> None:
    """Least squares at 20 dB: 0.885 no, the mean square of the weights; then what the receiver is told."""
    channel, no = make(csi="estimated"), torch.tensor(0.01)
    plain, errors, told = [], [], []
    for s in row_seeds(seed, 150):
        (slot,) = channel.slots(1, s)
        h, variance = estimate(channel._grid, slot.h, slot.noise, no)
        power = slot.data.abs().square().mean()
        plain.append(float((h / (1 - variance / power)[:, None] - slot.data).abs().square().mean()))
        errors.append(float((h - slot.data).abs().square().mean()))
        told.append(float(variance.mean()))
    assert np.mean(plain) == pytest.approx(0.885e-2, abs=5 * np.std(plain) / 150**0.5)
    assert np.mean(errors) == pytest.approx(
        np.mean(told), abs=5 * np.std(np.subtract(errors, told)) / 150**0.5
    )
    assert np.mean(errors) < np.mean(plain)


@pytest.mark.parametrize("options", MANY)
@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_noise_has_the_variance_that_is_said(options: dict[str, Any], snr_db: float, seed: int) -> None:
    channel, x = make(**options), symbols(100, 60, seed)
    y, no = channel(x, snr_db, seed)
    ratios = ((y - x).abs().square() / no).double().mean(1)
    # The receiver is told the mean error of its estimate, not that of one drop: a few per cent.
    allowed = 0.03 if channel.csi == "estimated" else 1e-3
    assert float(ratios.mean()) == pytest.approx(1, abs=5 * float(ratios.std()) / 10 + allowed)


@pytest.mark.parametrize("antennas", [1, 2, 4])
def test_received_power_does_not_depend_on_the_number_of_antennas(antennas: int, seed: int) -> None:
    channel, no = make(tx_antennas=antennas, rx_antennas=2), torch.tensor(0.5)
    x, powers = symbols(1, 864 * antennas, seed)[0], []
    for s in row_seeds(seed, 200):
        (slot,) = channel.slots(864 * antennas, s)
        powers.append(float(channel._observe(x, slot, no)[0].abs().square().mean()))
    assert np.mean(powers) == pytest.approx(1.5, abs=5 * float(np.std(powers)) / 200**0.5)


@pytest.mark.parametrize("options", MANY)
def test_gain_is_one_on_average(options: dict[str, Any], seed: int) -> None:
    gain = make(**options).gain(30, row_seeds(seed, 150))
    assert float(gain.mean()) == pytest.approx(1, abs=5 * float(gain.std()) / 150**0.5)


@pytest.mark.parametrize("precoder", ["mrt", "zf", "rzf"])
def test_precoders(precoder: str, seed: int) -> None:
    from sionna.phy.mimo import cbf_precoding_matrix, rzf_precoding_matrix

    rng = np.random.default_rng(seed)
    h = torch.from_numpy(rng.standard_normal((20, 3, 8, 2)).astype(np.float32)).view(torch.complex64)[..., 0]
    w = precode(h, torch.tensor(0.3), precoder)
    assert torch.allclose(w.abs().square().sum((-1, -2)), torch.ones(20))
    alpha = 0.9 if precoder == "rzf" else 0.0
    theirs = cbf_precoding_matrix(h) if precoder == "mrt" else rzf_precoding_matrix(h, alpha)
    assert torch.allclose(w * 3**0.5, theirs, atol=1e-4)
    leak = h @ w - torch.diag_embed((h @ w).diagonal(dim1=-2, dim2=-1))
    assert (float(leak.abs().max()) < 1e-5) == (precoder == "zf")


@pytest.mark.parametrize("antennas", [1, 4])
def test_flat_limit_is_maximum_ratio_combining(antennas: int, seed: int) -> None:
    """Without delay spread, L antennas of Rayleigh fading: E exp(-s |h|^2) = (1 + s)^-L."""
    channel, snr_db, rows = make(delay_spread_ns=0, rx_antennas=antennas), 2.0, 1200
    sent = generator(seed, "bits").integers(0, 2, (rows, 16), np.uint8)
    y, no = channel(modem(2).map(sent), snr_db, seed)
    errors = ((modem(2).demap(y, no) > 0).numpy() != sent).mean(1)
    expected = theory.qam_ber(2, snr_db, lambda s: (1 + s) ** -antennas)
    assert errors.mean() == pytest.approx(expected, abs=5 * errors.std() / rows**0.5)


def test_zero_forcing_sinr(seed: int) -> None:
    """Independent Rayleigh antennas: mean SINR (M - K + 1) rho.   [Tse & Viswanath 2005, sec. 8.3.1]"""
    channel = make(delay_spread_ns=0, rx_antennas=6, users=3, detector="zf")
    _, no = channel(symbols(600, 1, seed), 10.0, seed)
    sinr = (1 / no).double()
    assert float(sinr.mean()) == pytest.approx(40, abs=5 * float(sinr.std()) / 600**0.5)


@pytest.mark.parametrize("options", MANY)
def test_capacity_is_not_beaten(options: dict[str, Any], seed: int) -> None:
    options = options | {"csi": "perfect"}
    channel, x = make(**options), symbols(3, 480, seed)
    bits = channel.information(480, 8.0, row_seeds(seed, 3))
    rates = torch.log2(1 + 1 / channel(x, 8.0, seed)[1])
    each = channel.tx_antennas if channel.users == 1 else 1
    bits, rates = (a.double().reshape(3, -1, each).sum(-1) for a in (bits, rates))
    rounding = 1e-6  # bits: log2(1 + SNR) in float32, which is all that there is in a deep fade
    assert bool((rates <= bits * (1 + 1e-5) + rounding).all())
    assert channel.users > 1 or each > 1 or torch.allclose(rates, bits, rtol=1e-4, atol=rounding)


def test_capacity_by_its_formula(seed: int) -> None:
    channel = make(tx_antennas=3, rx_antennas=2)
    bits = channel.information(30, 5.0, [seed])[0]
    h = next(channel.slots(30, seed)).data[:10].numpy().astype(complex)
    for symbol in range(30):
        a = h[symbol // 3]
        expected = np.log2(np.linalg.det(np.eye(2) + a @ a.conj().T * 10**0.5 / 3).real) / 3
        assert float(bits[symbol]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("options", MANY)
def test_rows_are_themselves_bit_by_bit(options: dict[str, Any], seed: int) -> None:
    channel, rng = make(**options), np.random.default_rng(seed)
    for n in (1, 61):
        x, snr_db = symbols(5, n, seed), rng.uniform(-5, 20, 5)
        seeds = [int(s) for s in rng.integers(2**63, size=5)]
        y, no = channel(x, snr_db, seeds)
        bits = channel.information(n, snr_db, seeds)
        order = rng.permutation(5)
        for part in (order[:2], order[2:]):
            some = snr_db[part], [seeds[i] for i in part]
            assert all(torch.equal(a, b[part]) for a, b in zip(channel(x[part], *some), (y, no), strict=True))
            assert torch.equal(channel.information(n, *some), bits[part])
    copy = pickle.loads(pickle.dumps(channel))
    assert all(torch.equal(a, b) for a, b in zip(copy(x, snr_db, seeds), (y, no), strict=True))


@pytest.mark.parametrize("name", ["tdl", "cdl"])
def test_a_longer_row_starts_like_a_shorter_one(name: str, seed: int) -> None:
    """Through the end of a slot and of a drop."""
    channel, x = channels.create(name, drop_slots=2, csi="estimated"), symbols(1, 3000, seed)
    y, no = channel(x, 5.0, seed)
    for n in (1, 800, 864, 865, 1800, 2592):
        y_short, no_short = channel(x[:, :n], 5.0, seed)
        assert torch.equal(y_short, y[:, :n]) and torch.equal(no_short, no[:, :n])


def test_drops_are_independent_and_slots_of_a_drop_are_not(seed: int) -> None:
    together, apart = [], []
    for s in row_seeds(seed, 200):
        h = [slot.h[0, 0, 0, 0] for slot in make(drop_slots=2).slots(3 * 864, s)]
        together.append(complex(h[0] * h[1].conj()))
        apart.append(complex(h[1] * h[2].conj()))
    assert abs(np.mean(together)) > 0.7
    assert abs(np.mean(apart)) < 5 / 200**0.5


@pytest.mark.parametrize("options", [o for o in MANY if o.get("direction") != "downlink"])
def test_gradients(options: dict[str, Any], seed: int) -> None:
    """y is affine in x: its derivative along a step is the difference that the step makes."""
    channel = make(**options)
    x, step = symbols(1, 40, seed).requires_grad_(), 0.5 * symbols(1, 40, seed + 1)
    weights = symbols(1, 40, seed + 2)
    y, no = channel(x, 10.0, [seed], power="trust")
    assert not no.requires_grad
    (gradient,) = torch.autograd.grad((weights.conj() * y).real.sum(), x)
    moved, _ = channel(x.detach() + step, 10.0, [seed], power="trust")
    difference = float((weights.conj() * (moved - y.detach())).real.sum())
    assert float((gradient.conj() * step).real.sum()) == pytest.approx(difference, rel=1e-3, abs=1e-3)


def test_joint_detectors_know_the_constellation(seed: int) -> None:
    """Uncoded 2 x 2 16-QAM: K-best and EP make fewer errors than LMMSE; so does K-best with a second user."""
    sent = generator(seed, "bits").integers(0, 2, (15, 4 * 120), np.uint8)
    x = modem(4).map(sent)
    pair: list[dict[str, Any]] = [{"tx_antennas": 2, "rx_antennas": 2}, {"users": 2, "rx_antennas": 2}]
    for options in pair:
        wrong = {
            detector: (
                (make(detector=detector, **options).llr(x, 16.0, row_seeds(seed, 15), 4) > 0).numpy() != sent
            ).mean()
            for detector in ("lmmse", "kbest", "ep")
        }
        assert wrong["kbest"] < wrong["lmmse"] and wrong["ep"] < wrong["lmmse"]
    y, _ = make(detector="ep", tx_antennas=2, rx_antennas=2)(x, 16.0, seed)
    assert torch.equal(y, make(tx_antennas=2, rx_antennas=2)(x, 16.0, seed)[0])


def global_state() -> tuple[Any, ...]:
    from sionna.phy import config

    numpys: Any = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state(), config.torch_rng().get_state(), numpys[1].copy()


@pytest.mark.parametrize("name", ["tdl", "cdl"])
def test_global_random_state_and_output_are_left_alone(
    name: str, seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    from sionna.phy import config

    channel, x = channels.create(name, users=2, rx_antennas=2), symbols(1, 40, seed)
    config.seed = 1
    before = global_state()
    first = channel(x, 5.0, seed)
    after = global_state()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    config.seed = 2
    torch.manual_seed(3)
    assert all(torch.equal(a, b) for a, b in zip(first, channel(x, 5.0, seed), strict=True))
    out, err = capfd.readouterr()
    assert "".join(line for line in out.splitlines() if "TEST_SEED" not in line) + err == ""
