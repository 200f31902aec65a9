"""OFDM over any model that draws impulse responses: resource grid, estimation, equalisation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from channels.base import Channel, check_number
from channels.draws import generator, sionna_draws
from channels.errors import InputError, one_of
from channels.mimo.detect import LINEAR, SOFT, detect, equalise
from channels.modem import modem
from channels.ofdm.estimation import estimate
from channels.ofdm.grid import DATA, SYMBOLS, Grid
from channels.ofdm.precoding import PRECODERS, precode
from channels.ofdm.slot import Slot, WidebandRealisation, normal
from channels.threads import single_thread

if TYPE_CHECKING:
    from torch import Tensor

CSI = ("perfect", "estimated")
CHARGES = ("shared", "slots")
DIRECTIONS = ("uplink", "downlink")


@dataclass(kw_only=True, repr=False, eq=False)
class Wideband(Channel):
    """Base of the OFDM channels; a subclass writes :meth:`cir`.

    On each resource element, r = H x + w: the channel does not change within an OFDM symbol (no intercarrier
    interference), and echoes beyond the cyclic prefix do not disturb. Total transmit power is 1 on each resource
    element, those of pilots included; in the uplink of several users each has power 1. A message fills the data of
    a slot frequency first (streams before frequency); others fill the rest. It runs over a drop of at most
    ``drop_slots`` slots; a longer one goes on over a fresh, independent drop.

    :param subcarriers: FFT size, ``guard_carriers`` (both sides together) and the carrier at DC included.
    :param cyclic_prefix: in samples.
    :param csi: "perfect"; or "estimated", least squares at the pilots and linear interpolation.
    :param charge: "shared": a message pays its share of the slots; "slots": it pays whole slots.
    :param tx_antennas: one user: also the number of its streams, each with power 1 / tx_antennas (open loop).
    :param detector: "lmmse", "zf", "mrc"; "kbest" and "ep" for QAM (:meth:`soft`; analog symbols meet "lmmse").
    :param users: more than one: massive MIMO. Single-antenna users, all on the same resource elements; the message
        is the first one's, the others send or are sent Gaussian symbols.
    :param direction: with several users, "uplink" to ``rx_antennas``, detected jointly, or "downlink" from
        ``tx_antennas``, precoded by "mrt", "zf" or "rzf" from what the base station knows: with csi="estimated", the
        uplink's estimate at the same SNR. A downlink user knows its effective gain and its interference power.
    """

    subcarriers: int = 76
    guard_carriers: int = 3
    cyclic_prefix: int = 6
    subcarrier_spacing_khz: float = 30.0
    carrier_ghz: float = 3.5
    speed_kmh: float = 3.0
    drop_slots: int = 20
    csi: str = "perfect"
    charge: str = "shared"
    tx_antennas: int = 1
    rx_antennas: int = 1
    detector: str = "lmmse"
    users: int = 1
    direction: str = "uplink"
    precoder: str = "rzf"

    def __post_init__(self) -> None:
        for field, low, high in (
            ("subcarriers", 2, 4096), ("guard_carriers", 0, 4096), ("cyclic_prefix", 0, self.subcarriers),
            ("drop_slots", 1, 10_000), ("tx_antennas", 1, 1024), ("rx_antennas", 1, 1024), ("users", 1, 256),
        ):  # fmt: skip
            check_number(self.name, field, getattr(self, field), low, high, whole=True)
        check_number(self.name, "subcarrier_spacing_khz", self.subcarrier_spacing_khz, 1, 10_000)
        check_number(self.name, "carrier_ghz", self.carrier_ghz, 0.5, 100)  # the range of TR 38.901
        check_number(self.name, "speed_kmh", self.speed_kmh, 0, 3_000)
        self.check_name("csi", CSI)
        self.check_name("charge", CHARGES)
        self.check_name("detector", (*LINEAR, *SOFT))
        self.check_name("direction", DIRECTIONS)
        self.check_name("precoder", PRECODERS)
        self._check_antennas()

    def check_name(self, field: str, known: Sequence[str]) -> None:
        """:class:`InputError` unless the option's value is one of ``known``."""
        one_of(f"{field} of channel {self.name!r}:", getattr(self, field), known)

    def _check_antennas(self) -> None:
        used, streams = len(self._grid.used), self._grid.combs
        if used < (streams if self.csi == "estimated" else 1):
            raise InputError(
                f"{self.name}: guard_carriers={self.guard_carriers} and DC leave {used} of {self.subcarriers} "
                f"subcarriers; {streams} stream(s) need at least as many"
            )
        if self.users > 1:
            field = "rx_antennas" if self._downlink else "tx_antennas"
            if getattr(self, field) != 1:
                raise InputError(
                    f"{self.name}: {field} must be 1, not {getattr(self, field)}, in the {self.direction} of "
                    f"{self.users} users: they have one antenna each"
                )
        if self.precoder != "rzf" and not self._downlink:
            raise InputError(f"{self.name}: precoder {self.precoder!r} is for the downlink of several users")
        if self.detector != "lmmse" and self._downlink:
            raise InputError(
                f"{self.name}: detector {self.detector!r} is for the uplink; the downlink has a precoder"
            )
        zero_forcing = self.precoder if self._downlink else self.detector
        antennas = "tx_antennas" if self._downlink else "rx_antennas"
        if zero_forcing in ("zf", "kbest") and streams > getattr(self, antennas):
            what = "users" if self.users > 1 else "tx_antennas"
            raise InputError(
                f"{self.name}: {what}={streams} exceeds {antennas}={getattr(self, antennas)}, which "
                f"{zero_forcing!r} cannot separate; use 'lmmse' ('rzf' in the downlink), or more antennas"
            )

    @cached_property
    def _grid(self) -> Grid:
        combs = self.users if self.users > 1 else self.tx_antennas
        return Grid(self.subcarriers, self.guard_carriers, self.cyclic_prefix, combs)

    @property
    def _downlink(self) -> bool:
        return self.users > 1 and self.direction == "downlink"

    @property
    def _streams(self) -> int:
        """Symbols of the message on each resource element."""
        return self.tx_antennas if self.users == 1 else 1

    @property
    def symbol_seconds(self) -> float:
        """Duration of an OFDM symbol with its cyclic prefix [s]: the step of :meth:`cir` over time."""
        return (1 + self.cyclic_prefix / self.subcarriers) / (1e3 * self.subcarrier_spacing_khz)

    @property
    def prefix_seconds(self) -> float:
        """Duration of the cyclic prefix [s]."""
        return self.cyclic_prefix / self.subcarriers / (1e3 * self.subcarrier_spacing_khz)

    @abstractmethod
    def cir(self, seed: int, symbols: int) -> tuple[Tensor, Tensor]:
        """Impulse response of one drop, drawn inside ``sionna_draws(seed, ...)``.

        E|h|^2 = 1 for each pair of antennas, on average over drops. The start of a drop does not depend on
        ``symbols``.

        :param symbols: time steps, one an OFDM symbol.
        :returns: path coefficients [1, num_rx, rx_ant, num_tx, tx_ant, paths, symbols] complex64, and delays [s]
            [1, num_rx, num_tx, paths] float32. Uplink of several users: num_tx is their number; downlink: num_rx.
        """

    def links(self, seed: int, draw: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """One link for each user, all drawn alike and independently: an answer for :meth:`cir`."""
        import torch

        links = []
        for user in range(self.users):
            with sionna_draws(seed, f"user{user}"):
                links.append(draw())
        a, tau = zip(*links, strict=True)
        return torch.cat(a, dim=1 if self._downlink else 3), torch.cat(tau, dim=1 if self._downlink else 2)

    def uses(self, n: int) -> int:
        """The message's share of its slots, pilots, guard carriers, DC and cyclic prefix included; or all of them."""
        return self._grid.uses(n, self._streams, self.charge)

    @property
    def equalises(self) -> bool:
        """Not with a detector that works on the constellation."""
        return self.detector in LINEAR

    def data_uses(self, n: int) -> int:
        """Resource elements of the message."""
        return -(-n // self._streams)

    def realise(self, n: int, seeds: Sequence[int]) -> WidebandRealisation:
        """Keep the seeds."""
        return WidebandRealisation(n, tuple(seeds))

    def slots(self, n: int, seed: int) -> Iterator[Slot]:
        """The slots of a row of ``n`` symbols; only one drop of them is in memory."""
        import torch
        from sionna.phy.channel import cir_to_ofdm_channel, subcarrier_frequencies

        grid, size = self._grid, self._grid.data * self._streams
        spacing = 1e3 * self.subcarrier_spacing_khz
        frequencies = subcarrier_frequencies(self.subcarriers, spacing, precision="single", device="cpu")
        used, total = frequencies[torch.from_numpy(grid.used)], grid.slots(n, self._streams)
        antennas = 1 if self._downlink else self.rx_antennas
        drops = generator(seed, "drops").integers(2**63, size=-(-total // self.drop_slots))
        for first, drop in zip(range(0, total, self.drop_slots), drops.tolist(), strict=True):
            count = min(self.drop_slots, total - first)
            a, tau = self.cir(drop, SYMBOLS * count)
            noise, others = generator(drop, "noise"), generator(drop, "others")
            for number in range(count):
                now = a[..., SYMBOLS * number : SYMBOLS * (number + 1)].contiguous()
                h = cir_to_ofdm_channel(used, now, tau).permute(0, 5, 6, 1, 2, 3, 4)
                start = (first + number) * size
                yield Slot(
                    slice(start, min(start + size, n)),
                    h.reshape(SYMBOLS, len(used), h.shape[3] * h.shape[4], h.shape[5] * h.shape[6]),
                    normal(noise, SYMBOLS, len(used), antennas),
                    normal(others, grid.data, grid.combs),
                    drop,
                    number,
                )

    def apply(self, x: Tensor, realisation: WidebandRealisation, no: Tensor) -> tuple[Tensor, Tensor]:
        """Send over the slots one after the other; equalise each resource element."""
        detector = self.detector if self.detector in LINEAR else "lmmse"
        y, variance = self._gather(
            realisation, lambda row, slot: equalise(*self._observe(x[row], slot, no[row, 0]), detector)
        )
        return y, variance

    def soft(self, x: Tensor, realisation: WidebandRealisation, no: Tensor, bits: int) -> Tensor:
        """The detector's LLRs; those of the equalised symbols where it is linear."""
        if self.detector in LINEAR or self._downlink:
            return modem(bits).demap(*self.apply(x, realisation, no))

        def llr(row: int, slot: Slot) -> list[Tensor]:  # to whose detector all streams are QAM
            labels = generator(slot.seed, f"qam{slot.number}").integers(
                0, 2, (1, slot.others.numel() * bits), np.uint8
            )
            slot = replace(slot, others=modem(bits).map(labels).reshape(slot.others.shape))
            y, h, variance = self._observe(x[row], slot, no[row, 0])
            return [detect(y[None], h[None], variance[None], bits, self.detector)[0]]

        return self._gather(realisation, llr)[0].flatten(1)

    def capacity(self, n: int, realisation: WidebandRealisation, no: Tensor) -> Tensor:
        """One user: log2 det(I + H H^H / (streams no)) / streams for each symbol, with the true H.

        Several users: the matched-filter bound, log2(1 + |h|^2 / no) with all antennas that serve the user or, in the
        downlink, log2(1 + |h|^2 / (users no)).
        """
        import torch

        def bits(row: int, slot: Slot) -> list[Tensor]:
            h = self._own(slot).to(torch.complex128)
            load = no[row, 0].double() * (self.users if self._downlink else self._streams)
            loaded = torch.eye(h.shape[-1], dtype=h.dtype) + h.mH @ h / load
            each = torch.linalg.slogdet(loaded)[1] / np.log(2) / self._streams
            return [each.float()[:, None].expand(-1, self._streams)]

        return self._gather(realisation, bits)[0]

    def gain(self, n: int, seeds: Sequence[int]) -> Tensor:
        """Mean |h|^2 of a pair of antennas over the resource elements of the message."""

        def power(row: int, slot: Slot) -> list[Tensor]:
            return [self._own(slot).abs().square().mean((1, 2))[:, None].expand(-1, self._streams)]

        return self._gather(self.realise(n, seeds), power)[0].mean(1)

    def footprint(self, n: int) -> int:
        """The row's symbols, and the slot that is being worked on."""
        slot = SYMBOLS * self.subcarriers * self._grid.combs * max(self.tx_antennas, self.rx_antennas)
        return 64 * n + 64 * slot

    def _gather(
        self, realisation: WidebandRealisation, work: Callable[[int, Slot], Sequence[Tensor]]
    ) -> list[Tensor]:
        """Rows [batch, n, ...] of what ``work`` makes of each row's slots: [data, streams or more, ...] each."""
        import torch

        rows = []
        with single_thread():
            for row, seed in enumerate(realisation.seeds):
                parts = []
                for slot in self.slots(realisation.n, seed):
                    parts.append([r[:, : self._streams].flatten(0, 1)[: slot.count] for r in work(row, slot)])
                rows.append([torch.cat(part) for part in zip(*parts, strict=True)])
        return [torch.stack(row) for row in zip(*rows, strict=True)]

    def _own(self, slot: Slot) -> Tensor:
        """[data, R, T] channel of the message's sender, or (downlink, [data, transmit antennas, 1]) receiver."""
        if self._downlink:
            return slot.data[:, 0, :, None]
        return slot.data if self.users == 1 else slot.data[..., :1]

    def _observe(self, x: Tensor, slot: Slot, no: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the receiver sees, and what it knows.

        :param x: [n] complex64, the row.
        :returns: r [data, M] complex64, the channel [data, M, K] complex64 as the receiver knows it, and
            the variance [data] float32 of all that it does not: noise, estimation error, precoding leakage.
        """
        import torch

        part, others = x[slot.message], slot.others.to(x.device)
        sent = torch.cat([part, others[:, : self._streams].flatten()[slot.count :]]).reshape(
            -1, self._streams
        )
        sent = torch.cat([sent, others[:, self._streams :]], dim=1)
        data, noise = slot.data.to(x.device), slot.noise.to(x.device)
        w = no.sqrt() * noise[list(DATA)].flatten(0, 1)
        if self._downlink:
            gains = (data[:, 0, :, None] * self._precoding(slot, no).to(x.device)).sum(1)
            leakage = (gains[:, 1:].real.square() + gains[:, 1:].imag.square()).sum(1)
            return (gains * sent).sum(1, keepdim=True) + w, gains[:, None, :1], no + leakage
        scale = self._streams**-0.5
        received = scale * (data * sent[:, None, :]).sum(-1) + w
        if self.csi == "perfect":
            return received, scale * data, no.expand(len(data))
        h, variance = estimate(self._grid, slot.h.to(x.device), noise, no)
        return received, scale * h, no + scale**2 * variance.sum(-1)

    def _precoding(self, slot: Slot, no: Tensor) -> Tensor:
        """[data, transmit antennas, users] from what the base station knows; the uplink is reciprocal."""
        known, no = slot.data, no.cpu()
        if self.csi == "estimated":
            uplink = slot.h.transpose(-1, -2)
            noise = normal(generator(slot.seed, f"up{slot.number}"), *uplink.shape[:3])
            known = estimate(self._grid, uplink, noise, no)[0].transpose(-1, -2)
        return precode(known, no, self.precoder)
