"""Link adaptation by the average SNR: the fastest MCS whose measured block error rate is low enough."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from channels.base import Channel, check_number, snr_rows
from channels.draws import Seed, row_seeds
from channels.errors import InputError
from channels.links.bler import BlerTable, bler_table, snr_list
from channels.links.digital import DigitalLink
from channels.links.mcs import MCS, candidates
from channels.links.reception import Reception
from channels.links.sending import check_length, packets


@dataclass(frozen=True)
class Choice:
    """The MCS chosen for an SNR, its measured block error rate there, and whether that is within the target."""

    mcs: MCS
    bler: float
    meets_target: bool


def choose(table: BlerTable, snr_db: float, target_bler: float = 0.1) -> Choice:
    """The MCS of highest spectral efficiency whose block error rate at ``snr_db`` [dB] is at most ``target_bler``.

    Where none is, the most robust one, which is that of lowest efficiency, with ``meets_target`` False.
    """
    _check_target(target_bler)
    snr = float(snr_rows(snr_db, 1)[0])
    rates = [float(curve.bler(snr)) for curve in table.curves]
    good = [i for i, rate in enumerate(rates) if rate <= target_bler]
    best = good[-1] if good else 0
    return Choice(table.curves[best].mcs, rates[best], bool(good))


class AdaptiveLink:
    """A :class:`DigitalLink` at each SNR: that of the fastest MCS which keeps the target there.

    The transmitter knows the average SNR and the statistics of the fading, not its realisation. The table behind it
    is measured at the first use, and kept for later runs.

    :param mcs: candidates: "table1", or a list such as ["qpsk-1/2", "table1-10"].
    :param target_bler: block error rate to stay under, between 0 and 1.
    :param payload_bytes: length of the payloads with which the table is measured.
    :param coding: of :class:`DigitalLink`.
    :param blocks: payloads sent for each point of the table; 200 know a rate of 0.1 to within 0.04.
    """

    def __init__(
        self,
        channel: Channel,
        mcs: str | MCS | Sequence[str | MCS] = "table1",
        target_bler: float = 0.1,
        payload_bytes: int = 100,
        coding: str = "ldpc",
        blocks: int = 200,
    ) -> None:
        _check_target(target_bler)
        check_number("AdaptiveLink", "blocks", blocks, 1, whole=True)
        self.channel, self.target_bler, self.coding = channel, float(target_bler), coding
        self.mcs = candidates(mcs)
        self.payload_bytes, self.blocks = check_length(payload_bytes), int(blocks)
        self._links = {m: DigitalLink(channel, m.modulation, m.code_rate, coding) for m in self.mcs}
        for link in self._links.values():
            link.grant(self.payload_bytes)  # an InputError now rather than in the middle of a sweep

    @cached_property
    def table(self) -> BlerTable:
        """The measured block error rates: from an earlier run, or measured now."""
        return bler_table(self.channel, self.mcs, self.payload_bytes, blocks=self.blocks, coding=self.coding)

    def choice(self, snr_db: float) -> Choice:
        """The MCS that is used at ``snr_db`` [dB], and what is known of it."""
        return choose(self.table, snr_db, self.target_bler)

    def at(self, snr_db: float) -> DigitalLink:
        """The link that is used at ``snr_db`` [dB]."""
        return self._links[self.choice(snr_db).mcs]

    def uses(self, payload_bytes: int, snr_db: float, protection: str = "payload") -> int:
        """Channel uses of one payload at that SNR, everything included."""
        return self.at(snr_db).uses(payload_bytes, protection)

    def max_bytes(self, channel_uses: int, snr_db: float, protection: str = "payload") -> int:
        """The largest payload in bytes that fits into ``channel_uses`` at that SNR; 0 when none does."""
        return self.at(snr_db).max_bytes(channel_uses, protection)

    def send(
        self,
        payloads: Sequence[bytes],
        snr_db: float | Sequence[float],
        seed: Seed,
        protection: Sequence[str] | None = None,
    ) -> list[Reception]:
        """:meth:`DigitalLink.send`, each payload over the link of its SNR."""
        payloads, classes = packets(payloads, protection)
        seeds, snrs = row_seeds(seed, len(payloads)), snr_rows(snr_db, len(payloads)).tolist()
        chosen = {snr: self.choice(snr).mcs for snr in set(snrs)}
        same: dict[MCS, list[int]] = defaultdict(list)
        for row, snr in enumerate(snrs):
            same[chosen[snr]].append(row)
        received: dict[int, Reception] = {}
        for scheme, rows in same.items():
            some = self._links[scheme].send(
                [payloads[r] for r in rows],
                [snrs[r] for r in rows],
                [seeds[r] for r in rows],
                [classes[r] for r in rows],
            )
            received.update(zip(rows, some, strict=True))
        return [received[row] for row in range(len(payloads))]


@dataclass(frozen=True)
class OperatingPoint:
    """The best MCS at an SNR: the payload that fits, how often it is lost, and the goodput.

    ``goodput``: payload bits that arrive per channel use, 8 payload_bytes (1 - bler) / channel_uses.
    """

    snr_db: float
    mcs: MCS
    payload_bytes: int
    bler: float
    goodput: float


def envelope(
    channel: Channel,
    mcs: str | MCS | Sequence[str | MCS],
    snr_db: float | Sequence[float],
    channel_uses: int,
    coding: str = "ldpc",
    blocks: int = 200,
) -> list[OperatingPoint]:
    """The best MCS at equal channel uses, one point for each SNR [dB]: most payload bits that arrive.

    Each MCS sends the largest payload that fits into ``channel_uses``; its block error rate is measured with payloads
    of that length (and kept, see :func:`bler_table`).
    """
    snrs = snr_list(snr_db)
    fits = [
        (m, size)
        for m in candidates(mcs)
        if (size := DigitalLink(channel, m.modulation, m.code_rate, coding).max_bytes(channel_uses)) > 0
    ]
    if not fits:
        raise InputError(
            f"channel_uses: no payload of one byte fits into {channel_uses} with any of the MCSs"
        )
    schemes, sizes = [m for m, _ in fits], [size for _, size in fits]
    table = bler_table(channel, schemes, sizes, blocks=blocks, coding=coding)
    points = []
    for snr in snrs:
        rates = [float(curve.bler(snr)) for curve in table.curves]
        goodput = [8 * size * (1 - rate) / channel_uses for size, rate in zip(sizes, rates, strict=True)]
        best = max(range(len(fits)), key=lambda i: (goodput[i], -i))
        points.append(OperatingPoint(snr, schemes[best], sizes[best], rates[best], goodput[best]))
    return points


def _check_target(target_bler: float) -> None:
    check_number("link adaptation", "target_bler", target_bler, 0, 1)
