"""Whole messages over one channel: packets through a digital link, symbols through an analog one."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import channels
from channels.errors import InputError, unknown
from channels.ledger import Ledger
from semcom.types import Message, ReceivedPacket, Reception


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on every part and on nothing else (not on batch, order, process or machine)."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@dataclass(frozen=True)
class LinkBudget:
    """The channel uses that one image may cost on one link (:class:`semcom.types.Budget`)."""

    channel_uses: int
    link: Link

    def packet_bytes(self, packets: int = 1, protection: str = "payload", beside: int = 0) -> int:
        """See :meth:`semcom.types.Budget.packet_bytes`."""
        if packets < 1:
            raise ValueError(f"packets: {packets} is not a positive number")
        uses = self.channel_uses - (self.link.digital.uses(beside, protection) if beside else 0)
        return self.link.digital.max_bytes(uses // packets, protection) if uses > 0 else 0

    def symbols(self) -> int:
        """How many analog symbols fit."""
        return self.link.analog.max_symbols(self.channel_uses)


class Link:
    """A digital and an analog link over one channel.

    Every packet of a message meets its own realisation of the channel, seeded by (seed of the message, index of the
    packet); the analog block comes after the packets. Two systems that send with the same seeds therefore meet the
    same fading and the same noise, packet by packet.

    :param channel_options: of ``channels.create``; :param impairments: of ``channels.impaired``; the others: of
        ``channels.DigitalLink`` (``harq`` as a mapping of the fields of ``channels.Harq``), or of
        ``channels.PuschLink`` for the coding "pusch".
    """

    def __init__(
        self,
        channel: str,
        channel_options: Mapping[str, Any] | None = None,
        modulation: str = "qpsk",
        code_rate: float = 0.5,
        coding: str = "ldpc",
        *,
        impairments: Sequence[str | Mapping[str, Any]] | None = None,
        fidelity: str = "link",
        harq: Mapping[str, Any] | None = None,
        protection: Mapping[str, str | float] | None = None,
    ) -> None:
        self.channel = radio_channel(channel, channel_options or {}, impairments)
        self.digital = _digital(self.channel, modulation, code_rate, coding, fidelity, harq, protection)
        self.analog = channels.AnalogLink(self.channel)

    def budget(self, channel_uses: int) -> LinkBudget:
        """The budget of ``channel_uses`` on this link."""
        return LinkBudget(channel_uses, self)

    def uses(self, message: Message) -> int:
        """Channel uses that the message costs, everything included; 0 for an outage."""
        digital = sum(self.digital.uses(len(p.payload), p.protection) for p in message.packets)
        return digital + (0 if message.symbols is None else self.analog.uses(len(message.symbols)))

    def send(
        self, messages: Sequence[Message], snr_db: float | Sequence[float], seeds: Sequence[int]
    ) -> list[Reception]:
        """One reception for each message.

        :param messages: what to send; an empty message gives an empty reception with an empty ledger.
        :param snr_db: Es/N0 in dB, one for all or one for each message.
        :param seeds: one for each message.
        """
        snrs = [float(snr_db)] * len(messages) if isinstance(snr_db, int | float) else list(snr_db)
        if not len(messages) == len(snrs) == len(seeds):
            raise ValueError(
                f"{len(messages)} messages, {len(snrs)} SNRs and {len(seeds)} seeds do not match"
            )
        flat = [(i, j, p) for i, message in enumerate(messages) for j, p in enumerate(message.packets)]
        analog = [i for i, message in enumerate(messages) if message.symbols is not None]
        packets: list[list[ReceivedPacket]] = [[] for _ in messages]
        ledgers = [Ledger() for _ in messages]
        if flat:
            received = self.digital.send(
                [p.payload for _, _, p in flat],
                [snrs[i] for i, _, _ in flat],
                [derive_seed(seeds[i], j) for i, j, _ in flat],
                [p.protection for _, _, p in flat],
            )
            for (i, _, _), packet in zip(flat, received, strict=True):
                packets[i].append(ReceivedPacket(packet.payload, packet.ok))
                ledgers[i] += packet.ledger
        blocks = {}
        if analog:
            outputs = self.analog.send(
                [s for i in analog if (s := messages[i].symbols) is not None],
                [snrs[i] for i in analog],
                [derive_seed(seeds[i], len(messages[i].packets)) for i in analog],
            )
            blocks = dict(zip(analog, outputs, strict=True))
            for i, block in blocks.items():
                ledgers[i] += block.ledger
        return [
            Reception(
                tuple(packets[i]),
                blocks[i].symbols if i in blocks else None,
                blocks[i].noise_var if i in blocks else None,
                ledgers[i],
            )
            for i in range(len(messages))
        ]


def radio_channel(
    name: str, options: Mapping[str, Any], impairments: Sequence[str | Mapping[str, Any]] | None = None
) -> channels.Channel:
    """The channel of that name, with its hardware."""
    channel = channels.create(name, **options)
    return channel if impairments is None else channels.impaired(channel, impairments)


def _digital(
    channel: channels.Channel,
    modulation: str,
    code_rate: float,
    coding: str,
    fidelity: str,
    harq: Mapping[str, Any] | None,
    protection: Mapping[str, str | float] | None,
) -> channels.DigitalLink | channels.PuschLink:
    """The link of that coding; 5G NR's own has no room for the other features."""
    if coding != "pusch":
        retransmission = None if harq is None else _harq(harq)
        return channels.DigitalLink(
            channel, modulation, code_rate, coding, fidelity, retransmission, protection
        )
    if harq is not None or protection is not None or fidelity != "link":
        raise InputError("link: coding 'pusch' does not go with harq, protection or fidelity")
    return channels.PuschLink(channel, *channels.nr_mcs(modulation, code_rate))


def _harq(fields: Mapping[str, Any]) -> channels.Harq:
    if not isinstance(fields, Mapping):
        raise InputError(
            f"link.harq: expected a mapping such as {{scheme: chase, attempts: 4}}, not {fields!r}"
        )
    known = [field.name for field in dataclasses.fields(channels.Harq)]
    for field in fields:
        if field not in known:
            raise unknown("key of link.harq:", field, known)
    return channels.Harq(**fields)
