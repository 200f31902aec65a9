"""Sectors of TR 38.901: unit power, Sionna's own statistics, and options that do what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import channels
from channels.draws import row_seeds
from channels.errors import InputError
from channels.ofdm.sector import Sector

NAMES = ("umi", "uma", "rma")


def sector(name: str, **options: Any) -> Sector:
    channel = channels.create(name, **options)
    assert isinstance(channel, Sector)
    return channel


def drops(channel: Sector, count: int, seed: int, symbols: int = 1) -> list[tuple[np.ndarray, np.ndarray]]:
    """Path coefficients and delays of some drops, one a seed."""
    return [tuple(t.numpy() for t in channel.cir(s, symbols)) for s in row_seeds(seed, count)]  # type: ignore[misc]


def paths(channel: Sector, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Powers and delays of single links, [count, paths] each."""
    a, tau = zip(*drops(channel, count, seed), strict=True)
    return np.abs(np.stack(a)[:, 0, 0, 0, 0, 0, :, 0]) ** 2, np.stack(tau)[:, 0, 0, 0]


def delay_spread(power: np.ndarray, tau: np.ndarray) -> np.ndarray:
    share = power / power.sum(1, keepdims=True)
    mean = (share * tau).sum(1, keepdims=True)
    return np.sqrt((share * (tau - mean) ** 2).sum(1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options", [{}, {"line_of_sight": True, "indoor_fraction": 0.0}, {"indoor_fraction": 1}]
)
@pytest.mark.parametrize("direction", ["uplink", "downlink"])
def test_every_pair_of_antennas_has_power_one(
    name: str, options: dict[str, Any], direction: str, seed: int
) -> None:
    antennas = {"rx_antennas": 4} if direction == "uplink" else {"tx_antennas": 4}
    channel = sector(name, users=20, direction=direction, **antennas, **options)
    a = np.stack([a[0, ..., 0].squeeze() for a, _ in drops(channel, 15, seed)])  # [drops, 4 and 20, paths]
    pairs = (np.abs(a.astype(np.complex128)) ** 2).sum(-1)
    each = pairs.mean(axis=1 if direction == "uplink" else 2).ravel()  # one link's antennas are correlated
    assert each.mean() == pytest.approx(1, abs=5 * each.std() / len(each) ** 0.5)


@pytest.mark.parametrize("name", NAMES)
def test_delay_spreads_are_those_of_sionna_called_plainly(name: str, seed: int) -> None:
    from sionna.phy import config
    from sionna.phy.channel import gen_single_sector_topology, tr38901

    def array(antennas: int) -> Any:
        return tr38901.PanelArray(1, antennas, "single", "V", "omni", 3.5e9)

    config.seed = seed
    model = {"umi": tr38901.UMi, "uma": tr38901.UMa, "rma": tr38901.RMa}[name]
    losses = {"enable_pathloss": False, "enable_shadow_fading": False}
    loss = {} if name == "rma" else {"o2i_model": "low"}
    reference = model(3.5e9, ut_array=array(1), bs_array=array(1), direction="uplink", **losses, **loss)
    places, site, turns, facing, *rest = gen_single_sector_topology(1000, 1, name)
    turns[..., 1:], facing[..., 1:] = 0, 0
    reference.set_topology(places, site, turns, facing, *rest)
    a, tau = reference(1, 1e6)
    plain = delay_spread(a[:, 0, 0, 0, 0, :, 0].abs().square().numpy(), tau[:, 0, 0].numpy())
    ours = delay_spread(*paths(sector(name), 150, seed))
    assert stats.ks_2samp(ours, plain).pvalue > 1e-6
    assert ours.max() < 1e-4  # clusters without power have no delay of seconds


def test_line_of_sight_and_indoors(seed: int) -> None:
    def strongest(**options: Any) -> np.ndarray:
        power, _ = paths(sector("umi", **options), 50, seed)
        return power.max(1) / power.sum(1)

    seen = strongest(line_of_sight=True, indoor_fraction=0.0)
    hidden = strongest(line_of_sight=False, indoor_fraction=0.0)
    indoors = strongest(line_of_sight=True, indoor_fraction=1.0)
    for other in (hidden, indoors):
        assert stats.mannwhitneyu(seen, other, alternative="greater").pvalue < 1e-3


def test_users_move_at_the_speed_asked_for(seed: int) -> None:
    still = sector("umi", speed_kmh=0).cir(seed, 50)[0]
    assert torch.equal(still, still[..., :1].expand_as(still))
    for speed_kmh in (3.0, 100.0):
        channel = sector("umi", speed_kmh=speed_kmh, users=20)
        h = np.stack([a.sum(5)[0, 0, 0, :, 0] for a, _ in drops(channel, 10, seed, symbols=2)])
        change = np.mean(np.abs(h[..., 1] - h[..., 0]) ** 2)
        # A ray turns by at most 2 pi v / lambda in a second; by half of that squared, if they come from all round.
        most = (2 * np.pi * speed_kmh / 3.6 * 3.5e9 / 299_792_458 * channel.symbol_seconds) ** 2
        assert 0.1 * most < change < most


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_drop_starts_like_a_shorter_one(name: str, seed: int) -> None:
    for options in ({}, {"users": 3, "rx_antennas": 5}, {"tx_antennas": 2, "rx_antennas": 2}):
        channel = sector(name, **options)
        a, tau = channel.cir(seed, 56)
        for symbols in (1, 14, 15, 28):
            first, delays = channel.cir(seed, symbols)
            assert torch.equal(first, a[..., :symbols]) and torch.equal(delays, tau)


@pytest.mark.parametrize("options", [{"rx_antennas": 8}, {"tx_antennas": 8, "direction": "downlink"}])
def test_users_of_one_topology_are_told_apart(options: dict[str, Any], seed: int) -> None:
    channel = sector("uma", users=3, detector="lmmse", **options)
    a, tau = channel.cir(seed, 14)
    axis = 3 if channel.direction == "uplink" else 1
    assert a.shape[axis] == 3 and tau.shape == (1, *((1, 3) if axis == 3 else (3, 1)), a.shape[5])
    one, two = a.select(axis, 0), a.select(axis, 1)
    assert not torch.allclose(one, two)
    signs = np.random.default_rng(seed).choice([-1, 1], (4, 200, 2)).astype(np.float32)
    x = torch.from_numpy(signs.view(np.complex64)[..., 0] / np.float32(2**0.5))
    y, no = channel(x, 20.0, seed)
    assert float(((y - x).abs().square() / no).mean()) == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"line_of_sight": "yes"}, "line_of_sight must be true, false or null, not 'yes'"),
        ({"line_of_sight": 1}, "line_of_sight must be"),
        ({"indoor_fraction": 1.5}, "indoor_fraction must be"),
        ({"carrier_ghz": 0.1}, "carrier_ghz must be"),
        (
            {"users": 64, "rx_antennas": 64},
            "drop_slots must be at most 5, not 20, for 4096 pairs of antennas",
        ),
        ({"users": 256, "rx_antennas": 1024}, "drop_slots must be less than 1"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        channels.create("umi", **options)


def test_rural_cells_end_at_30_ghz() -> None:
    with pytest.raises(InputError, match="rma: carrier_ghz must be"):
        channels.create("rma", carrier_ghz=39.0)
