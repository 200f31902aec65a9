"""The digital and the analog link: every channel use accounted for, honest verdicts, no luck of the batch."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import channels
from channels import fec, theory
from channels.base import Channel
from channels.errors import InputError
from channels.links import CODINGS
from channels.modem import MODULATIONS

LINKS = [
    channels.DigitalLink(channels.create("awgn"), modulation, rate)
    for modulation in MODULATIONS
    for rate in (0.07, 0.2, 1 / 3, 0.5, 0.77, 0.92)
]


class Piloted(Channel):
    """AWGN-like accounting of a channel that sends in slots of ten data symbols and two pilots."""

    def uses(self, n: int) -> int:
        return 12 * -(-n // 10)

    def realise(self, n: int, seeds: Any) -> Any:
        return channels.create("awgn").realise(n, seeds)

    def apply(self, x: Any, realisation: Any, no: Any) -> Any:
        return channels.create("awgn").apply(x, realisation, no)


@settings(deadline=None)
@given(st.sampled_from(LINKS), st.integers(0, 30_000), st.sampled_from(["payload", "robust"]))
def test_max_bytes_is_the_largest_that_fits(link: channels.DigitalLink, uses: int, protection: str) -> None:
    best = link.max_bytes(uses, protection)
    assert best == 0 or link.uses(best, protection) <= uses
    for larger in range(best + 1, best + 120):
        assert link.uses(larger, protection) > uses


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(LINKS), st.integers(1, fec.MAX_PAYLOAD))
def test_max_bytes_inverts_uses_for_any_size(link: channels.DigitalLink, size: int) -> None:
    assert link.uses(link.max_bytes(link.uses(size))) <= link.uses(size)
    assert link.max_bytes(link.uses(size)) >= size


def test_max_bytes_at_the_ends() -> None:
    link = LINKS[0]
    assert link.max_bytes(0) == link.max_bytes(-3) == link.max_bytes(link.uses(1) - 1) == 0
    assert link.max_bytes(link.uses(1)) == 1
    assert link.max_bytes(10**9) == fec.MAX_PAYLOAD
    with pytest.raises(InputError, match="channel_uses must be a whole number"):
        link.max_bytes(float("nan"))  # type: ignore[arg-type]


@pytest.mark.parametrize("channel", [channels.create("rayleigh"), Piloted()])
@pytest.mark.parametrize("coding", ["ldpc", "convolutional", "ideal", "finite"])
def test_the_ledger_adds_up(channel: Channel, coding: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    payloads = [rng.bytes(int(n)) for n in rng.integers(1, 900, 8)]
    classes = [["payload", "robust"][i % 2] for i in range(8)]
    for modulation in ("qpsk", "qam64"):
        link = channels.DigitalLink(channel, modulation, 0.6, coding)
        for payload, protection, reception in zip(
            payloads, classes, link.send(payloads, 12.0, seed, classes), strict=True
        ):
            ledger, uses = reception.ledger, link.uses(len(payload), protection)
            purposes = astuple(ledger)[:-1]
            assert ledger.channel_uses == uses and sum(purposes) == pytest.approx(uses)
            assert min(purposes) >= 0 and ledger.payload_bits == 8 * len(payload)
            m = 2 if protection == "robust" else MODULATIONS[modulation]
            assert ledger.payload * m == pytest.approx(8 * len(payload))
            assert ledger.crc * m == pytest.approx(16 if len(payload) <= 478 else 24)
            symbols = link.grant(len(payload), protection).symbols
            assert ledger.pilots == channel.uses(symbols) - symbols
            assert len(reception.payload) == len(payload)


@pytest.mark.parametrize("coding", CODINGS)
def test_results_do_not_depend_on_what_else_is_sent(coding: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    link = channels.DigitalLink(channels.create("rayleigh", coherence=50), "qam16", coding=coding)
    payloads = [rng.bytes(int(n)) for n in rng.choice([20, 21, 33, 150 if coding == "polar" else 1500], 24)]
    seeds = [int(s) for s in rng.integers(2**63, size=24)]
    classes = [str(c) for c in rng.choice(["payload", "robust"], 24)]
    snrs = [-15.0, 45.0, *(float(s) for s in rng.uniform(-2, 20, 22))]
    together = link.send(payloads, snrs, seeds, classes)
    assert 0 < sum(r.ok for r in together) < 24
    order = rng.permutation(24)
    for part in np.split(order, [1, 2, 9]):
        apart = link.send(*([s[i] for i in part] for s in (payloads, snrs, seeds, classes)))  # type: ignore[arg-type]
        assert apart == [together[i] for i in part]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    assert link.send(payloads, snrs, seeds, classes) == together
    torch.set_num_threads(threads)


def test_wrong_payloads_have_a_wrong_crc(seed: int) -> None:
    link = channels.DigitalLink(channels.create("awgn"))
    payloads = [np.random.default_rng(seed + i).bytes(30) for i in range(300)]
    received = link.send(payloads, 0.5, seed)
    right = [r.payload == p for r, p in zip(received, payloads, strict=True)]
    assert 0 < sum(right) < 300
    assert not [
        1 for r, same in zip(received, right, strict=True) if r.ok and not same
    ]  # 2^-16 for each loss
    damaged = sum(
        same and not r.ok for r, same in zip(received, right, strict=True)
    )  # in the CRC itself alone
    assert damaged <= 10


def test_robust_packets_survive_where_others_do_not(seed: int) -> None:
    link = channels.DigitalLink(channels.create("awgn"), "qam64", 0.75)
    payloads = [b"mask" * 10] * 20
    assert not any(r.ok for r in link.send(payloads, 0.0, seed))
    assert all(r.ok for r in link.send(payloads, 0.0, seed, ["robust"] * 20))
    assert link.uses(40, "robust") == channels.DigitalLink(link.channel, "qpsk", 0.2).uses(40)


def test_protection_is_an_option(seed: int) -> None:
    own = {"mask": "qpsk-1/3", "index": 0.75, "robust": "qam16-1/2"}
    link = channels.DigitalLink(channels.create("awgn"), "qam64", 0.9, protection=own)
    for name, (modulation, rate) in {
        "payload": ("qam64", 0.9),
        "mask": ("qpsk", 1 / 3),
        "index": ("qam64", 0.75),
        "robust": ("qam16", 0.5),
        "robust-1/10": ("qpsk", 0.1),
    }.items():
        alone = channels.DigitalLink(link.channel, modulation, rate)
        assert link.grant(50, name) == alone.grant(50) and link.max_bytes(999, name) == alone.max_bytes(999)
    received = link.send([b"mask" * 10] * 2, 0.0, [seed, seed], ["mask", "payload"])
    assert (
        received[0] == channels.DigitalLink(link.channel, "qpsk", 1 / 3).send([b"mask" * 10], 0.0, [seed])[0]
    )
    assert received[0].ok and not received[1].ok


@pytest.mark.parametrize(
    ("protection", "message"),
    [
        ({"mask": "qpsk-2"}, "protection 'mask': code_rate must be"),
        ({"mask": "bpsk-1/2"}, "protection 'mask': unknown modulation 'bpsk'"),
        ({"mask": "qpsk"}, "protection 'mask': an MCS is written"),
        ({"mask": 2}, "protection 'mask': code_rate must be"),
        ({"mask": None}, "protection 'mask': an MCS is written"),
        ({"payload": 0.5}, "protection 'payload' is the link's own"),
        (["mask"], "protection must be a mapping"),
    ],
)
def test_bad_protection(protection: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        channels.DigitalLink(channels.create("awgn"), protection=protection)
    with pytest.raises(InputError, match=r"unknown protection 'mask'\. Known: payload, robust"):
        channels.DigitalLink(channels.create("awgn")).uses(3, "mask")


def test_equal_payloads_in_equal_circumstances_are_sent_once(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = channels.DigitalLink(channels.create("rayleigh"), "qam16")
    payloads = [b"same" * 9, b"other" * 9, b"same" * 9, b"same" * 9, b"same" * 9]
    seeds, snrs = [1, 1, 1, 2, 1], [5.0, 5.0, 5.0, 5.0, 6.0]
    classes = ["payload"] * 5
    apart = [link.send([p], [s], [n])[0] for p, s, n in zip(payloads, snrs, seeds, strict=True)]
    decoded: list[int] = []
    decode = fec.LDPC.decode

    def counted(self: fec.LDPC, llr: torch.Tensor) -> Any:
        decoded.append(len(llr))
        return decode(self, llr)

    monkeypatch.setattr(fec.LDPC, "decode", counted)
    assert link.send(payloads, snrs, seeds, classes) == apart
    assert sum(decoded) == 4


def test_a_megabyte_takes_little_memory() -> None:
    """Peak of one payload of 1 MB, over what the process takes before (torch, Sionna, one small payload)."""
    code = """
import channels
def memory(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field)) // 1024
link = channels.DigitalLink(channels.create("awgn"), "qpsk", 0.5)
link.send([bytes(100)], 20.0, 1)
before = memory("VmRSS")
(received,) = link.send([bytes(2**20)], 20.0, 1)
assert received.ok
print(memory("VmHWM") - before)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc here")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 600


def test_ideal_link_has_the_outage_of_theory(seed: int) -> None:
    link, count = channels.DigitalLink(channels.create("rayleigh"), "qam16", 0.5, "ideal"), 4000
    rate = 8 * 100 / link.uses(100)
    lost = 1 - np.mean([r.ok for r in link.send([bytes(100)] * count, 7.0, seed)])
    expected = float(theory.rayleigh_outage(7.0, rate))
    assert lost == pytest.approx(expected, abs=5 * (expected * (1 - expected) / count) ** 0.5)


def test_ideal_link_is_a_step_at_capacity_without_fading() -> None:
    link = channels.DigitalLink(channels.create("awgn"), "qpsk", 0.5, "ideal")
    limit = 10 * np.log10(2 ** (8 * 100 / link.uses(100)) - 1)
    below, above = link.send([b"x" * 100] * 2, [limit - 0.01, limit + 0.01], 1)
    assert not below.ok and above.ok and above.payload == b"x" * 100 and len(below.payload) == 100


def test_nothing_beats_the_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    payloads = [rng.bytes(int(n)) for n in rng.choice([30, 60, 120], 400)]
    snrs = [float(s) for s in rng.uniform(-5, 25, 400)]
    for name, modulation, rate in (
        ("rayleigh", "qam16", 0.5),
        ("awgn", "qpsk", 0.9),
        ("nakagami", "qam256", 0.8),
    ):
        coded, ideal = (
            channels.DigitalLink(channels.create(name), modulation, rate, coding).send(payloads, snrs, seed)
            for coding in ("ldpc", "ideal")
        )
        assert sum(r.ok for r in coded) > 10
        arrived = [
            c.payload == p for p, c in zip(payloads, coded, strict=True)
        ]  # whatever a CRC says by chance
        assert not [a for a, i in zip(arrived, ideal, strict=True) if a and not i.ok]


def test_analog_symbols_meet_the_noise_that_is_said(seed: int) -> None:
    rng = np.random.default_rng(seed)
    link = channels.AnalogLink(channels.create("rayleigh", coherence=4), normalise=True)
    sent = [(rng.standard_normal(n) + 1j * rng.standard_normal(n)) for n in (2000, 3000, 2000, 1)]
    received = link.send(sent, 8.0, seed)
    noise = []
    for symbols, reception in zip(sent, received, strict=True):
        unit = symbols / np.sqrt(np.mean(np.abs(symbols) ** 2))
        assert reception.symbols.dtype == np.complex64 and reception.noise_var.dtype == np.float32
        assert reception.ledger == channels.Ledger(analog=len(symbols))
        noise.append(np.abs(reception.symbols - unit) ** 2 / reception.noise_var)
    assert np.mean(np.concatenate(noise)) == pytest.approx(1, abs=5 / 7001**0.5)
    (alone,) = link.send(sent[2:3], 8.0, [(seed + 2 * 0x9E3779B97F4A7C15) % 2**64])
    assert np.array_equal(alone.symbols, received[2].symbols)
    assert np.array_equal(alone.noise_var, received[2].noise_var)


def test_analog_link_charges_pilots() -> None:
    link = channels.AnalogLink(Piloted())
    (reception,) = link.send([np.ones(25, np.complex64)], 5.0, 1)
    assert link.uses(25) == reception.ledger.channel_uses == 36 and reception.ledger.pilots == 11
    assert link.max_symbols(36) == 30 and link.max_symbols(35) == 20 and link.max_symbols(11) == 0


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        (2 * np.ones(9, np.complex64), "mean power 4"),
        (np.zeros(9, np.complex64), "cannot be sent"),
        (np.full(9, np.nan, np.complex64), "cannot be sent"),
        (np.ones(9, np.float32), "must be complex"),
        (np.ones((3, 3), np.complex64), "must be complex"),
        (np.ones(0, np.complex64), "must be complex"),
    ],
)
def test_bad_symbols(symbols: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=f"message 1: symbols .*{message}"):
        channels.AnalogLink(channels.create("awgn")).send([np.ones(4, np.complex64), symbols], 5.0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modulation": "qam32"}, "unknown modulation 'qam32'"),
        ({"modulation": 16}, "unknown modulation 16"),
        ({"modulation": ["qpsk"]}, "unknown modulation"),
        ({"protection": {1: "qpsk-1/2"}}, "protection must be a mapping from words"),
        ({"protection": {"": "qpsk-1/2"}}, "protection must be a mapping from words"),
        ({"fidelity": "system", "code_rate": 0.30078125, "protection": {"mask": "qam16-0.45"}}, "38.214"),
        (
            {"channel": channels.create("bsc"), "modulation": "qam16", "coding": "ideal"},
            "carries modulation qpsk",
        ),
        ({"channel": channels.create("bsc"), "protection": {"mask": "qam16-1/2"}}, "carries modulation qpsk"),
        ({"coding": "turbo"}, "unknown coding 'turbo'"),
        ({"fidelity": "sys"}, "unknown fidelity 'sys'"),
        ({"fidelity": "system", "coding": "polar"}, "fidelity 'system' is for coding 'ldpc', not 'polar'"),
        ({"channel": "awgn"}, "channel must come from channels.create"),
    ],
)
def test_bad_links(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        channels.DigitalLink(**({"channel": channels.create("awgn")} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"payloads": [b"a", b""]}, "a payload has 1 to 1048576 bytes, not 0"),
        ({"payloads": [b"a", bytes(2**20 + 1)]}, "a payload has 1 to 1048576 bytes"),
        ({"protection": ["payload"]}, "protection has 1 entries for 2 payloads"),
        ({"protection": True}, "protection must be a list"),
        ({"protection": ["payload", []]}, "unknown protection"),
        ({"payloads": [b"a", memoryview(b"")]}, "a payload has 1 to 1048576 bytes, not 0"),
        ({"payloads": "ab"}, "payloads must be a list of bytes, not str"),
        ({"payloads": None}, "payloads must be a list of bytes, not NoneType"),
        ({"payloads": [b"a", None]}, "payload 1 must be bytes"),
        ({"payloads": [b"a", [1]]}, "payload 1 must be bytes"),
        ({"protection": ["payload", "sturdy"]}, "unknown protection 'sturdy'"),
        ({"snr_db": float("nan")}, "snr_db must be finite"),
        ({"snr_db": [1.0]}, "snr_db has shape"),
        ({"seed": [1]}, "seed has 1 integers for 2 rows"),
    ],
)
def test_bad_sends(arguments: dict[str, Any], message: str) -> None:
    link = channels.DigitalLink(channels.create("awgn"))
    with pytest.raises(InputError, match=message):
        link.send(**({"payloads": [b"a", b"b"], "snr_db": 5.0, "seed": 1} | arguments))


def test_nothing_to_send() -> None:
    assert channels.DigitalLink(channels.create("awgn")).send([], 5.0, []) == []
    assert channels.AnalogLink(channels.create("awgn")).send([], 5.0, []) == []


def test_a_link_travels_to_other_processes(seed: int) -> None:
    link = channels.DigitalLink(channels.create("rician", k_db=2.5, coherence=8), "qam16", 0.4)
    size = link.max_bytes(300)
    copy = pickle.loads(pickle.dumps(link))
    assert repr(copy.channel) == repr(link.channel) and copy.max_bytes(300) == size
    assert copy.send([b"same"] * 5, 3.0, seed) == link.send([b"same"] * 5, 3.0, seed)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    channels.DigitalLink(channels.create("rayleigh"), "qam64", 0.926).send([b"quiet", bytes(2000)], 5.0, 1)
    assert capfd.readouterr() == ("", "")


def test_repetition_below_one_fifth_is_worth_its_energy(seed: int) -> None:
    """Four copies at SNR - 6.02 dB have the block error rate of one copy at SNR: LLRs of AWGN copies add exactly."""
    rng = np.random.default_rng(seed)
    payloads = [rng.bytes(20) for _ in range(600)]
    awgn = channels.create("awgn")
    lost = []
    for rate, snr_db in ((1 / 5, -3.9), (1 / 20, -3.9 - 10 * np.log10(4))):
        link = channels.DigitalLink(awgn, "qpsk", rate)
        lost.append(np.mean([not r.ok for r in link.send(payloads, snr_db, seed)]))
        assert link.uses(20) == 4 ** (rate < 0.2) * channels.DigitalLink(awgn, "qpsk", 1 / 5).uses(20)
    spread = 4 * np.sqrt(np.mean(lost) * (1 - np.mean(lost)) * 2 / 600)
    assert 0.05 < np.mean(lost) < 0.95, (seed, lost)
    assert abs(lost[0] - lost[1]) < spread, (seed, lost)


@pytest.mark.parametrize("coding", list(fec.CODES))
@pytest.mark.parametrize("size", [1, 5, 40, 600])
def test_what_never_came_does_not_pass_its_crc(coding: str, size: int, seed: int) -> None:
    """Nothing received (LLRs of 0, or not a number) decodes to zeros, whose unmasked CRC would be right."""
    link = channels.DigitalLink(channels.create("erasure", loss=1.0), coding=coding)
    assert not any(r.ok for r in link.send([b"\x17" * size] * 3, 10.0, seed))
    shape = link.grant(size)
    for llr in (0.0, float("nan")):
        received = torch.full((shape.blocks, shape.n), llr)
        bits, _ = fec.code(shape).decode(received)
        assert not fec.payload_of(bits.reshape(-1), size)[1]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), None, "junk", True, -1.5])
def test_analog_link_asks_for_whole_numbers(value: Any) -> None:
    link = channels.AnalogLink(channels.create("awgn"))
    with pytest.raises(InputError, match="whole number"):
        link.uses(value)
    with pytest.raises(InputError, match="whole number"):
        link.max_symbols(value)
    with pytest.raises(InputError, match="normalise must be true or false"):
        channels.AnalogLink(channels.create("awgn"), normalise="junk")  # type: ignore[arg-type]


@pytest.mark.parametrize("coding", ["ldpc", "polar", "convolutional", "uncoded", "ideal", "finite"])
def test_bsc_refuses_all_but_qpsk_at_once(coding: str) -> None:
    with pytest.raises(InputError, match="channel 'bsc' carries modulation qpsk alone, not 'qam16'"):
        channels.DigitalLink(channels.create("bsc"), "qam16", coding=coding)
    assert channels.DigitalLink(channels.create("bsc"), coding=coding).send([b"ab"], 20.0, 1)[0].ok


def test_all_that_is_like_bytes_is_sent() -> None:
    numbers = np.arange(3, dtype=np.int32)
    sent: list[Any] = [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(numbers)]
    received = channels.DigitalLink(channels.create("awgn")).send(sent, 20.0, 1)
    assert [r.payload for r in received] == [b"abc"] * 3 + [numbers.tobytes()]


@pytest.mark.parametrize("symbols", [None, 5, "ab", [None], [[1, [2]]]])
def test_symbols_that_are_none(symbols: Any) -> None:
    with pytest.raises(InputError, match="symbols must be"):
        channels.AnalogLink(channels.create("awgn")).send(symbols, 5.0, 1)


@pytest.mark.parametrize("value", [True, None, "x", [], 2.0])
def test_digital_link_asks_for_whole_numbers(value: Any) -> None:
    link = channels.DigitalLink(channels.create("awgn"))
    with pytest.raises(InputError, match="a payload has 1 to"):
        link.uses(value)
    with pytest.raises(InputError, match="channel_uses must be a whole number"):
        link.max_bytes(value)
    for bad in ([], {}):
        with pytest.raises(InputError, match="unknown protection"):
            link.uses(3, bad)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="unknown protection"):
            link.max_bytes(3, bad)  # type: ignore[arg-type]


def test_numpy_numbers_are_numbers() -> None:
    channel = channels.create("rayleigh", coherence=np.int64(4))
    assert channel.uses(np.int64(8)) == 8
    assert channels.create("rician", k_db=np.float32(3)).uses(3) == 3
