"""Erasures and signs: what arrives, how often, and what the decoder is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

import channels
from channels import theory
from channels.errors import InputError
from channels.modem import modem
from channels.selftest import bit_errors


def entropy(p: float) -> float:
    return float(stats.entropy([p, 1 - p], base=2))


def qpsk(batch: int, n: int, seed: int) -> torch.Tensor:
    return modem(2).map(np.random.default_rng(seed).integers(0, 2, (batch, 2 * n), np.uint8))


# Erasure


@pytest.mark.parametrize("loss", [0.05, 0.4])
@pytest.mark.parametrize("coding", ["ldpc", "ideal"])
def test_packets_are_lost_as_often_as_asked(loss: float, coding: str, seed: int) -> None:
    """At high SNR a payload is lost exactly if it is erased: a binomial number of times."""
    link = channels.DigitalLink(channels.create("erasure", loss=loss), coding=coding)
    sent, count = b"sixteen bytes ok", 1500
    received = link.send([sent] * count, 20.0, seed)
    lost = sum(not r.ok for r in received)
    assert abs(lost - count * loss) < 5 * (count * loss * (1 - loss)) ** 0.5
    assert all(r.payload == sent for r in received if r.ok)


def test_codes_fill_bursts(seed: int) -> None:
    """A code of rate 1/5 stands a third of its symbols in bursts; one of rate 0.9 stands none."""
    channel = channels.create("erasure", loss=0.33, coherence=8)
    sent = [np.random.default_rng(seed + i).bytes(400) for i in range(30)]
    strong = channels.DigitalLink(channel, code_rate=0.2).send(sent, 12.0, seed)
    weak = channels.DigitalLink(channel, code_rate=0.9).send(sent, 12.0, seed)
    assert all(r.ok and r.payload == p for r, p in zip(strong, sent, strict=True))
    assert not any(r.payload == p for r, p in zip(weak, sent, strict=True))  # a CRC passes once in 2^16


def test_each_burst_is_lost_alone(seed: int) -> None:
    channel = channels.create("erasure", loss=0.3, coherence=5)
    _, no = channel(qpsk(50, 1000, seed), 10.0, seed)
    lost = (no > 1).reshape(50, 200, 5)
    assert torch.equal(lost.all(dim=2), lost.any(dim=2))
    assert abs(int(lost[..., 0].sum()) - 3000) < 5 * (10_000 * 0.3 * 0.7) ** 0.5
    both = (lost[:, :-1, 0] & lost[:, 1:, 0]).double().mean()
    assert float(both) == pytest.approx(0.09, abs=5 * 0.35 / 9950**0.5)


def test_what_arrives_sees_awgn_and_what_is_lost_tells_nothing(seed: int) -> None:
    channel, x = channels.create("erasure", loss=0.5, coherence=1), qpsk(4, 5000, seed)
    y, no = channel(x, 6.0, seed)
    y_awgn, no_awgn = channels.create("awgn")(x, 6.0, seed)
    lost = no > 1
    assert torch.allclose(no[~lost], no_awgn[~lost]) and torch.allclose(y[~lost], y_awgn[~lost], atol=1e-6)
    assert bool((no[lost] > 1e18).all()) and bool(no.isfinite().all())
    ratio = ((y - x)[lost].abs().square() / no[lost]).double()  # the noise is the noise that is said
    assert float(ratio.mean()) == pytest.approx(1, abs=5 * float(ratio.std()) / len(ratio) ** 0.5)
    assert float(modem(2).demap(y, no).reshape(4, 5000, 2)[lost].abs().max()) < 1e-5
    bits = channel.information(5000, 6.0, [seed + i for i in range(4)]).double()
    expected = 0.5 * float(theory.awgn_capacity(6.0))
    assert float(bits.mean()) == pytest.approx(expected, abs=5 * float(bits.std()) / 20_000**0.5)


def test_certain_fates(seed: int) -> None:
    x = qpsk(3, 40, seed)
    y, no = channels.create("erasure", loss=0)(x, 5.0, seed)
    assert all(torch.equal(a, b) for a, b in zip((y, no), channels.create("awgn")(x, 5.0, seed), strict=True))
    assert bool((channels.create("erasure", loss=1)(x, 30.0, seed)[1] > 1e16).all())
    assert channels.create("erasure", loss=1).information(40, 30.0, [seed]).sum() < 1e-12
    for snr_db in (-150.0, 150.0):
        y, no = channels.create("erasure", loss=1)(x, snr_db, seed)
        assert bool(y.isfinite().all()) and bool(no.isfinite().all())


def test_power_is_that_of_what_arrives() -> None:
    assert torch.equal(channels.create("erasure", loss=0.7).gain(10, [1, 2, 3]), torch.ones(3))


@pytest.mark.parametrize("loss", [-0.1, 1.1, float("nan"), "often", True, None])
def test_bad_losses(loss: object) -> None:
    with pytest.raises(InputError, match="erasure: loss must be a number >= 0 and <= 1"):
        channels.create("erasure", loss=loss)


# Binary symmetric channel


@pytest.mark.parametrize("p", [0.3, 0.05, 0.004])
def test_crossover_is_that_of_theory(p: float, seed: int) -> None:
    errors = bit_errors(channels.create("bsc"), 2, float(theory.bsc_snr_db(p)), 300_000, seed)
    z = (errors.mean() / 2 - p) / (p * (1 - p) / 600_000) ** 0.5
    assert abs(z) < 5, f"measured {errors.mean() / 2:.3e}, asked {p}, z = {z:.1f}"
    both = (errors == 2).mean()  # the bits of a symbol are independent
    assert both == pytest.approx(p * p, abs=5 * p / 300_000**0.5 + 5 / 300_000)


@pytest.mark.parametrize("p", [0.499, 0.3, 0.1, 0.01, 1e-6])
def test_llrs_are_those_of_a_bsc(p: float, seed: int) -> None:
    channel, x = channels.create("bsc"), qpsk(2, 500, seed)
    snr_db = float(theory.bsc_snr_db(p))
    y, no = channel(x, snr_db, seed)
    assert torch.allclose(y.real.abs(), torch.tensor(0.5**0.5)) and torch.allclose(y.real.abs(), y.imag.abs())
    llr = modem(2).demap(y, no)
    assert llr.abs().numpy() == pytest.approx(np.log((1 - p) / p), rel=1e-4)
    assert torch.equal(llr, channel.llr(x, snr_db, seed, 2))
    assert torch.equal(llr.reshape(2, 500, 2)[..., 0] > 0, y.real < 0)  # bit 1 is the negative level


@pytest.mark.parametrize("p", [0.4, 0.11, 0.01])
def test_capacity_is_that_of_a_bsc(p: float) -> None:
    bits = channels.create("bsc").information(7, float(theory.bsc_snr_db(p)), [1, 2])
    assert bits.shape == (2, 7)
    assert bits.numpy() == pytest.approx(2 * (1 - entropy(p)), rel=1e-5)


def test_signs_are_safe_at_every_snr(seed: int) -> None:
    channel = channels.create("bsc")
    snrs = np.arange(-150.0, 151.0)
    x = qpsk(len(snrs), 20, seed)
    y, no = channel(x, snrs, seed)
    bits = channel.information(20, snrs, [seed] * len(snrs))
    assert bool(y.isfinite().all()) and bool((no > 0).all()) and bool(no.isfinite().all())
    assert bool((no[1:, 0] < no[:-1, 0]).all())
    assert bool((bits[1:] >= bits[:-1]).all()) and bool((bits > 0).all()) and float(bits.max()) == 2
    # 2 (1 - H2(p)) -> (2 / pi) (2 / ln 2) snr / 2 at low SNR, 2 dB below log2(1 + snr)
    assert bits[:100, 0].numpy() == pytest.approx(2 / np.pi / np.log(2) * 10 ** (snrs[:100] / 10), rel=1e-4)
    assert bool(modem(2).demap(y, no).isfinite().all())
    assert torch.equal(y[-1], x[-1])


def test_codes_cross_it(seed: int) -> None:
    """Rate 1/2 stands p = 0.03 of at most 0.11, and not p = 0.16; nothing beats the bound."""
    sent = [np.random.default_rng(seed + i).bytes(100) for i in range(60)]
    for p, fate in ((0.03, True), (0.16, False)):
        for coding in ("ldpc", "ideal"):
            link = channels.DigitalLink(channels.create("bsc"), "qpsk", 0.5, coding)
            assert {r.ok for r in link.send(sent, float(theory.bsc_snr_db(p)), seed)} == {fate}


def test_only_qpsk_can_be_sent(seed: int) -> None:
    channel = channels.create("bsc")
    x = qpsk(2, 100, seed)
    x[1, 3] = 0.6 + 0.8j
    with pytest.raises(InputError, match=r"bsc: only QPSK.*symbol 3 of row 1 is 0\.6\+0\.8j"):
        channel(x, 5.0, seed)
    x[1, 3] = complex(np.nan, 0.7)
    with pytest.raises(InputError, match="only QPSK"):
        channel(x, 5.0, seed, power="trust")
    with pytest.raises(InputError, match="only QPSK"):
        channels.AnalogLink(channel).send([np.ones(10, np.complex64)], 5.0, 1)
    with pytest.raises(InputError, match="qpsk"):
        channels.DigitalLink(channel, "qam16")
    y, _ = channel(3 * qpsk(1, 100, seed), 50.0, seed, power="normalise")
    assert torch.equal(y, qpsk(1, 100, seed))


def test_no_gradients_pass(seed: int) -> None:
    channel = channels.create("bsc")
    assert not channel.differentiable and channels.create("erasure").differentiable
    y, no = channel(qpsk(1, 10, seed).requires_grad_(), 5.0, seed)
    assert not y.requires_grad and not no.requires_grad
    assert torch.equal(channel.gain(10, [1, 2]), torch.ones(2))
