"""The resource grid against counting by hand, and against Sionna's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import channels
from channels.errors import InputError
from channels.ofdm.grid import DATA, PILOTS, Grid, linear


def test_uses_counted_by_hand() -> None:
    channel = channels.create("tdl")
    # 76 - 3 - 1 = 72 used subcarriers, 12 OFDM symbols of data: 864. A slot costs 14 * (76 + 6) = 1148.
    expected = {0: 0, 1: 2, 3: 4, 864: 1148, 865: 1150, 1728: 2296}
    assert {n: channel.uses(n) for n in expected} == expected
    whole = channels.create("tdl", charge="slots")
    expected = {0: 0, 1: 1148, 864: 1148, 865: 2296}
    assert {n: whole.uses(n) for n in expected} == expected
    # 128 - 8 - 1 = 119 used; 12 * 119 = 1428 places for 4 symbols each; a slot costs 14 * (128 + 9) = 1918.
    options = {
        "subcarriers": 128,
        "guard_carriers": 8,
        "cyclic_prefix": 9,
        "tx_antennas": 4,
        "rx_antennas": 4,
    }
    channel = channels.create("tdl", **options)
    expected = {0: 0, 1: 1, 3: 2, 4: 2, 5712: 1918, 5713: 1919}
    assert {n: channel.uses(n) for n in expected} == expected
    # Users share the resource elements: the message has one symbol on each.
    channel = channels.create("tdl", users=4, rx_antennas=8)
    assert channel.uses(864) == 1148


@pytest.mark.parametrize("charge", ["shared", "slots"])
def test_uses_never_fall(charge: str) -> None:
    channel = channels.create("tdl", charge=charge, tx_antennas=2, rx_antennas=2, subcarriers=20)
    uses = [channel.uses(n) for n in range(2000)]
    assert uses == sorted(uses) and uses[0] == 0 and all(u >= n / 2 for n, u in enumerate(uses))
    channel = channels.create("tdl", charge=charge, subcarriers=20)
    for n in range(0, 2000, 37):
        assert channel.symbols(channel.uses(n)) >= n and channel.uses(channel.symbols(n)) <= n


@pytest.mark.parametrize(("subcarriers", "guards"), [(76, 3), (64, 11), (13, 2)])
def test_layout_is_that_of_sionna(subcarriers: int, guards: int) -> None:
    from sionna.phy.ofdm import ResourceGrid

    grid = Grid(subcarriers, guards, 4, combs=1)
    theirs = ResourceGrid(
        14,
        subcarriers,
        30e3,
        cyclic_prefix_length=4,
        num_guard_carriers=(-(-guards // 2), guards // 2),
        dc_null=True,
        pilot_pattern="kronecker",
        pilot_ofdm_symbol_indices=list(PILOTS),
        device="cpu",
    )
    assert np.array_equal(grid.used, theirs.effective_subcarrier_ind)
    assert grid.data == theirs.num_data_symbols
    assert grid.slot_uses == theirs.num_time_samples


def test_combs_cover_the_band_and_do_not_collide() -> None:
    grid = Grid(76, 3, 6, combs=5)
    pilots = np.concatenate([grid.used[comb::5] for comb in range(5)])
    assert sorted(pilots) == list(grid.used)


@pytest.mark.parametrize("combs", [1, 4])
def test_interpolation_is_that_of_sionna(combs: int, seed: int) -> None:
    """Below DC; Sionna counts used subcarriers, and so takes the two beside DC for neighbours."""
    from sionna.phy.ofdm import LinearInterpolator, ResourceGrid

    grid = Grid(76, 3, 6, combs)
    theirs = ResourceGrid(
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
    rng = np.random.default_rng(seed)
    known = rng.standard_normal((combs, 2, 72 // combs)) + 1j * rng.standard_normal((combs, 2, 72 // combs))
    at_pilots = np.zeros((combs, 2, 72), np.complex64)  # zeros where the other combs send
    for comb in range(combs):
        at_pilots[comb, :, comb::combs] = known[comb]
    given = torch.from_numpy(at_pilots.reshape(1, 1, 1, 1, combs, -1))
    interpolated, _ = LinearInterpolator(theirs.pilot_pattern, device="cpu")(given, torch.ones(given.shape))
    below = 36 - combs if combs > 1 else 72
    for comb in range(combs):
        ours = grid.over_time @ known[comb] @ grid.over_frequency(comb).T
        assert np.allclose(ours[:, :below], interpolated[0, 0, 0, 0, comb][list(DATA), :below], atol=1e-4)


def test_interpolation_is_exact_for_straight_lines() -> None:
    grid = Grid(76, 3, 6, combs=7)
    for comb in range(7):
        line = 0.3 - 0.02 * grid.used
        assert np.allclose(grid.over_frequency(comb) @ line[comb::7], line)
    assert np.allclose(grid.over_time @ np.array([2.0, 11.0]), DATA)
    assert np.array_equal(linear(np.arange(5), np.array([3])), np.ones((5, 1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guard_carriers": 75}, "tdl: guard_carriers=75 and DC leave 0 of 76 subcarriers"),
        ({"guard_carriers": -1}, "guard_carriers must be a whole number >= 0"),
        ({"subcarriers": 7.5}, "tdl: subcarriers must be a whole number >= 2"),
        ({"subcarriers": 8, "cyclic_prefix": 9}, "cyclic_prefix must be a whole number >= 0 and <= 8, not 9"),
        ({"charge": "share"}, "unknown charge of channel 'tdl': 'share'. Did you mean 'shared'"),
        ({"csi": "estimate"}, "Did you mean 'estimated'"),
        ({"csi": "estimated", "subcarriers": 8, "users": 5, "rx_antennas": 8}, r"5 stream\(s\) need"),
        ({"speed_kmh": -3}, "speed_kmh must be a number >= 0"),
        ({"carrier_ghz": 3500}, "carrier_ghz must be a number >= 0.5 and <= 100, not 3500"),
        ({"detector": "mmse"}, "Did you mean 'lmmse'"),
        ({"detector": "zf", "tx_antennas": 4, "rx_antennas": 2}, "tx_antennas=4 exceeds rx_antennas=2"),
        ({"detector": "zf", "users": 4, "rx_antennas": 2}, "users=4 exceeds rx_antennas=2"),
        (
            {"direction": "downlink", "precoder": "zf", "users": 4, "tx_antennas": 2},
            "users=4 exceeds tx_antennas=2",
        ),
        ({"users": 2, "tx_antennas": 2}, "tx_antennas must be 1, not 2, in the uplink of 2 users"),
        ({"users": 2, "rx_antennas": 2, "direction": "downlink"}, "rx_antennas must be 1, not 2"),
        ({"precoder": "mmse", "direction": "downlink"}, "unknown precoder of channel 'tdl': 'mmse'"),
        ({"direction": "up"}, "unknown direction of channel 'tdl': 'up'. Did you mean 'uplink'"),
        ({"model": "F"}, "unknown model of channel 'tdl': 'F'. Known: A, B, C, D, E"),
        (
            {"delay_spread_ns": 3000},
            r"delay_spread_ns must be at most the cyclic prefix \(2632 ns\), not 3000",
        ),
        ({"correlation": 1}, "correlation must be a number >= 0"),
        ({"drop_slots": 0}, "drop_slots must be a whole number >= 1"),
        ({"rx_antennas": 1024, "tx_antennas": 8}, "drop_slots must be at most 1 for 8192 pairs"),
        ({"users": True}, "users must be"),
        ({"sped_kmh": 3}, "Did you mean 'speed_kmh'"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        channels.create("tdl", **options)
