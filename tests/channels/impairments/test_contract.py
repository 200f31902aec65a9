"""An impaired channel keeps what every channel promises."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import channels
from channels.errors import InputError
from channels.impairments import IMPAIRMENTS, Impaired, impaired
from channels.impairments.cfo import CFO
from channels.impairments.pa import PowerAmplifier
from channels.modem import modem
from tests.channels.impairments.symbols import Wire, gaussian, qam, seeds

NAMES = sorted(IMPAIRMENTS)
ALL: list[str | dict[str, Any]] = [*NAMES, {"name": "iq-imbalance", "side": "receiver"}]
CHAINS = [*([name] for name in NAMES), ALL]
WAVEFORMS = ["single-carrier", "ofdm"]


def test_registry() -> None:
    assert {"cfo", "phase-noise", "iq-imbalance", "pa", "adc", "interference"} <= set(NAMES)
    for name in NAMES:
        assert IMPAIRMENTS.create(name).side == IMPAIRMENTS[name].facts["side"]
        assert 10 < len(IMPAIRMENTS[name].summary) < 120


@pytest.mark.parametrize("waveform", WAVEFORMS)
@pytest.mark.parametrize("specs", CHAINS, ids=str)
def test_results_do_not_depend_on_the_batch(specs: list[Any], waveform: str, seed: int) -> None:
    channel, rng = (
        impaired(channels.create("rayleigh", coherence=16), specs, waveform),
        np.random.default_rng(seed),
    )
    for n in (1, 5, 37, 200):
        x, snr_db, each = gaussian(9, n, seed), rng.uniform(-5, 20, 9), seeds(9, seed)
        y, no = channel(x, snr_db, each, power="trust")
        assert y.dtype == torch.complex64 and no.dtype == torch.float32 and y.shape == no.shape == x.shape
        order = rng.permutation(9)
        for part in np.split(order, np.sort(rng.integers(1, 9, 2))):
            if len(part):
                again = channel(x[part], snr_db[part], [each[i] for i in part], power="trust")
                assert torch.equal(again[0], y[part]) and torch.equal(again[1], no[part])


@pytest.mark.parametrize("waveform", WAVEFORMS)
def test_results_do_not_depend_on_the_threads(waveform: str, seed: int) -> None:
    channel, x = impaired(channels.create("awgn"), ALL, waveform), gaussian(1, 100_000, seed)
    y, no = channel(x, 10.0, seed, power="trust")
    torch.set_num_threads(3)
    try:
        again = channel(x, 10.0, seed, power="trust")
    finally:
        torch.set_num_threads(1)
    assert torch.equal(again[0], y) and torch.equal(again[1], no)


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_row_starts_like_a_shorter_one(name: str, seed: int) -> None:
    channel, x = impaired(channels.create("rayleigh", coherence=3), [name]), gaussian(1, 400, seed)
    long = channel.realise(400, [seed]).rows[0]
    y, _ = channel(x, 5.0, seed, power="trust")
    for n in (1, 2, 10, 64, 399):
        short = channel.realise(n, [seed]).rows[0]
        assert short.phase == long.phase and torch.equal(short.filler, long.filler)
        for some, more in zip(short.impairments, long.impairments, strict=True):
            assert (some is None and more is None) or torch.equal(some, more[:n])  # type: ignore[arg-type, index]
        if name not in ("pa", "adc"):  # one keeps the power of the whole row; one magnifies rounding
            again, _ = channel(x[:, :n], 5.0, seed, power="trust")
            assert torch.allclose(
                again, y[:, :n], rtol=1e-5
            )  # same draws; torch rounds the end of a row differently


def test_global_random_state_is_neither_read_nor_changed(seed: int) -> None:
    channel, x = impaired(channels.create("rayleigh"), ALL, "ofdm"), gaussian(2, 100, seed)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = channel(x, 8.0, seed, power="trust")[0]
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    torch.manual_seed(2)
    assert torch.equal(channel(x, 8.0, seed, power="trust")[0], first)


def test_inner_channel_draws_what_it_draws_alone(seed: int) -> None:
    inner, x, no = channels.create("rayleigh"), gaussian(4, 100, seed), torch.full((4, 1), 0.1)
    each = seeds(4, seed)
    realisation = impaired(inner, ALL).realise(100, each)
    for mine, alone in zip(
        inner.apply(x, realisation.inner, no), inner.apply(x, inner.realise(100, each), no), strict=True
    ):
        assert torch.equal(mine, alone)


@pytest.mark.parametrize("waveform", WAVEFORMS)
@pytest.mark.parametrize("name", ["awgn", "rayleigh", "jakes", "tdl"])
def test_no_impairment_changes_nothing(name: str, waveform: str, seed: int) -> None:
    inner, x = channels.create(name), gaussian(3, 150, seed)
    channel = impaired(inner, [], waveform)
    for mine, alone in zip(channel(x, 7.0, seed, "trust"), inner(x, 7.0, seed, "trust"), strict=True):
        assert torch.equal(mine, alone)
    assert channel.uses(150) == inner.uses(150) and channel.name == inner.name
    assert torch.equal(
        channel.llr(qam(3, 150, seed, 4), 7.0, seed, 4), inner.llr(qam(3, 150, seed, 4), 7.0, seed, 4)
    )


VANISHING = [
    {"name": "cfo", "offset": 0.0},
    {"name": "phase-noise", "linewidth": 0.0},
    {"name": "iq-imbalance", "gain_db": 0.0, "phase_deg": 0.0},
    {"name": "iq-imbalance", "gain_db": 0.0, "phase_deg": 0.0, "side": "receiver"},
    {"name": "pa", "backoff_db": 60.0},
    {"name": "adc", "bits": 16},
    {"name": "interference", "sir_db": 100.0},
]


@pytest.mark.parametrize("waveform", WAVEFORMS)
@pytest.mark.parametrize("specs", [*([spec] for spec in VANISHING), VANISHING], ids=str)
def test_vanishing_impairments_vanish(specs: list[Any], waveform: str, seed: int) -> None:
    x = gaussian(3, 150, seed)
    for name in ("awgn", "rayleigh", "tdl"):
        inner = channels.create(name)
        y, no = impaired(inner, specs, waveform)(x, 10.0, seed, "trust")
        y_inner, no_inner = inner(x, 10.0, seed, "trust")
        assert torch.allclose(no, no_inner, rtol=1e-3)
        assert float(((y - y_inner).abs().square() / no_inner).mean()) < 1e-4


@pytest.mark.parametrize("waveform", WAVEFORMS)
@pytest.mark.parametrize("specs", CHAINS, ids=str)
def test_snr_changes_the_output(specs: list[Any], waveform: str, seed: int) -> None:
    channel, x = impaired(channels.create("rayleigh"), specs, waveform), gaussian(2, 300, seed)
    y, no = channel(x[:1].expand(2, -1), [0.0, 20.0], [seed, seed], "trust")
    error = (y - x[:1]).abs().square().mean(dim=1)
    assert float(error[0]) > 1.5 * float(error[1]) and bool((no[0] > no[1]).all())


@pytest.mark.parametrize("waveform", WAVEFORMS)
@pytest.mark.parametrize("specs", CHAINS, ids=str)
def test_gradients_reach_the_transmitter(specs: list[Any], waveform: str, seed: int) -> None:
    x = gaussian(2, 100, seed).requires_grad_()
    y, no = impaired(channels.create("rayleigh"), specs, waveform)(x, 10.0, seed, power="normalise")
    (gradient,) = torch.autograd.grad((y.abs().square() / no).sum(), x)
    assert bool(gradient.isfinite().all()) and bool((gradient.abs() > 0).all())


def test_gradients_are_finite_where_a_symbol_is_zero(seed: int) -> None:
    x = gaussian(1, 20, seed)
    x[0, 3] = 0
    x.requires_grad_()
    y, _ = impaired(channels.create("awgn"), ALL)(x, 10.0, seed, "trust")
    (gradient,) = torch.autograd.grad(y.abs().square().sum(), x)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("waveform", WAVEFORMS)
def test_quantiser_passes_gradients_straight_through(waveform: str, seed: int) -> None:
    x, direction = gaussian(2, 64, seed).requires_grad_(), gaussian(2, 64, seed + 1)
    y, _ = impaired(channels.create("awgn"), [{"name": "adc", "bits": 2}], waveform)(x, 10.0, seed, "trust")
    (gradient,) = torch.autograd.grad((y * direction.conj()).real.sum(), x)
    assert torch.allclose(gradient, direction, atol=1e-5)


def test_amplifier_gradient_is_the_slope(seed: int) -> None:
    pa, x = PowerAmplifier(2.0, 3.0, 20.0), gaussian(1, 30, seed)[0].to(torch.complex128).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: torch.view_as_real(pa.distort(v, None, 1).samples), (x,))


def test_pilots_are_charged() -> None:
    inner = channels.create("awgn")
    assert impaired(inner, [{"name": "cfo", "block": 10}]).uses(95) == 95 + 10
    assert impaired(inner, ["phase-noise"], "ofdm", 32).uses(95) == 95 + 3  # one an OFDM symbol
    assert impaired(inner, [{"name": "cfo", "block": 10}, "phase-noise"]).uses(95) == 95 + 10 + 2
    assert impaired(inner, ["pa", "adc", "iq-imbalance", "interference"]).uses(95) == 95
    tdl = channels.create("tdl", charge="slots")
    assert impaired(tdl, ["cfo"], fft=2).uses(10_000) == tdl.uses(15_000)  # pilots go where symbols go
    for channel in (impaired(inner, ["cfo", "phase-noise"]), impaired(tdl, ["cfo"])):
        costs = [channel.uses(n) for n in range(500)]
        assert costs == sorted(costs) and costs[0] == 0
        for n in (0, 1, 64, 65, 1000):
            assert channel.symbols(channel.uses(n)) >= n
            assert channel.uses(channel.symbols(n)) <= n


@pytest.mark.parametrize("specs", CHAINS, ids=str)
def test_capacity_and_gain_are_those_of_ideal_hardware(specs: list[Any], seed: int) -> None:
    inner = channels.create("rayleigh")
    channel, each = impaired(inner, specs), seeds(5, seed)
    assert torch.equal(channel.information(40, 9.0, each), inner.information(40, 9.0, each))
    assert torch.equal(channel.gain(40, each), inner.gain(40, each))
    assert channel.footprint(40) >= inner.footprint(40)


@pytest.mark.parametrize("waveform", WAVEFORMS)
def test_what_the_receiver_is_left_with_carries_less(waveform: str, seed: int) -> None:
    for name in ("awgn", "rayleigh", "tdl"):
        channel, each = impaired(channels.create(name), ALL, waveform), seeds(20, seed)
        _, no = channel(gaussian(20, 128, seed), 15.0, each, "trust")
        carried = torch.log2(1 + 1 / no).mean(dim=1)
        assert bool((carried <= channel.information(128, 15.0, each).mean(dim=1)).all()), name


def test_links_run_and_lose_by_their_hardware(seed: int) -> None:
    payloads = [bytes([i]) * 40 for i in range(40)]
    received = {}
    for specs in ((), ("interference",), ("cfo", "phase-noise", "iq-imbalance", "pa", "adc")):
        link = channels.DigitalLink(impaired(channels.create("awgn"), specs), "qam16", 0.5)
        received[specs] = [
            r.ok and r.payload == p for r, p in zip(link.send(payloads, 20.0, seed), payloads, strict=True)
        ]
    assert all(received[()]) and all(received["cfo", "phase-noise", "iq-imbalance", "pa", "adc"])
    harsh = channels.DigitalLink(
        impaired(channels.create("awgn"), [{"name": "interference", "sir_db": 3.0}]), "qam16"
    )
    assert not any(r.ok for r in harsh.send(payloads, 20.0, seed))
    analog = channels.AnalogLink(impaired(channels.create("awgn"), ["phase-noise"]), normalise=True)
    reception = analog.send([gaussian(1, 100, seed)[0].numpy()], 20.0, seed)[0]
    assert reception.ledger.analog == 100 and reception.ledger.pilots == 2


def test_llrs_are_as_sure_as_they_should_be(seed: int) -> None:
    # If LLRs are calibrated, the decided bit is wrong with probability 1 / (1 + e^|llr|).
    for specs in (
        ["interference"],
        ["cfo", "phase-noise", "iq-imbalance"],
        ["pa", {"name": "adc", "bits": 4}],
    ):
        channel = impaired(channels.create("rayleigh"), specs, "ofdm")
        bits = np.random.default_rng([seed, 4]).integers(0, 2, (200, 512 * 2), np.uint8)
        llr = channel.llr(modem(2).map(bits), 12.0, seeds(200, seed), 2).double().numpy()
        excess = (((llr > 0) != bits) - 1 / (1 + np.exp(np.abs(llr)))).mean(axis=1)
        assert excess.mean() < 5 * excess.std() / 200**0.5, specs


def test_order_is_respected(seed: int) -> None:
    inner, x = channels.create("awgn"), gaussian(2, 200, seed)

    def send(*specs: Any) -> torch.Tensor:
        return impaired(inner, specs)(x, 20.0, seed, "trust")[0]

    pa, iq = {"name": "pa", "backoff_db": 0.0}, {"name": "iq-imbalance", "gain_db": 3.0}
    assert float((send(pa, iq) - send(iq, pa)).abs().mean()) > 0.01
    # A signal passes the transmitter first, whatever comes first in the list.
    adc = {"name": "adc", "bits": 3}
    assert torch.equal(send(adc, pa), send(pa, adc))


def test_same_impairment_twice_is_drawn_twice(seed: int) -> None:
    inner, x = Wire(), torch.ones(1, 200) + 0j
    one = impaired(inner, ["interference"])
    for two in (impaired(inner, ["interference", "interference"]), impaired(one, ["interference"])):
        first, both = one(x, 100.0, seed)[0] - x, two(x, 100.0, seed)[0] - x
        second = both - first
        assert abs(complex((first.conj() * second).mean())) < 5 * 0.1 / 200**0.5
        assert float(second.abs().square().mean()) > 0.05
        assert torch.allclose(two(x, 100.0, seed)[1], torch.tensor(0.2), rtol=1e-4)


def test_wrapping_twice_is_wrapping_once(seed: int) -> None:
    inner, x = channels.create("rayleigh"), gaussian(2, 100, seed)
    nested = impaired(impaired(inner, ["phase-noise"], "ofdm", 32), ["adc"], fft=32)
    flat = impaired(inner, ["phase-noise", "adc"], "ofdm", 32)
    assert nested.name == flat.name == "rayleigh+phase-noise+adc" and nested.waveform == "ofdm"
    assert nested.uses(100) == flat.uses(100)
    assert torch.allclose(nested(x, 40.0, seed, "trust")[1], flat(x, 40.0, seed, "trust")[1], rtol=0.05)


def test_name_repr_and_waveform_say_what_it_is() -> None:
    channel = impaired(channels.create("rayleigh", coherence=8), ["pa", {"name": "adc", "bits": 3}])
    assert channel.name == "rayleigh+pa+adc"
    assert repr(channel) == (
        "Impaired(channel=Rayleigh(coherence=8, csi='perfect', pilots=None), impairments=("
        "PowerAmplifier(backoff_db=6.0, smoothness=2.0, ampm_deg=0.0), ADC(bits=3, clip_db=None)), "
        "waveform='single-carrier', fft=64)"
    )
    assert impaired(channels.create("tdl"), ["pa"]).waveform == "ofdm"
    assert impaired(channels.create("tdl"), ["pa"], "single-carrier").waveform == "single-carrier"
    assert impaired(Wire(), ["pa"]).waveform == "single-carrier"


@pytest.mark.parametrize("name", ["rayleigh", "tdl"])
def test_pickles(name: str, seed: int) -> None:
    channel, x = impaired(channels.create(name), ALL), gaussian(2, 80, seed)
    y, no = channel(x, 10.0, seed, "trust")
    for other in (
        pickle.loads(pickle.dumps(channel)),
        pickle.loads(pickle.dumps(impaired(channels.create(name), ALL))),
    ):
        assert repr(other) == repr(channel)
        again = other(x, 10.0, seed, "trust")
        assert torch.equal(again[0], y) and torch.equal(again[1], no)


def test_extremes_stay_finite(seed: int) -> None:
    x = gaussian(2, 70, seed)
    for name in ("awgn", "rayleigh", "erasure"):
        for waveform in WAVEFORMS:
            for snr_db in (-150.0, 150.0):
                y, no = impaired(channels.create(name), ALL, waveform)(x, snr_db, seed, "trust")
                assert bool(y.isfinite().all()) and bool(no.isfinite().all()) and bool((no > 0).all())
    y, no = impaired(Wire(), [{"name": "cfo", "offset": 0.5}], "ofdm", 2)(x, 20.0, seed, "trust")
    assert bool(y.isfinite().all()) and bool(no.isfinite().all())


class Joint(Wire):
    """Its detector works on the constellation."""

    name = "joint"
    equalises = False


class Rough(Wire):
    """No gradients."""

    differentiable: ClassVar[bool] = False


def test_channels_that_cannot_be_wrapped() -> None:
    for channel in (Joint(), channels.create("bsc"), channels.create("tdl", detector="kbest")):
        with pytest.raises(InputError, match=f"channel '{channel.name}' cannot be impaired: its detector"):
            impaired(channel, ["pa"])
    with pytest.raises(InputError, match="channel must come from"):
        Impaired("awgn", [])  # type: ignore[arg-type]
    assert not impaired(Rough(), ["pa"]).differentiable and impaired(Wire(), ["adc"]).differentiable


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ("pa", "impairments must be a list"),
        ({"name": "pa"}, "impairments must be a list"),
        (None, "impairments must be a list"),
        ([3], "impairment 0 must be a name or a mapping"),
        (["pa", {"backoff_db": 3}], "impairment 1 must be a name or a mapping.*known: adc"),
        ([{"name": "pa", 3: 4}], "impairment 0 must be"),
        (["paa"], "unknown impairment 'paa'"),
        (["phase_noise"], "Did you mean 'phase-noise'"),
        ([{"name": "pa", "backoff": 3}], "Did you mean 'backoff_db'"),
        (
            [{"name": "pa", "backoff_db": "much"}],
            "pa: backoff_db must be a number >= -20 and <= 100, not 'much'",
        ),
        ([{"name": "pa", "smoothness": 0}], "pa: smoothness must be"),
        ([{"name": "pa", "ampm_deg": 120}], "pa: ampm_deg must be"),
        ([{"name": "cfo", "offset": 0.6}], "cfo: offset must be"),
        ([{"name": "cfo", "block": 0}], "cfo: block must be a whole number >= 1"),
        ([{"name": "phase-noise", "linewidth": -1e-4}], "phase-noise: linewidth must be"),
        ([{"name": "phase-noise", "block": 2.5}], "phase-noise: block must be a whole number"),
        ([{"name": "iq-imbalance", "side": "air"}], "unknown side of iq-imbalance: 'air'"),
        ([{"name": "iq-imbalance", "gain_db": float("nan")}], "iq-imbalance: gain_db must be"),
        ([{"name": "iq-imbalance", "phase_deg": 90}], "iq-imbalance: phase_deg must be"),
        ([{"name": "adc", "bits": 0}], "adc: bits must be a whole number >= 1 and <= 16"),
        ([{"name": "adc", "bits": True}], "adc: bits must be"),
        ([{"name": "adc", "clip_db": "low"}], "adc: clip_db must be"),
        ([{"name": "interference", "sir_db": float("inf")}], "interference: sir_db must be"),
        ([{"name": "interference", "symbols": "qam16"}], "unknown symbols of interference: 'qam16'"),
        ([{"name": "interference", "fading": "yes"}], "interference: fading must be true or false"),
    ],
)
def test_bad_specs(specs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        impaired(channels.create("awgn"), specs)


def test_bad_wrappers() -> None:
    inner = channels.create("awgn")
    with pytest.raises(InputError, match=r"unknown waveform 'odfm'\. Did you mean 'ofdm'"):
        impaired(inner, ["pa"], "odfm")
    for fft in (1, 64.0, True, -4):
        with pytest.raises(InputError, match="fft must be a whole number >= 2"):
            impaired(inner, ["pa"], "ofdm", fft)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sequence of impairments"):
        Impaired(inner, ["pa"])  # type: ignore[list-item]
    assert (
        Impaired(inner, [CFO(), PowerAmplifier()]).name
        == impaired(inner, [CFO(), "pa"]).name
        == "awgn+cfo+pa"
    )


def test_heavy_libraries_are_imported_at_first_use() -> None:
    code = (
        "import sys, channels; from channels.impairments import impaired, IMPAIRMENTS;"
        "impaired(channels.create('rayleigh'), list(IMPAIRMENTS));"
        "print({'torch', 'sionna', 'scipy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
