"""Ray tracing: geometry where the machine can trace rays; a clear error, and no crash, where it cannot."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import channels
from channels.draws import row_seeds
from channels.errors import InputError
from channels.ofdm.probe import ray_tracing_missing
from channels.ofdm.raytraced import RayTraced

LIGHT = 299_792_458.0


def traced(**options: Any) -> RayTraced | None:
    """The channel; where this machine cannot trace rays, None, once its error has been found to be clear."""
    if ray_tracing_missing() is None:
        channel = channels.create("raytraced", **options)
        assert isinstance(channel, RayTraced)
        return channel
    with pytest.raises(InputError, match=r"raytraced: rays cannot be traced .* DRJIT_LIBLLVM_PATH"):
        channels.create("raytraced", **options)
    return None


def test_a_machine_without_llvm_gets_an_error_and_no_crash() -> None:
    code = """
import channels, sys
try:
    channels.create("raytraced")
except channels.InputError as error:
    print(error)
print("sionna.rt" in sys.modules)
"""
    nothing = {"DRJIT_LIBLLVM_PATH": "/nonexistent", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | nothing
    )
    said, imported = run.stdout.splitlines()
    assert "raytraced: rays cannot be traced on this machine: found no usable LLVM library" in said
    assert "libllvm19" in said and "DRJIT_LIBLLVM_PATH=/nonexistent" in said
    assert imported == "False"


def test_line_of_sight_alone_has_one_path_of_power_one(seed: int) -> None:
    channel = traced(max_depth=0, area="20 3 20 3", speed_kmh=50, rx_antennas=2)
    if channel is None:
        return
    a, tau = channel.cir(seed, 100)
    assert a.shape == (1, 1, 2, 1, 1, 1, 100) and torch.equal(tau, torch.zeros(1, 1, 1, 1))
    assert torch.allclose(a.abs(), torch.ones(()), atol=1e-5)
    h = a[0, 0, 0, 0, 0, 0].numpy()
    turns = np.angle(h[1:] / h[:-1])
    most = 2 * np.pi * 50 / 3.6 * 3.5e9 / LIGHT * channel.symbol_seconds
    assert np.ptp(turns) < 1e-3 and abs(turns.mean()) <= most


def test_the_echo_from_the_ground_comes_when_it_should(seed: int) -> None:
    channel = traced(max_depth=1, site="-33 0 25", area="27 0 27 0", height_m=2.0)
    if channel is None:
        return
    direct, echo = np.hypot(60, 25 - 2), np.hypot(60, 25 + 2)
    _, tau = channel.cir(seed, 1)
    expected = (echo - direct) / LIGHT
    # The ground of the scene is 3 cm below zero, or at zero: 1.5 cm of path at most.
    assert float((tau - expected).abs().min()) < 0.03 / LIGHT
    assert float(tau.min()) == 0


def test_power_is_one_at_every_place_and_places_differ(seed: int) -> None:
    channel = traced(rx_antennas=2)
    if channel is None:
        return
    a = [channel.cir(s, 1)[0][0, 0, :, 0, 0, :, 0].numpy() for s in row_seeds(seed, 60)]
    assert [np.sum(np.abs(h) ** 2) for h in a] == pytest.approx([2] * 60, rel=1e-5)
    gain = np.array([np.mean(np.abs(h.sum(1)) ** 2) for h in a], np.float64)
    assert gain.mean() == pytest.approx(1, abs=5 * gain.std() / 60**0.5)
    assert len({h.shape for h in a}) > 1


def test_rows_depend_on_their_seeds_alone(seed: int) -> None:
    channel = traced()
    if channel is None:
        return
    import drjit

    x, seeds = torch.ones(3, 40, dtype=torch.complex64), row_seeds(seed, 3)
    y, no = channel(x, 10.0, seeds)
    threads, before = drjit.thread_count(), torch.get_num_threads()
    drjit.set_thread_count(2)
    torch.set_num_threads(2)
    again = pickle.loads(pickle.dumps(channel))(x[[2, 0]], 10.0, [seeds[2], seeds[0]])
    torch.set_num_threads(before)
    assert drjit.thread_count() == 2
    drjit.set_thread_count(threads)
    assert torch.equal(again[0], y[[2, 0]]) and torch.equal(again[1], no[[2, 0]])
    long, short = channel.cir(seed, 42)[0], channel.cir(seed, 14)[0]
    assert torch.equal(long[..., :14], short)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"users": 2, "rx_antennas": 4}, (1, 1, 4, 2, 1)),
        ({"users": 2, "tx_antennas": 4, "direction": "downlink"}, (1, 2, 1, 1, 4)),
        ({"tx_antennas": 2, "rx_antennas": 3}, (1, 1, 3, 1, 2)),
        ({"tx_antennas": 2, "rx_antennas": 3, "direction": "downlink"}, (1, 1, 3, 1, 2)),
    ],
)
def test_antennas_and_users(options: dict[str, Any], shape: tuple[int, ...], seed: int) -> None:
    channel = traced(**options)
    if channel is None:
        return
    a, tau = channel.cir(seed, 14)
    assert a.shape[:5] == shape and tau.shape == (1, shape[1], shape[3], a.shape[5])
    power = a[..., 0].abs().square().sum(5)
    assert torch.allclose(power, torch.ones(()), atol=1e-5)


def test_places_out_of_reach_are_an_error(seed: int) -> None:
    channel = traced(height_m=-20.0, max_depth=0)
    if channel is None:
        return
    with pytest.raises(InputError, match=r"no ray of depth 0 .* height_m=-20.0; choose another area"):
        channel.cir(seed, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scene": "munchen"}, "Did you mean 'munich'"),
        ({"scene": "/nowhere/town.xml"}, "scene '/nowhere/town.xml' is not a file"),
        ({"scene": 3}, "unknown scene"),
        ({"site": "1 2"}, "site must be numbers 'x y z' in metres, not '1 2'"),
        ({"site": "1 2 high"}, "site must be"),
        ({"area": "0 0 nan 1"}, "area must be numbers"),
        ({"area": "5 0 0 5"}, "area must have x0 <= x1"),
        ({"area": None}, "area must be"),
        ({"max_depth": 1.5}, "max_depth must be"),
        ({"height_m": "low"}, "height_m must be"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        channels.create("raytraced", **options)
