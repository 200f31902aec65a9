"""The 5G NR uplink: exact without noise, Sionna's own chain in noise, every slot accounted for."""

from __future__ import annotations

import pickle
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
import torch

import channels
from channels import fec
from channels.errors import InputError
from channels.links.pusch import PuschLink, nr_mcs


def tdl(**options: Any) -> channels.Channel:
    return channels.create("tdl", **({"rx_antennas": 2, "delay_spread_ns": 50} | options))


def estimating(**options: Any) -> channels.Channel:
    return tdl(csi="estimated", **options)


@pytest.mark.parametrize(
    ("channel", "options"),
    [
        (estimating(), {}),
        (estimating(), {"mcs_index": 3, "resource_blocks": 1}),
        (estimating(model="D", speed_kmh=30), {"mcs_index": 16, "resource_blocks": 3}),
        (tdl(), {"mcs_index": 28, "resource_blocks": 2}),  # rate 0.94, CRC included
        (tdl(), {"mcs_index": 27, "mcs_table": 2, "resource_blocks": 5}),
        (tdl(), {"mcs_index": 20, "resource_blocks": 21}),  # several code blocks of unequal length
        (tdl(rx_antennas=8, tx_antennas=2), {"mcs_index": 11, "mcs_table": 3}),
        (estimating(rx_antennas=8, tx_antennas=4), {"mcs_index": 5}),
    ],
)
def test_without_noise_every_payload_arrives(
    channel: channels.Channel, options: dict[str, int], seed: int
) -> None:
    link, rng = PuschLink(channel, **options), np.random.default_rng(seed)
    block = link.max_bytes(link.slot_uses)
    sizes = [1, 2, block - 1, block, block + 1, 2 * block, 2 * block + 1, *rng.integers(1, 3 * block, 4)]
    payloads = [rng.bytes(int(size)) for size in sizes]
    for payload, received in zip(payloads, link.send(payloads, 90.0, seed), strict=True):
        assert received.ok and received.payload == payload


def plain(channel: channels.Channel, mcs_index: int, snr_db: float, slots: int) -> int:
    """Slots that Sionna loses over TDL-A, called as in its tutorials."""
    from sionna.phy.channel import OFDMChannel
    from sionna.phy.channel.tr38901 import TDL
    from sionna.phy.nr import PUSCHConfig, PUSCHReceiver, PUSCHTransmitter

    config = PUSCHConfig()
    config.carrier.n_size_grid, config.carrier.subcarrier_spacing = 4, 30
    config.dmrs.additional_position, config.tb.mcs_index = 1, mcs_index
    transmitter = PUSCHTransmitter(config)
    perfect: Any = channel.csi == "perfect"  # type: ignore[attr-defined]
    estimator = "perfect" if perfect else None
    receiver = PUSCHReceiver(transmitter, channel_estimator=estimator, return_tb_crc_status=True)
    model = TDL("A", 50e-9, 3.5e9, min_speed=3 / 3.6, num_rx_ant=2)
    air = OFDMChannel(model, transmitter.resource_grid, normalize_channel=False, return_channel=True)
    lost, no = 0, torch.tensor(10 ** (-snr_db / 10))
    for _ in range(slots // 20):
        x, _ = transmitter(20)
        y, h = air(x, no)
        lost += int((~receiver(*((y, no, h) if perfect else (y, no)))[1]).sum())
    return lost


@pytest.mark.parametrize(("csi", "mcs_index", "snr_db"), [("estimated", 10, 4.0), ("perfect", 5, 0.0)])
def test_block_errors_are_those_of_sionna_called_plainly(
    csi: str, mcs_index: int, snr_db: float, seed: int
) -> None:
    from sionna.phy import config

    config.seed = seed
    link, slots = PuschLink(tdl(csi=csi), mcs_index), 400
    payloads = [np.random.default_rng(seed).bytes(link.max_bytes(link.slot_uses))] * slots
    ours = np.mean([not r.ok for r in link.send(payloads, snr_db, seed)])
    theirs = plain(link.channel, mcs_index, snr_db, slots) / slots
    both = (ours + theirs) / 2
    assert 0.02 < both < 0.9
    assert abs(ours - theirs) < 5 * (2 * both * (1 - both) / slots) ** 0.5


@pytest.mark.parametrize(("mcs_index", "resource_blocks", "snrs"), [(10, 4, (-3, 20)), (20, 21, (5, 30))])
def test_decisions_are_those_of_sionnas_decoder(
    mcs_index: int, resource_blocks: int, snrs: tuple[float, float], seed: int
) -> None:
    from sionna.phy.nr import TBDecoder

    link = PuschLink(tdl(), mcs_index, resource_blocks=resource_blocks)
    block = link._block("payload")
    reference = TBDecoder(block.transmitter._tb_encoder)
    payload, count = (
        np.random.default_rng(seed).bytes(block.size // 8),
        80 // block.transmitter._tb_encoder.num_cbs,
    )
    faded = enumerate(np.linspace(*snrs, count))  # a fade for each, else one good fade may carry all
    llr = torch.cat([link._llr(block, payload, snr_db, seed + i, 1) for i, snr_db in faded])
    ours, valid = block.decode([llr])
    theirs, expected = (t[:, 0].numpy() for t in reference(llr[:, None]))
    assert 0 < valid.sum() < count
    assert np.sum(valid != expected) <= 1  # a decoder that does not stop may leave a codeword again
    assert np.array_equal(ours[valid & expected], theirs[valid & expected])


def test_more_snr_delivers_more(seed: int) -> None:
    link = PuschLink(estimating())
    delivered = [sum(r.ok for r in link.send([bytes(96)] * 60, snr, seed)) for snr in (-6.0, 0.0, 3.0, 20.0)]
    assert delivered == sorted(delivered)
    assert delivered[0] <= 5 and delivered[-1] >= 55


def test_nothing_arrives_beyond_capacity(seed: int) -> None:
    link, count = PuschLink(tdl(), mcs_index=4, resource_blocks=2), 80
    block = link._block("payload")
    data = ~torch.from_numpy(np.asarray(block.transmitter.pilot_pattern.mask[0, 0], bool))
    size, seeds = block.size // 8, [seed + i for i in range(count)]
    for snr_db in (-3.0, -1.0):
        received = link.send([bytes(size)] * count, snr_db, seeds)
        assert any(r.ok for r in received)
        for s, reception in zip(seeds, received, strict=True):
            h = next(link._slots(1, s))[0][0, 0, :, 0, 0]
            bits = torch.log2(1 + 10 ** (snr_db / 10) * h.abs().square().sum(0))[data].sum()
            assert not reception.ok or 8 * size <= float(bits)


def test_results_do_not_depend_on_what_else_is_sent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    link = PuschLink(estimating(speed_kmh=100, drop_slots=2))
    payloads = [rng.bytes(int(n)) for n in rng.choice([3, 96, 97, 300, 700], 20)]
    seeds = [int(s) for s in rng.integers(2**63, size=20)]
    classes = [str(c) for c in rng.choice(["payload", "robust", "robust-1/20"], 20)]
    snrs = [float(s) for s in rng.uniform(-5, 15, 20)]
    together = link.send(payloads, snrs, seeds, classes)
    assert 0 < sum(r.ok for r in together) < 20
    order = rng.permutation(20)
    for part in np.split(order, [1, 3, 9]):
        apart = link.send(*([s[i] for i in part] for s in (payloads, snrs, seeds, classes)))  # type: ignore[arg-type]
        assert apart == [together[i] for i in part]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    assert pickle.loads(pickle.dumps(link)).send(payloads, snrs, seeds, classes) == together
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("layers", "resource_blocks"), [(1, 4), (2, 3), (1, 21)])
def test_the_ledger_adds_up(layers: int, resource_blocks: int, seed: int) -> None:
    link = PuschLink(tdl(tx_antennas=layers), 20, resource_blocks=resource_blocks)
    size = np.random.default_rng(seed).integers(1, 3000)
    ledger, slots = link.send([bytes(int(size))], 20.0, seed)[0].ledger, link.slots(int(size))
    purposes = astuple(ledger)[:-1]
    assert ledger.channel_uses == link.uses(int(size)) == 180 * resource_blocks * slots
    assert sum(purposes) == pytest.approx(ledger.channel_uses) and min(purposes) >= 0
    # TS 38.211: 12 symbols of data, 2 of DMRS; the cyclic prefixes of a slot last as long as one more symbol.
    assert ledger.pilots == slots * resource_blocks * 12 * 3
    bits = 6 * layers  # 64-QAM
    assert ledger.payload * bits == pytest.approx(8 * size) and ledger.payload_bits == 8 * size
    block_crcs = {4: 16, 3: 16, 21: 24 + 2 * 24}  # TS 38.212, 5.2.2: two code blocks above 8424 bits
    assert ledger.crc * bits / slots == pytest.approx(block_crcs[resource_blocks])


def test_max_bytes_is_the_largest_that_fits() -> None:
    link = PuschLink(tdl())
    assert link.slot_uses == 720
    for protection in ("payload", "robust"):
        for uses in (720, 1439, 1440, 7300):
            best = link.max_bytes(uses, protection)
            assert link.uses(best, protection) <= uses < link.uses(best + 1, protection)
    assert link.max_bytes(719) == link.max_bytes(-5) == 0
    assert link.max_bytes(10**9) == fec.MAX_PAYLOAD
    with pytest.raises(InputError, match="channel_uses must be a whole number"):
        link.max_bytes(1.5)  # type: ignore[arg-type]


def test_robust_packets_survive_where_others_do_not(seed: int) -> None:
    link, payloads = PuschLink(estimating(rx_antennas=4), 20), [bytes(28)] * 20
    assert not any(r.ok for r in link.send(payloads, -1.0, seed))
    assert sum(r.ok for r in link.send(payloads, -1.0, seed, ["robust"] * 20)) >= 10
    assert link.uses(28, "robust-1/40") == PuschLink(tdl(), 2).uses(28)  # QPSK at rate 0.19


def test_sector_channels_carry_it_too(seed: int) -> None:
    link = PuschLink(channels.create("umi", rx_antennas=8, csi="estimated"))
    payloads = [np.random.default_rng(seed).bytes(200)] * 10
    assert [r.payload for r in link.send(payloads, 40.0, seed)] == payloads


def test_nothing_is_printed(seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    PuschLink(tdl(), 28, resource_blocks=7).send([b"quiet"], 10.0, 1)
    assert capfd.readouterr() == ("", "")


def test_rows_of_the_tables_are_found() -> None:
    assert nr_mcs("qam16", 340 / 1024) == (10, 1)
    assert nr_mcs("qam256", 948 / 1024) == (27, 2)
    assert nr_mcs("qpsk", 30 / 1024) == (0, 3)
    with pytest.raises(InputError, match=r"no MCS table .* has qpsk at rate 0.5"):
        nr_mcs("qpsk", 0.5)
    for rate in (None, float("nan"), "x"):
        with pytest.raises(InputError, match="code_rate must be a number"):
            nr_mcs("qpsk", rate)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("channel", "options", "message"),
    [
        (channels.create("rayleigh"), {}, "channel must be wideband"),
        (None, {}, "channel must be wideband"),
        (tdl(), {"mcs_index": 29}, "mcs_index must be a whole number >= 0 and <= 28, not 29"),
        (tdl(), {"mcs_index": 28, "mcs_table": 2}, "<= 27, not 28"),
        (tdl(), {"mcs_index": 1.0}, "mcs_index must be"),
        (tdl(), {"mcs_table": 4}, "table must be 1, 2 or 3"),
        (tdl(), {"mcs_table": []}, "table must be 1, 2 or 3"),
        (tdl(), {"resource_blocks": 0}, "resource_blocks must be"),
        (tdl(), {"resource_blocks": 276}, "resource_blocks must be"),
        (tdl(), {"mcs_index": 0}, "cannot encode mcs_index=0 .* The lowest row that it can is 2"),
        (tdl(subcarrier_spacing_khz=20), {}, "subcarrier_spacing_khz must be one of"),
        (tdl(tx_antennas=3, rx_antennas=4), {}, "tx_antennas .* must be one of"),
        (tdl(users=2), {}, "users must be 1"),
        (tdl(detector="zf"), {}, "detector must be 'lmmse'"),
    ],
)
def test_bad_options(channel: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PuschLink(channel, **options)


@pytest.mark.parametrize(
    ("payloads", "options", "message"),
    [
        ([b""], {}, "a payload has 1 to"),
        ("abc", {}, "payloads must be a list of bytes, not str"),
        ([None], {}, "payload 0 must be bytes"),
        ([b"x"], {"protection": [[]]}, "unknown protection"),
        ([b"x"], {"protection": True}, "protection must be a list"),
        ([b"x"], {"protection": ["careful"]}, "unknown protection"),
        ([b"x"], {"protection": ["payload", "payload"]}, "2 entries for 1 payloads"),
        ([b"x"], {"snr_db": float("nan")}, "snr_db must be finite"),
        ([b"x"], {"seed": [1, 2]}, "seed has 2 integers"),
    ],
)
def test_bad_calls(payloads: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PuschLink(tdl()).send(payloads, **({"snr_db": 5.0, "seed": 1} | options))
