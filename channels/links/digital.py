"""Bytes over a channel, with an account of every channel use."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from channels import fec
from channels.base import Channel, snr_rows
from channels.draws import Seed, row_seeds
from channels.errors import InputError, unknown
from channels.links import bounds, coded
from channels.links.reception import Reception
from channels.links.sending import Sending, chunks
from channels.modem import bits_per_symbol
from channels.threads import single_thread

CODINGS = ("ldpc", "ideal")
# Classes of packets: the link's own scheme, or QPSK at the mother code's rate 1/5 and at repetitions of it.
ROBUST = {"robust": 5, "robust-1/10": 10, "robust-1/20": 20, "robust-1/40": 40, "robust-1/80": 80}
PROTECTIONS = ("payload", *ROBUST)


class DigitalLink:
    """Payload bytes -> CRC, segmentation, 5G LDPC, scrambling, QAM, channel, and back.

    No length is sent: the receiver is scheduled and knows the grant, from which the payload length follows.

    :param modulation: "qpsk", "qam16", "qam64" or "qam256", for packets of protection "payload"; "robust"
        packets use QPSK at rate 1/5, "robust-1/10" to "robust-1/80" at that lower rate.
    :param code_rate: information bits (CRC included) per code bit, 1/100 to 0.926; below 1/5 the code bits are
        repeated and their LLRs added. Very short payloads get a little more parity than asked where the code
        could not even be decoded without noise.
    :param coding: "ldpc", or "ideal": the capacity bound. A payload of b bits then arrives exactly if
        b <= sum_i log2(1 + 1 / no_i) over the symbols that the LDPC link would have used.
    """

    def __init__(
        self, channel: Channel, modulation: str = "qpsk", code_rate: float = 0.5, coding: str = "ldpc"
    ) -> None:
        if not isinstance(channel, Channel):
            raise InputError(f"channel must come from channels.create(...), not {channel!r}")
        if coding not in CODINGS:
            raise unknown("coding", coding, CODINGS)
        self.channel, self.modulation, self.coding = channel, modulation, coding
        self.code_rate = float(fec.code_rate(code_rate))
        self._mcs = {
            "payload": (bits_per_symbol(modulation), fec.code_rate(code_rate)),
            **{name: (bits_per_symbol("qpsk"), Fraction(1, parts)) for name, parts in ROBUST.items()},
        }
        self._sizes: dict[tuple[int, str], int] = {}

    def grant(self, payload_bytes: int, protection: str = "payload") -> fec.Grant:
        """The segmentation and code of a payload of that length."""
        if protection not in self._mcs:
            raise unknown("protection", protection, PROTECTIONS)
        if not isinstance(payload_bytes, int | np.integer) or not 1 <= payload_bytes <= fec.MAX_PAYLOAD:
            raise InputError(f"a payload has 1 to {fec.MAX_PAYLOAD} bytes, not {payload_bytes!r}")
        return fec.grant(int(payload_bytes), *self._mcs[protection])

    def uses(self, payload_bytes: int, protection: str = "payload") -> int:
        """Channel uses of one payload, everything included."""
        return self.channel.uses(self.grant(payload_bytes, protection).symbols)

    def max_bytes(self, channel_uses: int, protection: str = "payload") -> int:
        """The largest payload in bytes with ``uses(payload) <= channel_uses``; 0 when none fits."""
        if protection not in self._mcs:
            raise unknown("protection", protection, PROTECTIONS)
        if not isinstance(channel_uses, int | np.integer):
            raise InputError(f"channel_uses must be a whole number, not {channel_uses!r}")
        key = int(channel_uses), protection
        if key not in self._sizes:
            self._sizes[key] = self._largest(*key)
        return self._sizes[key]

    def _largest(self, channel_uses: int, protection: str) -> int:
        m, rate = self._mcs[protection]
        symbols = self.channel.symbols(channel_uses)
        # uses() may fall by a few symbols where one more block makes all blocks rounder, so bisection could
        # miss the largest. But no payload has a higher rate than asked: a bound to walk down from.
        size = min(int(symbols * m * rate - 16) // 8, fec.MAX_PAYLOAD)
        while size >= 1 and fec.grant(size, m, rate).symbols > symbols:
            size -= 1
        return max(size, 0)

    def send(
        self,
        payloads: Sequence[bytes],
        snr_db: float | Sequence[float],
        seed: Seed,
        protection: Sequence[str] | None = None,
    ) -> list[Reception]:
        """Send each payload over its own realisation of the channel.

        :param payloads: 1 byte to 1 MB each, of any mixture of lengths.
        :param snr_db: Es/N0 [dB]: one for all, or one for each payload.
        :param seed: one integer for each payload (or one for all, from which theirs are derived).
        :param protection: one of ``PROTECTIONS`` for each payload; None: all "payload".
        :returns: one reception for each payload, in order; it depends on the payload's own seed, SNR and
            protection alone, not on what else is sent with it.
        """
        classes = ["payload"] * len(payloads) if protection is None else list(protection)
        if len(classes) != len(payloads):
            raise InputError(f"protection has {len(classes)} entries for {len(payloads)} payloads")
        grants = [self.grant(len(p), c) for p, c in zip(payloads, classes, strict=True)]
        seeds, snrs = row_seeds(seed, len(payloads)), snr_rows(snr_db, len(payloads))
        receptions: list[Reception | None] = [None] * len(payloads)
        sending = Sending(self.channel, payloads, grants, snrs, seeds)
        deliver = bounds.deliver if self.coding == "ideal" else coded.deliver
        for chunk in chunks(grants):
            with single_thread():
                deliveries = deliver(sending, chunk)
            for row, delivery in deliveries.items():
                uses = self.channel.uses(grants[row].symbols)
                receptions[row] = Reception(delivery.payload, delivery.ok, grants[row].ledger(uses))
        return [r for r in receptions if r is not None]
