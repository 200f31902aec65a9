"""Bytes over a channel, with an account of every channel use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from channels import fec
from channels.base import Channel, snr_rows
from channels.draws import Seed, row_seeds
from channels.errors import InputError, one_of
from channels.ledger import Ledger
from channels.links import bounds, coded
from channels.links.bounds import BOUNDS
from channels.links.harq import Harq
from channels.links.mcs import mcs
from channels.links.reception import Reception
from channels.links.sending import Delivery, Sending, check_length, check_uses, chunks, packets
from channels.modem import bits_per_symbol
from channels.threads import single_thread

CODINGS = (*fec.CODES, *BOUNDS)
FIDELITIES = ("link", "system")
# Classes of packets: the link's own scheme, or QPSK at rate 1/5 and at repetitions of it.
ROBUST = {"robust": 5, "robust-1/10": 10, "robust-1/20": 20, "robust-1/40": 40, "robust-1/80": 80}
PROTECTIONS = ("payload", *ROBUST)

Scheme = tuple[str, Fraction]  # modulation and code rate


class DigitalLink:
    """Payload bytes -> CRC, segmentation, code, scrambling, QAM, channel, and back.

    No length is sent: the receiver is scheduled and knows the grant, from which the payload length follows.

    :param modulation: "qpsk", "qam16", "qam64" or "qam256", for packets of protection "payload"; "robust"
        packets use QPSK at rate 1/5, "robust-1/10" to "robust-1/80" at that lower rate.
    :param code_rate: information bits (CRC included) per code bit, from 1/100 to the code's highest rate (0.926
        for "ldpc", 0.9 for "polar", 7/8 for "convolutional"; always 1 for "uncoded"); None: 1/2, or 1. Below the
        code's own lowest rate, code bits are repeated and their LLRs added. Very short payloads get a little more
        parity than asked where the code could not even be decoded without noise.
    :param coding: a code: "ldpc", "polar", "convolutional" or "uncoded"; or a bound on all of them over the symbols
        that the LDPC code would have used: "ideal" (capacity) or "finite" (finite block length).
    :param fidelity: "link": bit by bit; "system": block errors from the tables of Sionna SYS, for "ldpc" and the
        modulations and code rates of 3GPP TS 38.214 alone.
    :param harq: retransmissions, for "ldpc" bit by bit alone; None: one attempt.
    :param protection: more classes of packets, or other schemes for those above: class -> "qpsk-1/3" (modulation
        and code rate), or a code rate for the link's own modulation.
    """

    def __init__(
        self,
        channel: Channel,
        modulation: str = "qpsk",
        code_rate: float | None = None,
        coding: str = "ldpc",
        fidelity: str = "link",
        harq: Harq | None = None,
        protection: Mapping[str, str | float] | None = None,
    ) -> None:
        if not isinstance(channel, Channel):
            raise InputError(f"channel must come from channels.create(...), not {channel!r}")
        one_of("coding", coding, CODINGS)
        one_of("fidelity", fidelity, FIDELITIES)
        if harq is not None and not isinstance(harq, Harq):
            raise InputError(f"harq must be channels.Harq(...) or None, not {harq!r}")
        if not isinstance(protection, Mapping | None):
            raise InputError(f"protection must be a mapping from classes to schemes, not {protection!r}")
        if fidelity == "system" and coding != "ldpc":
            raise InputError(f"fidelity 'system' is for coding 'ldpc', not {coding!r}")
        if harq is not None and (coding, fidelity) != ("ldpc", "link"):
            raise InputError(
                f"harq is for coding 'ldpc' and fidelity 'link', not for {coding!r} and {fidelity!r}"
            )
        self.channel, self.modulation, self.coding = channel, modulation, coding
        self.fidelity, self.harq, self.protection = fidelity, harq, dict(protection or {})
        self._code = "ldpc" if coding in BOUNDS else coding
        bits_per_symbol(modulation)
        rate = fec.code_rate(code_rate, self._code)
        if self._code == "uncoded" and rate != 1:
            raise InputError(f"code_rate must be 1, or left out, for coding 'uncoded', not {code_rate!r}")
        self.code_rate = float(rate)
        self._schemes: dict[str, Scheme] = {
            "payload": (modulation, rate),
            **{name: ("qpsk", Fraction(1, parts)) for name, parts in ROBUST.items()},
            **{name: self._scheme(name, value) for name, value in self.protection.items()},
        }
        for name, scheme in self._schemes.items():
            self._check_scheme(name, *scheme)
        self._sizes: dict[tuple[int, str], int] = {}

    def _check_scheme(self, name: str, modulation: str, rate: Fraction) -> None:
        """:class:`InputError` unless the channel carries that class of packets, and the fidelity knows it."""
        carried = self.channel.modulations
        if carried is not None and modulation not in carried:
            raise InputError(
                f"channel {self.channel.name!r} carries modulation {' or '.join(carried)} alone, "
                f"not {modulation!r} (packets of protection {name!r})"
            )
        if self.fidelity == "system":
            from channels.links import system

            try:
                system.check(modulation, float(rate))
            except InputError as error:
                raise InputError(f"protection {name!r}: {error}") from error

    def _scheme(self, name: str, value: str | float) -> Scheme:
        """Modulation and code rate of one entry of ``protection``."""
        if not isinstance(name, str) or not name:
            raise InputError(f"protection must be a mapping from words to schemes; {name!r} is no word")
        if name == "payload":
            raise InputError("protection 'payload' is the link's own modulation and code_rate: set those")
        try:
            if isinstance(value, float | int):
                return self.modulation, fec.code_rate(value, self._code)
            scheme = mcs(value)
            return scheme.modulation, fec.code_rate(scheme.code_rate, self._code)
        except InputError as error:
            raise InputError(f"protection {name!r}: {error}") from error

    def grant(self, payload_bytes: int, protection: str = "payload") -> fec.Grant:
        """The segmentation and code of a payload of that length."""
        one_of("protection", protection, self._schemes)
        return self._grant(check_length(payload_bytes), protection)

    def _grant(self, payload_bytes: int, protection: str) -> fec.Grant:
        modulation, rate = self._schemes[protection]
        return fec.grant(payload_bytes, bits_per_symbol(modulation), rate, self._code)

    def uses(self, payload_bytes: int, protection: str = "payload") -> int:
        """Channel uses of one payload, everything included; with HARQ, what all its attempts may take together."""
        uses = self.channel.uses(self.grant(payload_bytes, protection).symbols)
        return uses if self.harq is None else self.harq.reserved(uses)

    def max_bytes(self, channel_uses: int, protection: str = "payload") -> int:
        """The largest payload in bytes with ``uses(payload) <= channel_uses``; 0 when none fits.

        With HARQ, the first attempt of that payload also meets the deadline.
        """
        one_of("protection", protection, self._schemes)
        key = check_uses(channel_uses), protection
        if key not in self._sizes:
            self._sizes[key] = self._largest(*key)
        return self._sizes[key]

    def _largest(self, channel_uses: int, protection: str) -> int:
        modulation, rate = self._schemes[protection]
        symbols = self.channel.symbols(channel_uses if self.harq is None else self.harq.longest(channel_uses))
        # uses() may fall by a few symbols where one more block makes all blocks rounder, so bisection could
        # miss the largest. But no payload has a higher rate than asked: a bound to walk down from.
        size = min(int(symbols * bits_per_symbol(modulation) * rate - 16) // 8, fec.MAX_PAYLOAD)
        while size >= 1 and self._grant(size, protection).symbols > symbols:
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
        :param protection: the class of each payload: one of ``PROTECTIONS`` or of the link's own; None: all
            "payload".
        :returns: one reception for each payload, in order; it depends on the payload's own seed, SNR and
            protection alone, not on what else is sent with it.
        """
        payloads, classes = packets(payloads, protection)
        grants = [self.grant(len(p), c) for p, c in zip(payloads, classes, strict=True)]
        seeds, snrs = row_seeds(seed, len(payloads)), snr_rows(snr_db, len(payloads))
        # Equal payloads in equal circumstances share one fate, and are decoded once.
        fates = [
            (bytes(p), s, float(snr), g) for p, s, snr, g in zip(payloads, seeds, snrs, grants, strict=True)
        ]
        first = {fate: row for row, fate in reversed(list(enumerate(fates)))}
        rows = sorted(first.values())
        sending = Sending(
            self.channel,
            [payloads[r] for r in rows],
            [grants[r] for r in rows],
            snrs[rows],
            [seeds[r] for r in rows],
        )
        receptions: dict[int, Reception] = {}
        for chunk in chunks(sending.grants, 1 if self.harq is None else self.harq.attempts):
            with single_thread():
                deliveries = self._deliver(sending, chunk)
            for i, delivery in deliveries.items():
                receptions[rows[i]] = self._reception(sending.grants[i], delivery)
        return [receptions[first[fate]] for fate in fates]

    def _deliver(self, sending: Sending, rows: Sequence[int]) -> dict[int, Delivery]:
        if self.coding in BOUNDS:
            return bounds.deliver(sending, rows, self.coding)
        if self.fidelity == "system":
            from channels.links import system

            deliveries: dict[int, Delivery] = system.deliver(sending, rows)
            return deliveries
        return coded.deliver(sending, rows) if self.harq is None else self.harq.deliver(sending, rows)

    def _reception(self, grant: fec.Grant, delivery: Delivery) -> Reception:
        uses = self.channel.uses(grant.symbols)
        data_uses = self.channel.data_uses(grant.symbols)
        ledger = grant.ledger(uses, data_uses) if delivery.attempts else Ledger()
        if delivery.attempts > 1:
            ledger = replace(ledger, retransmissions=(delivery.attempts - 1) * uses)
        return Reception(delivery.payload, delivery.ok, ledger)
