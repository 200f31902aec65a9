"""What every channel promises to its callers, whatever its physics."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import channels
from channels.draws import complex_normal, generator
from channels.errors import InputError

NAMES = [name for name in channels.available() if "needs" not in channels.CHANNELS[name].facts]
FADING = [name for name in NAMES if channels.CHANNELS[name].facts["family"] != "erasure"]
HEAVY = {"umi", "uma", "rma", "cdl"}  # whole sectors and antenna panels: fewer rows


def symbols(batch: int, n: int, seed: int) -> torch.Tensor:
    """Random QPSK, which every channel carries: [batch, n]."""
    signs = np.random.default_rng(seed).choice([-1, 1], (batch, n, 2)).astype(np.float32)
    return torch.from_numpy(signs.view(np.complex64)[..., 0] / np.float32(2**0.5))


@pytest.mark.parametrize("name", NAMES)
def test_results_do_not_depend_on_the_batch(name: str, seed: int) -> None:
    channel, rng = channels.create(name), np.random.default_rng(seed)
    for n in (5, 37) if name in HEAVY else (1, 5, 37, 200):
        x = symbols(9, n, seed)
        seeds = [int(s) for s in rng.integers(2**63, size=9)]
        snr_db = rng.uniform(-5, 20, 9)
        y, no = channel(x, snr_db, seeds)
        llr, bits = channel.llr(x, snr_db, seeds, 2), channel.information(n, snr_db, seeds)
        order = rng.permutation(9)
        for part in np.split(order, np.sort(rng.integers(1, 9, 2))):
            if len(part):
                some = snr_db[part], [seeds[i] for i in part]
                y_part, no_part = channel(x[part], *some)
                assert torch.equal(y_part, y[part]) and torch.equal(no_part, no[part])
                assert torch.equal(channel.llr(x[part], *some, 2), llr[part])
                assert torch.equal(channel.information(n, *some), bits[part])


@pytest.mark.parametrize("name", NAMES)
def test_results_do_not_depend_on_threads(name: str, seed: int) -> None:
    channel, x = channels.create(name), symbols(2, 700, seed)
    one = channel(x, 7.0, seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    two = channel(x, 7.0, seed)
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_row_starts_like_a_shorter_one(name: str, seed: int) -> None:
    """Exactly over flat channels; where symbols are detected together, up to rounding and in whole uses."""
    flat = channels.CHANNELS[name].facts["family"] in ("flat", "erasure")
    channel = channels.create(
        name, **({"coherence": 3} if "coherence" in channels.CHANNELS[name].options else {})
    )
    x = symbols(1, 400, seed)
    y, no = channel(x, 5.0, seed)
    for n in (1, 2, 10, 15, 399) if flat else (8, 120, 392):
        y_short, no_short = channel(x[:, :n], 5.0, seed)
        tolerance = {} if flat else {"rtol": 1e-3, "atol": 1e-3}
        exact = torch.equal if flat else lambda a, b: torch.allclose(a, b, **tolerance)  # noqa: B023
        assert exact(y_short, y[:, :n]) and exact(no_short, no[:, :n])


@pytest.mark.parametrize("name", NAMES)
def test_noise_has_the_variance_that_is_said(name: str, seed: int) -> None:
    """E |y - x|^2 / no = 1: decoders are told the truth."""
    rows = 60 if name in HEAVY else 400
    channel, x = channels.create(name), symbols(rows, 60, seed)
    for snr_db in (-3.0, 12.0):
        y, no = channel(x, snr_db, seed)
        if (
            name == "bsc"
        ):  # a sign is right or wrong: its errors, not its variance, are tested in test_physics
            continue
        ratio = ((y - x).abs().square() / no).double().mean(dim=1)
        assert float(ratio.mean()) == pytest.approx(1, abs=5 * float(ratio.std()) / rows**0.5)


@pytest.mark.parametrize("name", FADING)
def test_asked_power_is_received_power(name: str, seed: int) -> None:
    """E |h|^2 = 1 per receive antenna for a total transmit power of 1: the asked SNR is the SNR that is met."""
    rows = 100 if name in HEAVY else 1000
    channel = channels.create(name)
    gain = torch.cat(
        [channel.gain(20, [seed + i for i in range(j, j + 20)]).double() for j in range(0, rows, 20)]
    )
    assert gain.shape == (rows,) and bool((gain >= 0).all())
    assert float(gain.mean()) == pytest.approx(1, abs=max(5 * float(gain.std()) / rows**0.5, 1e-4))


@pytest.mark.parametrize("name", NAMES)
def test_snr_changes_the_output(name: str, seed: int) -> None:
    channel, x = channels.create(name), symbols(1, 60, seed).expand(2, -1)
    y, no = channel(x, [-2.0, 18.0], [seed, seed])
    assert bool((no[0] > 1.5 * no[1]).any()) and bool((no[0] >= no[1]).all())
    assert not torch.equal(y[0], y[1])
    assert float((y[0] - x[0]).abs().square().mean()) > float((y[1] - x[1]).abs().square().mean())


@pytest.mark.parametrize("name", NAMES)
def test_every_channel_use_has_a_purpose(name: str, seed: int) -> None:
    channel = channels.create(name)
    rng = np.random.default_rng(seed)
    payload, block = (
        rng.bytes(int(rng.integers(1, 90))),
        symbols(1, int(rng.integers(1, 300)), seed)[0].numpy(),
    )
    for ledger, uses in (
        (
            channels.DigitalLink(channel).send([payload], 9.0, seed)[0].ledger,
            channels.DigitalLink(channel).uses(len(payload)),
        ),
        (
            channels.AnalogLink(channel).send([block], 9.0, seed)[0].ledger,
            channels.AnalogLink(channel).uses(len(block)),
        ),
    ):
        purposes = dataclasses.astuple(ledger)[:-1]
        assert min(purposes) >= 0 and sum(purposes) == pytest.approx(uses) and ledger.channel_uses == uses


@pytest.mark.parametrize("name", NAMES)
def test_nothing_beats_the_capacity_of_its_realisation(name: str, seed: int) -> None:
    channel, count = channels.create(name), 40 if name in HEAVY else 200
    payloads = [np.random.default_rng(seed + i).bytes(20) for i in range(count)]
    snrs = [float(s) for s in np.random.default_rng(seed).uniform(-8, 12, count)]
    coded, ideal = (
        channels.DigitalLink(channel, "qpsk", 0.8, coding).send(payloads, snrs, seed)
        for coding in ("ldpc", "ideal")
    )
    assert sum(r.ok for r in ideal) > 0
    # Right bytes, not a CRC that passed by chance.
    beaten = [p for p, c, i in zip(payloads, coded, ideal, strict=True) if c.payload == p and not i.ok]
    assert not beaten


@pytest.mark.parametrize("name", NAMES)
def test_channels_travel_to_other_processes(name: str, seed: int) -> None:
    channel, x = channels.create(name), symbols(2, 20, seed)
    y, no = channel(x, 5.0, seed)  # whatever it keeps from its first use must not get in the way
    copy = pickle.loads(pickle.dumps(channel))
    assert repr(copy) == repr(channel)
    again = copy(x, 5.0, seed)
    assert torch.equal(again[0], y) and torch.equal(again[1], no)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_printed_and_no_global_state_is_touched(
    name: str, seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    from sionna.phy import config

    torch.manual_seed(1)
    config.seed = 1
    before = torch.get_rng_state(), config.torch_rng().get_state()
    channels.create(name)(symbols(2, 20, seed), 5.0, seed)
    after = torch.get_rng_state(), config.torch_rng().get_state()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert capfd.readouterr() == ("", "")


def test_rows_of_one_seed_differ_and_row_zero_has_the_seed_itself(seed: int) -> None:
    channel, x = channels.create("rayleigh"), symbols(3, 20, seed)
    y, _ = channel(x, 5.0, seed)
    first, _ = channel(x[:1], 5.0, [seed])
    assert torch.equal(y[0], first[0])
    noise = y - x
    assert not torch.equal(noise[0], noise[1]) and not torch.equal(noise[1], noise[2])


def test_purposes_and_seeds_are_independent_streams(seed: int) -> None:
    draws = [complex_normal(generator(seed + i, p), 1000) for i in (0, 1) for p in ("noise", "fading")]
    for i, a in enumerate(draws):
        for b in draws[:i]:
            assert abs(np.vdot(a, b)) / 1000 < 5 / 1000**0.5


def test_global_random_state_is_neither_read_nor_changed(seed: int) -> None:
    from sionna.phy import config

    link = channels.DigitalLink(channels.create("rayleigh"), "qam16")

    def send() -> list[channels.Reception]:
        return link.send([b"0123456789"] * 4, 8.0, seed)

    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    config.seed = 1
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), config.torch_rng().get_state()  # noqa: NPY002
    first = send()
    after = torch.get_rng_state(), np.random.get_state()[1], config.torch_rng().get_state()  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    torch.manual_seed(2)
    config.seed = 2
    assert send() == first


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_transmitter(name: str, seed: int) -> None:
    x = symbols(2, 50, seed).requires_grad_()
    if not channels.create(name).differentiable:
        assert not channels.create(name)(x, 10.0, seed)[0].requires_grad
        return
    for power in ("check", "normalise"):
        y, no = channels.create(name)(x, 10.0, seed, power=power)
        (gradient,) = torch.autograd.grad((y.abs().square() / no).sum(), x)
        assert bool(gradient.isfinite().all()) and bool((gradient.abs() > 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_symbols_is_the_inverse_of_uses(name: str) -> None:
    channel = channels.create(name)
    for n in (0, 1, 2, 13, 1000):
        assert channel.symbols(channel.uses(n)) >= n
        assert channel.uses(channel.symbols(n)) <= n
    costs = [channel.uses(n) for n in range(200)]
    assert costs == sorted(costs) and costs[0] == 0 and costs[1] > 0
    assert channel.symbols(-5) == 0


def test_power_is_checked_or_normalised(seed: int) -> None:
    channel, x = channels.create("awgn"), symbols(3, 400, seed)
    bad = x * torch.tensor([[1.0], [2.0], [1.0]])
    with pytest.raises(InputError, match="row 1 of x has mean power 4"):
        channel(bad, 10.0, seed)
    y, _ = channel(bad, 10.0, seed, power="normalise")
    assert torch.allclose(y, channel(x, 10.0, seed)[0], atol=1e-5)
    y, _ = channel(bad, 10.0, seed, power="trust")
    assert torch.allclose(y[1] - channel(x, 10.0, seed)[0][1], x[1], atol=1e-5)
    with pytest.raises(InputError, match="cannot be normalised"):
        channel(0 * x, 10.0, seed, power="normalise")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"snr_db": float("nan")}, "snr_db must be finite"),
        ({"snr_db": float("inf")}, "snr_db must be finite"),
        ({"snr_db": [1.0, 2.0, 3.0]}, "snr_db has shape"),
        ({"snr_db": "loud"}, "snr_db must be a number"),
        ({"seed": [1, 2, 3]}, "seed has 3 integers for 2 rows"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"seed": None}, "seed must be an integer"),
        ({"x": torch.ones(2, 8)}, "x must be a complex tensor"),
        ({"x": torch.ones(8, dtype=torch.complex64)}, "x must be a complex tensor"),
        ({"x": torch.ones(2, 0, dtype=torch.complex64)}, "x must be a complex tensor"),
        ({"x": torch.full((2, 8), torch.nan, dtype=torch.complex64)}, "mean power nan"),
        ({"power": "loud"}, "power must be"),
    ],
)
def test_bad_calls(arguments: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"x": torch.ones(2, 8, dtype=torch.complex64), "snr_db": 5.0, "seed": 1}
    with pytest.raises(InputError, match=message):
        channels.create("rayleigh")(**(good | arguments))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("raleigh", {}, "Did you mean 'rayleigh'"),
        ([], {}, r"unknown channel \[\]"),
        ("rayleigh", {"csi": []}, r"unknown csi of channel 'rayleigh': \[\]"),
        ("tdl", {"model": {}}, "unknown model of channel 'tdl'"),
        ("mimo", {"detector": []}, "unknown detector of channel 'mimo'"),
        ("rayleigh", {"coherance": 3}, "Did you mean 'coherence'"),
        ("rayleigh", {"coherence": -1}, "coherence must be a whole number >= 1, not -1"),
        ("rayleigh", {"coherence": 0}, "coherence must be"),
        ("rayleigh", {"coherence": 2.5}, "coherence must be"),
        ("rayleigh", {"coherence": True}, "coherence must be"),
        ("rayleigh", {"k_db": 3}, "option"),
        ("awgn", {"coherence": 3}, "option"),
        ("rician", {"k_db": float("nan")}, "k_db must be"),
        ("rician", {"k_db": "high"}, "k_db must be"),
        ("nakagami", {"m": 0.4}, "m must be a number >= 0.5"),
    ],
)
def test_bad_options(name: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        channels.create(name, **options)


def test_heavy_libraries_are_imported_at_first_use() -> None:
    code = "import channels, sys; channels.create('rayleigh'); print({'torch', 'sionna', 'scipy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
