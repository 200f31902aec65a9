"""Bytes over the physical uplink shared channel (PUSCH) of 5G NR: transport blocks in slots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from channels import fec
from channels.base import Channel, check_number, snr_rows
from channels.draws import Seed, complex_normal, generator, row_seeds
from channels.errors import InputError, one_of
from channels.fec.bits import to_bits, to_bytes
from channels.ledger import Ledger
from channels.links.digital import PROTECTIONS
from channels.links.mcs import table
from channels.links.reception import Reception
from channels.links.sending import check_length, check_uses, packets
from channels.links.transport import TransportBlock, most_robust, transport_block
from channels.ofdm.grid import SYMBOLS
from channels.ofdm.wideband import Wideband
from channels.threads import single_thread

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 2**22  # code bits decoded at once, which bounds the memory
_SPACINGS_KHZ = (15, 30, 60, 120)
_LAYERS = (1, 2, 4)  # as many as antenna ports


class PuschLink:
    """Payload bytes -> 5G NR transport blocks -> PUSCH over the impulse responses of a wideband channel, and back.

    A slot carries one transport block, whose size follows from MCS and resource blocks (TS 38.214, 6.1.4.2): CRC,
    segmentation, LDPC, scrambling, QAM, layers, DMRS in OFDM symbols 2 and 11. A longer payload is cut over several
    slots and arrives if all their CRCs hold; zeros fill the last. Sionna's PUSCHTransmitter and PUSCHReceiver (LS
    estimation with linear interpolation, or the true channel for csi="perfect"; LMMSE detection), and the LDPC decoder
    of all links here. As everywhere, SNR is Es/N0 per receive antenna on each resource element, and all layers share
    power 1; unused DMRS elements lend theirs to the pilots.

    A slot costs its bandwidth times its duration, 180 channel uses a resource block: 168 resource elements, and 12
    for the normal cyclic prefix, 1/15 of the time (TS 38.211, 5.3.1). Of the channel's options, those of its own grid
    (subcarriers, guard_carriers, cyclic_prefix, charge) do not matter here, except that its impulse response moves on
    by one of its own OFDM symbols at a time.

    :param channel: a wideband channel for one user (tdl, cdl, umi, ...); its transmit antennas (1, 2 or 4) send one
        layer each.
    :param mcs_index: row of ``mcs_table`` (1, 2 or 3: TS 38.214, tables 5.1.3.1-1 to -3) for packets of protection
        "payload". Sionna's LDPC cannot repeat bits, so that rates below 1/5 (below 1/3 for large blocks) are refused.
        Every "robust" protection uses the lowest row of the table that is not.
    :param resource_blocks: 1 to 275, of 12 subcarriers each.
    """

    def __init__(
        self, channel: Channel, mcs_index: int = 10, mcs_table: int = 1, resource_blocks: int = 4
    ) -> None:
        self.channel, self._wideband = channel, _checked(channel)
        rows = len(table(mcs_table))
        check_number("pusch", "mcs_index", mcs_index, 0, rows - 1, whole=True)
        check_number("pusch", "resource_blocks", resource_blocks, 1, 275, whole=True)
        self.mcs_index, self.mcs_table = int(mcs_index), int(mcs_table)
        self.resource_blocks = int(resource_blocks)
        self._format = self.mcs_table, self.resource_blocks, self._wideband.tx_antennas, self._wideband.csi
        self._block("payload")

    @property
    def slot_uses(self) -> int:
        """Channel uses of a slot: 180 for each resource block."""
        return 180 * self.resource_blocks

    def slots(self, payload_bytes: int, protection: str = "payload") -> int:
        """Slots of one payload: one for each transport block."""
        return -(-8 * check_length(payload_bytes) // self._block(protection).size)

    def uses(self, payload_bytes: int, protection: str = "payload") -> int:
        """Channel uses of one payload, everything included: whole slots."""
        return self.slots(payload_bytes, protection) * self.slot_uses

    def max_bytes(self, channel_uses: int, protection: str = "payload") -> int:
        """The largest payload in bytes with ``uses(payload) <= channel_uses``; 0 when none fits."""
        block = self._block(protection)
        return min(max(check_uses(channel_uses) // self.slot_uses, 0) * block.size // 8, fec.MAX_PAYLOAD)

    def send(
        self,
        payloads: Sequence[bytes],
        snr_db: float | Sequence[float],
        seed: Seed,
        protection: Sequence[str] | None = None,
    ) -> list[Reception]:
        """Send each payload over its own realisation of the channel; as :meth:`DigitalLink.send`."""
        payloads, classes = packets(payloads, protection)
        counts = [self.slots(len(p), c) for p, c in zip(payloads, classes, strict=True)]
        seeds, snrs = row_seeds(seed, len(payloads)), snr_rows(snr_db, len(payloads))
        receptions: dict[int, Reception] = {}
        with single_thread():
            for name in dict.fromkeys(classes):
                block = self._block(name)
                for rows in _parts([r for r, c in enumerate(classes) if c == name], counts, block.code_bits):
                    llr = [self._llr(block, payloads[r], snrs[r], seeds[r], counts[r]) for r in rows]
                    bits, valid = block.decode(llr)
                    first = 0
                    for row in rows:
                        part, first = slice(first, first + counts[row]), first + counts[row]
                        data = to_bytes(bits[part].reshape(-1)[: 8 * len(payloads[row])])
                        ledger = self._ledger(block, counts[row], len(payloads[row]))
                        receptions[row] = Reception(data, bool(valid[part].all()), ledger)
        return [receptions[row] for row in range(len(payloads))]

    def _llr(self, block: TransportBlock, payload: bytes, snr_db: float, seed: int, slots: int) -> Tensor:
        """[slots, code bits] of a payload, slot by slot: each is the same computation, whatever else is sent."""
        import torch

        sent = np.zeros(slots * block.size, np.uint8)
        sent[: 8 * len(payload)] = to_bits(payload)
        no = torch.tensor(10 ** (-snr_db / 10), dtype=torch.float32)
        blocks = zip(sent.reshape(slots, -1), self._slots(slots, seed), strict=True)
        return torch.stack([block.transmit(bits, h, w, no) for bits, (h, w) in blocks])

    def _slots(self, slots: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Channel [1, 1, rx antennas, 1, layers, 14, subcarriers], and unit noise of the shape of what is received."""
        import torch
        from sionna.phy.channel import cir_to_ofdm_channel, subcarrier_frequencies

        channel, width = self._wideband, 12 * self.resource_blocks
        spacing = 1e3 * channel.subcarrier_spacing_khz
        frequencies = subcarrier_frequencies(width, spacing, precision="single", device="cpu")
        shape = 1, 1, channel.rx_antennas, SYMBOLS, width
        drops = generator(seed, "drops").integers(2**63, size=-(-slots // channel.drop_slots)).tolist()
        for number, drop in enumerate(drops):
            count = min(channel.drop_slots, slots - number * channel.drop_slots)
            a, tau = channel.cir(drop, SYMBOLS * count)
            noise = generator(drop, "noise")
            for slot in range(count):
                now = a[..., SYMBOLS * slot : SYMBOLS * (slot + 1)].contiguous()
                h = cir_to_ofdm_channel(frequencies, now, tau)
                yield h, torch.from_numpy(complex_normal(noise, int(np.prod(shape))).reshape(shape))

    def _block(self, protection: str) -> TransportBlock:
        one_of("protection", protection, PROTECTIONS)
        if protection != "payload":
            return most_robust(*self._format)
        try:
            return transport_block(self.mcs_index, *self._format)
        except ValueError as error:
            raise InputError(
                f"pusch: Sionna cannot encode mcs_index={self.mcs_index} of mcs_table={self.mcs_table} on "
                f"resource_blocks={self.resource_blocks}: {error} The lowest row that it can is "
                f"{most_robust(*self._format).mcs_index}"
            ) from error

    def _ledger(self, block: TransportBlock, slots: int, payload_bytes: int) -> Ledger:
        """Where the uses of ``slots`` slots go; pilots hold DMRS, what is silent beside them, and cyclic prefixes."""
        payload, bits = 8 * payload_bytes, block.bits_per_element
        return Ledger(
            payload=payload / bits,
            crc=slots * block.crc / bits,
            filler=(slots * block.size - payload) / bits,
            parity=slots * (block.code_bits - block.size - block.crc) / bits,
            pilots=slots * (self.slot_uses - block.code_bits // bits),
            payload_bits=payload,
        )


def _checked(channel: Channel) -> Wideband:
    if not isinstance(channel, Wideband):
        raise InputError(f"pusch: channel must be wideband (tdl, cdl, umi, ...), not {channel!r}")
    spacing, layers = channel.subcarrier_spacing_khz, channel.tx_antennas
    if spacing not in _SPACINGS_KHZ:
        raise InputError(f"pusch: subcarrier_spacing_khz must be one of {_SPACINGS_KHZ}, not {spacing!r}")
    if channel.users != 1:
        raise InputError(f"pusch: users must be 1, not {channel.users}")
    if layers not in _LAYERS:
        raise InputError(f"pusch: tx_antennas (a layer each) must be one of {_LAYERS}, not {layers}")
    if channel.detector != "lmmse":
        raise InputError(f"pusch: detector must be 'lmmse', not {channel.detector!r}")
    return channel


def _parts(rows: Sequence[int], counts: Sequence[int], code_bits: int) -> Iterator[list[int]]:
    """Rows in parts of bounded size; ``counts``: the slots of each row."""
    part: list[int] = []
    for row in rows:
        if part and sum(counts[r] for r in [*part, row]) * code_bits > _CHUNK:
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def nr_mcs(modulation: str, code_rate: float) -> tuple[int, int]:
    """Row and table (``mcs_index``, ``mcs_table``) of TS 38.214 with that modulation and code rate."""
    check_number("pusch", "code_rate", code_rate, 0, 1)
    for number in (1, 2, 3):
        for index, row in enumerate(table(number)):
            if row.modulation == modulation and abs(row.code_rate - code_rate) < 1e-6:
                return index, number
    raise InputError(
        f"pusch: no MCS table of TS 38.214 has {modulation} at rate {code_rate:.4g}; give an MCS like 'table1-10'"
    )
