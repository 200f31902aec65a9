"""The short physics test behind ``semcom doctor``: what was asked of the radio, and what came out."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from channels import fec, theory
from channels.base import CHANNELS, Channel
from channels.draws import generator, row_seeds
from channels.errors import InputError
from channels.links import DigitalLink, Harq
from channels.modem import modem

if TYPE_CHECKING:
    from torch import Tensor

_SEED = 20_020_701
_HEAVY = ("cdl", "umi", "uma", "rma")  # antenna panels and whole sectors: 10 ms a row
_FADING: dict[str, theory.MGF | None] = {
    "awgn": None,
    "bsc": None,
    "rayleigh": theory.rayleigh_mgf(),
    "rician": theory.rician_mgf(6.0),
    "nakagami": theory.nakagami_mgf(2.0),
}
# Block errors of Sionna 2.2.0's LDPC5GDecoder (20 iterations), plainly called: k = 500, n = 1000, QPSK, AWGN.
WATERFALL = {"snr_db": 1.5, "errors": 279, "blocks": 4000}


@dataclass(frozen=True)
class Check:
    """One measurement, which passes if ``measured`` lies within ``tolerance`` of ``asked``."""

    name: str
    asked: float
    measured: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Passed. What is not a number does not."""
        return bool(abs(self.measured - self.asked) <= self.tolerance)


def selftest(seconds: float = 30.0) -> list[Check]:
    """Measure the physics of every channel and link against theory.

    :param seconds: about how long it may take on one core of 2023; more means closer tolerances. Monte-Carlo
        tolerances are four standard deviations, seeds are fixed: the same numbers come out everywhere.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, numbers.Real) or not 0 < seconds < float("inf"):
        raise InputError(f"seconds must be a positive number, not {seconds!r}")
    scale = seconds / 30
    names = [name for name in sorted(CHANNELS) if "needs" not in CHANNELS[name].facts]
    return [
        *(check for name in names for check in _channel(name, scale)),
        *_uncoded(max(int(200_000 * scale), 10_000)),
        _outage(max(int(200_000 * scale), 10_000)),
        _zero_forcing(max(int(4_000 * scale), 400)),
        _waterfall(max(int(8_000 * scale), 200)),
        _chase(max(int(2_000 * scale), 200)),
        _noiseless(max(int(120 * scale), 12)),
        _bound(max(int(1_500 * scale), 100)),
    ]


def qpsk(rows: int, n: int, seed: int) -> Tensor:
    """[rows, n] random QPSK symbols, which every channel carries."""
    return modem(2).map(generator(seed, "bits").integers(0, 2, (rows, 2 * n), np.uint8))


def _channel(name: str, scale: float) -> Iterator[Check]:
    """Power, noise and SNR of a channel as it comes, over many short rows."""
    flat = CHANNELS[name].facts["family"] in ("flat", "erasure")
    channel, n = (_fast(name), 200) if flat else (CHANNELS.create(name), 40)
    rows = max(int((60 if name in _HEAVY else 1_500) * scale), 20)
    seeds = row_seeds(_SEED, rows)
    power = channel.gain(n, seeds).double()
    x = qpsk(rows, n, _SEED)
    y, no = channel(x, 10.0, seeds)
    noise = ((y - x).abs().square() / no).double().mean(dim=1)
    error = [float(of.std()) / rows**0.5 for of in (power, noise)]
    yield Check(f"{name}: E|h|^2", 1.0, float(power.mean()), 4 * error[0] + 1e-4)
    if name == "bsc":  # its decisions are right or wrong; the error rates below say how often
        return
    yield Check(f"{name}: noise over what is said of it", 1.0, float(noise.mean()), 4 * error[1] + 1e-3)
    met = 10 + 10 * np.log10(float(power.mean()) / float(noise.mean()))
    yield Check(
        f"{name}: SNR [dB]", 10.0, met, 10 * np.log10(1 + 4 * sum(e * e for e in error) ** 0.5) + 0.01
    )
    less = channel(x, 20.0, seeds)[1]
    yield Check(f"{name}: symbols with more noise at 20 dB than at 10 dB", 0, float((less >= no).sum()), 0)


def _fast(name: str) -> Channel:
    """The channel with a new gain for each symbol, if it fades."""
    return CHANNELS.create(name, **({"coherence": 1} if "coherence" in CHANNELS[name].options else {}))


def _uncoded(symbols: int) -> Iterator[Check]:
    points = [("awgn", 2, 4.0), ("awgn", 4, 10.0), ("awgn", 6, 14.0), ("awgn", 8, 20.0), ("bsc", 2, 4.0)]
    points += [("rayleigh", 2, 8.0), ("rayleigh", 4, 12.0), ("rician", 2, 6.0), ("nakagami", 2, 6.0)]
    for name, bits, snr_db in points:
        asked = theory.qam_ber(bits, snr_db, _FADING[name])
        label = f"{name}: uncoded BER of {2**bits}-QAM at {snr_db:g} dB"
        yield _bits(label, asked, _fast(name), bits, snr_db, symbols)
    simo = CHANNELS.create("mimo", tx_antennas=1, rx_antennas=4, coherence=1)
    asked = theory.qam_ber(2, 0.0, theory.mrc_mgf(theory.rayleigh_mgf(), 4))
    yield _bits("mimo: uncoded BER of QPSK, 4 receive antennas at 0 dB", asked, simo, 2, 0.0, symbols // 10)


def _bits(label: str, asked: float, channel: Channel, bits: int, snr_db: float, symbols: int) -> Check:
    errors = bit_errors(channel, bits, snr_db, symbols, _SEED)
    return Check(label, asked, float(errors.mean()) / bits, 4 * float(errors.std()) / bits / symbols**0.5)


def _outage(blocks: int) -> Check:
    """P(|h|^2 < 0.1) = 1 - exp(-0.1) of Rayleigh fading."""
    _, no = _fast("rayleigh")(qpsk(1, blocks, _SEED), 10.0, _SEED)
    asked = 1 - np.exp(-0.1)
    deviation = (asked * (1 - asked) / blocks) ** 0.5
    return Check("rayleigh: P(|h|^2 < 0.1)", asked, float((no > 1.0).double().mean()), 4 * deviation)


def _zero_forcing(blocks: int) -> Check:
    """Zero forcing of K users at M antennas: E 1/SINR = 1 / ((M - K) rho)."""
    antennas, users, snr_db = 64, 4, 0.0
    channel = CHANNELS.create("massive-uplink", users=users, antennas=antennas, detector="zf", coherence=1)
    _, no = channel(qpsk(1, blocks, _SEED), snr_db, _SEED)
    inverse = no.double()
    deviation = float(inverse.std()) / blocks**0.5
    name = f"massive-uplink: mean noise after zero forcing, {antennas} antennas, {users} users"
    return Check(name, 1 / (antennas - users), float(inverse.mean()), 4 * deviation)


def bit_errors(channel: Channel, bits: int, snr_db: float, symbols: int, seed: int) -> NDArray[np.int64]:
    """[symbols] wrong bits of each uncoded QAM symbol after hard decisions (one row, so one gain per coherence)."""
    sent = generator(seed, "bits").integers(0, 2, (1, symbols * bits), np.uint8)
    qam = modem(bits)
    y, no = channel(qam.map(sent), snr_db, seed)
    decided = (qam.demap(y, no) > 0).numpy()
    return (decided != sent).reshape(symbols, bits).sum(axis=1)


def block_errors(k: int, n: int, bits: int, snr_db: float, blocks: int, seed: int) -> int:
    """Blocks that the (k, n) LDPC code loses over AWGN."""
    code, qam = fec.ldpc(k, n, bits), modem(bits)
    sent = generator(seed, "bits").integers(0, 2, (blocks, k), np.uint8)
    y, no = CHANNELS.create("awgn")(qam.map(code.encode(sent)), snr_db, seed, power="trust")
    decided, _ = code.decode(qam.demap(y, no))
    return int((decided != sent).any(axis=1).sum())


def _waterfall(blocks: int) -> Check:
    reference = WATERFALL["errors"] / WATERFALL["blocks"]
    measured = block_errors(500, 1000, 2, WATERFALL["snr_db"], blocks, _SEED) / blocks
    deviation = (reference * (1 - reference) * (1 / blocks + 1 / WATERFALL["blocks"])) ** 0.5
    name = f"LDPC (500, 1000) QPSK: block error rate at {WATERFALL['snr_db']} dB"
    return Check(name, reference, measured, 4 * deviation)


def _chase(payloads: int) -> Check:
    """Two combined copies at 3.01 dB less decode as one copy does: the gain of chase combining is 3 dB."""
    rng = generator(_SEED, "payload")
    sent = [rng.bytes(40) for _ in range(payloads)]
    awgn = CHANNELS.create("awgn")
    lost = []
    for attempts, snr_db in ((1, 1.3), (2, 1.3 - 10 * np.log10(2))):
        link = DigitalLink(awgn, "qpsk", 0.5, harq=Harq("chase", attempts))
        lost.append(float(np.mean([not r.ok for r in link.send(sent, snr_db, _SEED)])))
    mean = sum(lost) / 2
    deviation = (mean * (1 - mean) * 2 / payloads) ** 0.5
    return Check(
        "HARQ: losses of two copies at -3 dB less those of one", 0, lost[1] - lost[0], 4 * deviation + 1e-3
    )


def _noiseless(payloads: int) -> Check:
    """Payloads of all kinds of length that do not arrive without noise."""
    rng = generator(_SEED, "payload")
    lost = 0
    for modulation, rate in (("qpsk", 0.2), ("qam16", 0.5), ("qam64", 0.75), ("qam256", 0.92)):
        link = DigitalLink(CHANNELS.create("awgn"), modulation, rate)
        sent = [rng.bytes(1 + int(s)) for s in rng.exponential(150, payloads // 4)]
        lost += sum(
            not r.ok or r.payload != p for r, p in zip(link.send(sent, 60.0, _SEED), sent, strict=True)
        )
    return Check("payloads lost without noise", 0, lost, 0)


def _bound(payloads: int) -> Check:
    """Payloads that the LDPC link delivers although they exceed the capacity of their fading realisation."""
    rng = generator(_SEED, "payload")
    sent = [rng.bytes(60) for _ in range(payloads)]
    channel = CHANNELS.create("rayleigh")
    received = [
        DigitalLink(channel, "qam16", 0.5, coding).send(sent, 8.0, _SEED) for coding in ("ldpc", "ideal")
    ]
    beaten = sum(coded.ok and not ideal.ok for coded, ideal in zip(*received, strict=True))
    return Check("payloads delivered beyond capacity", 0, beaten, 0)
