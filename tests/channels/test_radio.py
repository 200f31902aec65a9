"""The link budget against thermal noise, Friis by hand, and Sionna's path loss of the same geometry."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from channels.errors import InputError
from channels.links.radio import PATH_LOSSES, Radio

HEIGHTS = {"umi": 10.0, "uma": 25.0, "rma": 35.0}


def test_thermal_noise_is_minus_174_dbm_per_hertz() -> None:
    assert Radio(bandwidth_mhz=1e-6, noise_figure_db=0).noise_dbm == pytest.approx(-173.975, abs=0.001)
    assert Radio(bandwidth_mhz=20, noise_figure_db=7).noise_dbm == pytest.approx(
        -173.975 + 73.010 + 7, abs=0.001
    )
    colder = Radio(noise_figure_db=0, temperature_k=29).noise_dbm - Radio(noise_figure_db=0).noise_dbm
    assert colder == pytest.approx(-10)


def test_free_space_by_hand() -> None:
    """Friis in engineers' units: 32.45 dB + 20 log10 of km and MHz."""
    for metres, ghz in ((100.0, 3.5), (1.0, 60.0), (36e6, 12.0)):
        loss = Radio(distance_m=metres, carrier_ghz=ghz).path_loss_db
        assert loss == pytest.approx(32.4478 + 20 * np.log10(metres / 1e3 * ghz * 1e3), abs=1e-3)


def test_the_budget_adds_up() -> None:
    radio = Radio(bandwidth_mhz=10, tx_power_dbm=30, antenna_gain_db=8, shadow_margin_db=6, path_loss="uma")
    asked = 30 + 8 - 6 - radio.path_loss_db - radio.noise_dbm
    assert radio.snr_db == pytest.approx(asked)
    assert radio.airtime_s(2_000) == pytest.approx(200e-6)
    assert radio.transmit_energy_j(2_000) == pytest.approx(200e-6)  # 30 dBm are one watt
    # The same energy in half the bandwidth takes twice as long and has 3 dB more SNR.
    half = dataclasses.replace(radio, bandwidth_mhz=5)
    assert half.snr_db - radio.snr_db == pytest.approx(10 * np.log10(2))
    assert half.transmit_energy_j(2_000) == pytest.approx(2 * radio.transmit_energy_j(2_000))


@pytest.mark.parametrize("name", ["umi", "uma", "rma"])
@pytest.mark.parametrize("line_of_sight", [True, False])
def test_sionnas_path_loss(name: str, line_of_sight: bool) -> None:
    from sionna.phy import channel, config

    from channels.draws import sionna_draws

    height, metres = HEIGHTS[name], [10.0, 35.0, 90.0, 250.0, 700.0, 1800.0, 4900.0]
    for ghz in (0.7, 3.5, 28.0):
        array = channel.tr38901.PanelArray(
            num_rows_per_panel=1,
            num_cols_per_panel=1,
            polarization="single",
            polarization_type="V",
            antenna_pattern="omni",
            carrier_frequency=ghz * 1e9,
        )
        options: dict[str, Any] = {} if name == "rma" else {"o2i_model": "low"}
        kind = {"umi": channel.tr38901.UMi, "uma": channel.tr38901.UMa, "rma": channel.tr38901.RMa}[name]
        model = kind(
            carrier_frequency=ghz * 1e9,
            ut_array=array,
            bs_array=array,
            direction="downlink",
            precision="double",
            device="cpu",
            **options,
        )
        count = len(metres)
        real = {"dtype": torch.float64}
        with sionna_draws(1, "radio"):
            model.set_topology(
                ut_loc=torch.tensor([[[d, 0.0, 1.5] for d in metres]], **real),
                bs_loc=torch.tensor([[[0.0, 0.0, height]]], **real),
                ut_orientations=torch.zeros(1, count, 3, **real),
                bs_orientations=torch.zeros(1, 1, 3, **real),
                ut_velocities=torch.zeros(1, count, 3, **real),
                in_state=torch.zeros(1, count, dtype=torch.bool),
                los=line_of_sight,
            )
        expected = model._scenario.basic_pathloss[0, 0].tolist()
        for distance, loss in zip(metres, expected, strict=True):
            radio = Radio(distance_m=distance, carrier_ghz=ghz, path_loss=name, line_of_sight=line_of_sight)
            assert radio.path_loss_db == pytest.approx(loss, abs=2e-3), (ghz, distance)
    assert config.device == "cpu"


@pytest.mark.parametrize("name", PATH_LOSSES)
@pytest.mark.parametrize("line_of_sight", [True, False])
def test_distance_for_inverts_the_snr(name: str, line_of_sight: bool) -> None:
    if name == "free-space" and not line_of_sight:
        return
    radio = Radio(path_loss=name, line_of_sight=line_of_sight)
    for distance in (10.0, 33.0, 420.0, 4900.0):
        at = dataclasses.replace(radio, distance_m=distance)
        assert radio.distance_for(at.snr_db) == pytest.approx(distance, rel=1e-6)
        assert dataclasses.replace(at, distance_m=radio.distance_for(at.snr_db)).snr_db >= at.snr_db - 1e-9


@pytest.mark.parametrize("name", PATH_LOSSES)
def test_farther_is_never_better(name: str) -> None:
    for ghz in (0.5, 3.5, 28.0):
        radios = [
            Radio(
                path_loss=name,
                line_of_sight=los or name == "free-space",
                carrier_ghz=ghz,
                distance_m=float(d),
            )
            for los in (True, False)
            for d in np.geomspace(10.001, 4999, 200)
        ]
        loss = np.array([r.path_loss_db for r in radios]).reshape(2, -1)
        assert (np.diff(loss, axis=1) > 0).all() and (loss[1] >= loss[0]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path_loss": "umz"}, "unknown path loss 'umz'. Did you mean 'um"),
        ({"path_loss": []}, r"unknown path loss \[\]"),
        ({"distance_m": 9.0, "path_loss": "umi"}, "distance_m must be a number >= 10 and <= 5000, not 9"),
        ({"distance_m": 6e3, "path_loss": "rma", "line_of_sight": False}, "distance_m must be .* <= 5000"),
        ({"distance_m": 0.0}, "distance_m must be a number >= 0.0856"),
        ({"distance_m": float("nan")}, "distance_m must be"),
        ({"carrier_ghz": 60.0, "path_loss": "rma"}, "carrier_ghz must be a number >= 0.5 and <= 30"),
        ({"carrier_ghz": 0.1, "path_loss": "umi"}, "carrier_ghz must be"),
        ({"bandwidth_mhz": 0}, "bandwidth_mhz must be"),
        ({"tx_power_dbm": float("inf")}, "tx_power_dbm must be"),
        ({"noise_figure_db": -1}, "noise_figure_db must be"),
        ({"temperature_k": 0}, "temperature_k must be"),
        ({"antenna_gain_db": "high"}, "antenna_gain_db must be"),
        ({"shadow_margin_db": None}, "shadow_margin_db must be"),
        ({"line_of_sight": "no", "path_loss": "umi"}, "line_of_sight must be true or false"),
        ({"line_of_sight": False}, "free space has a line of sight"),
    ],
)
def test_bad_radios(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Radio(**options)


@pytest.mark.parametrize("channel_uses", ["x", None, float("nan"), -1])
def test_bad_channel_uses(channel_uses: Any) -> None:
    for duration in (Radio().airtime_s, Radio().transmit_energy_j, lambda n: Radio().drawn_energy_j(n, 10.0)):
        with pytest.raises(InputError, match="channel_uses must be a number >= 0"):
            duration(channel_uses)


def test_an_snr_out_of_reach() -> None:
    radio = Radio(path_loss="umi", line_of_sight=False)
    for snr_db in (500.0, -500.0, float("nan")):
        with pytest.raises(InputError, match="snr_db must be a number"):
            radio.distance_for(snr_db)


def test_it_is_a_value() -> None:
    radio = Radio(path_loss="uma", distance_m=250)
    assert pickle.loads(pickle.dumps(radio)) == radio and hash(radio) == hash(dataclasses.replace(radio))
    with pytest.raises(dataclasses.FrozenInstanceError):
        radio.distance_m = 3.0  # type: ignore[misc]
