"""The short physics test behind ``semcom doctor``: what was asked of the radio, and what came out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channels import fec, theory
from channels.base import CHANNELS, Channel
from channels.draws import generator
from channels.errors import InputError
from channels.links import DigitalLink
from channels.modem import modem

_SEED = 20_020_701
_FADING: dict[str, theory.MGF | None] = {
    "awgn": None,
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
    if not 0 < seconds < float("inf"):
        raise InputError(f"seconds must be a positive number, not {seconds!r}")
    scale = seconds / 30
    return [
        *(
            check
            for name in sorted(CHANNELS)
            for check in _channel(name, max(int(1_000_000 * scale), 20_000))
        ),
        *_uncoded(max(int(200_000 * scale), 10_000)),
        _waterfall(max(int(8_000 * scale), 200)),
        _noiseless(max(int(120 * scale), 12)),
        _bound(max(int(1_500 * scale), 100)),
    ]


def measured_snr_db(channel: Channel, snr_db: float, symbols: int, seed: int) -> tuple[float, float]:
    """The SNR that a channel delivers, from its noise and from what it says of its noise.

    :returns: mean of 1 / no and of 1 / |y - x|^2 in no's units, both in dB: signal power over noise power before
        the receiver's division by h.
    """
    import torch

    rows = 20
    x = torch.ones(rows, symbols // rows, dtype=torch.complex64)
    y, no = channel(x, snr_db, seed)
    said = float((1 / no).double().mean())
    noise = float(((y - x).abs().square() / no).double().mean())
    return 10 * np.log10(said), 10 * np.log10(said / noise)


def _fast(name: str) -> Channel:
    """The channel with a new gain for each symbol, if it fades."""
    return CHANNELS.create(name, **({"coherence": 1} if "coherence" in CHANNELS[name].options else {}))


def _channel(name: str, symbols: int) -> Iterator[Check]:
    channel = _fast(name)
    # |h|^2 and |w|^2 have variance 1 at most here (m >= 1): four deviations of the two means, in dB.
    tolerance = max(0.05, 10 * np.log10(1 + 4 * (2 / symbols) ** 0.5))
    said, measured = measured_snr_db(channel, 10.0, symbols, _SEED)
    yield Check(f"{name}: SNR [dB]", 10.0, measured, tolerance)
    yield Check(f"{name}: E|h|^2", 1.0, 10 ** (said / 10 - 1), 4 / symbols**0.5 + 1e-4)
    low = measured_snr_db(channel, 0.0, symbols // 10, _SEED)[1]
    high = measured_snr_db(channel, 10.0, symbols // 10, _SEED)[1]
    yield Check(f"{name}: 10 dB more SNR change the noise by [dB]", 10.0, high - low, 0.01)


def _uncoded(symbols: int) -> Iterator[Check]:
    points = [("awgn", 2, 4.0), ("awgn", 4, 10.0), ("awgn", 6, 14.0), ("awgn", 8, 20.0)]
    points += [("rayleigh", 2, 8.0), ("rayleigh", 4, 12.0), ("rician", 2, 6.0), ("nakagami", 2, 6.0)]
    for name, bits, snr_db in points:
        errors = bit_errors(_fast(name), bits, snr_db, symbols, _SEED)
        deviation = float(errors.std()) / bits / symbols**0.5
        asked = theory.qam_ber(bits, snr_db, _FADING[name])
        label = f"{name}: uncoded BER of {2**bits}-QAM at {snr_db:g} dB"
        yield Check(label, asked, float(errors.mean()) / bits, 4 * deviation)


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
