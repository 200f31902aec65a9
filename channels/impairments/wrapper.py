"""Any channel, between hardware that is not ideal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from channels.base import CHANNELS, Channel, check_number
from channels.draws import generator
from channels.errors import InputError, unknown
from channels.flat.fading import FLOOR
from channels.impairments.base import SIDES, Hardware, Impairment, Side
from channels.impairments.interference import Interference
from channels.impairments.waveform import Waveform, qpsk
from channels.threads import single_thread

if TYPE_CHECKING:
    from torch import Tensor

WAVEFORMS = ("single-carrier", "ofdm")


@dataclass(frozen=True, eq=False)
class ImpairedRealisation:
    """The inner channel's realisation; and for each row what each impairment drew, filler, and a carrier phase."""

    inner: Any
    rows: list[RowDraws]


class RowDraws(NamedTuple):
    """``impairments``: one draw each, in the order of the signal path. ``filler`` [fft - 1] complex64."""

    impairments: list[Tensor | None]
    filler: Tensor
    phase: float


class _Signal(NamedTuple):
    """One row behind the transmitter: symbols = known * (mean * x + noise of variance ``no``); each [n]."""

    symbols: Tensor
    known: Tensor
    mean: Tensor
    no: Tensor


class _Output(NamedTuple):
    """:class:`Distorted`, each [samples]; ``mean`` and ``spread`` after division by ``known``."""

    samples: Tensor
    known: Tensor
    mean: Tensor
    spread: Tensor


class Impaired(Channel):
    """A channel between hardware that is not ideal.

    A signal passes the transmitter's impairments in the order given, then the inner channel, then those of the air,
    then those of the receiver. The receiver knows the statistics of its hardware, not their realisation: it divides
    by the mean gain, and counts what else the hardware does to a symbol as noise with its mean power, so that
    E(|y - x|^2 / no) = 1 over realisations and decoders are not over-confident. For which symbols that is exact,
    each impairment says; behind one another, or behind the image of IQ imbalance, amplifiers and converters see
    samples that are no longer Gaussian, and it is off by a few per cent. No impairment raises the transmit power,
    so the inner channel's :meth:`capacity` bounds this one too.

    The receiver's impairments act on the received signal up to its carrier phase, which is unknown (one uniform
    phase a row): |h| y, |h|^2 as the inner channel's capacity says it, at unit power (an ideal AGC that follows the
    fading). That is exact for flat channels; over OFDM and MIMO channels, which have been equalised before, it is an
    approximation.

    :param impairments: from :data:`IMPAIRMENTS`; none leaves the channel as it is, bit for bit.
    :param waveform: "single-carrier": symbols are samples; or "ofdm": hardware sees the unitary inverse FFT of
        each ``fft`` consecutive symbols. None: "ofdm" over channels of family "ofdm".
    :param fft: symbols per OFDM symbol. Other users' QPSK symbols fill the last one.
    """

    def __init__(
        self, channel: Channel, impairments: Sequence[Impairment], waveform: str | None = None, fft: int = 64
    ) -> None:
        if not isinstance(channel, Channel):
            raise InputError(f"channel must come from channels.create(...), not {channel!r}")
        if not channel.equalises:
            raise InputError(
                f"channel {channel.name!r} cannot be impaired: its detector works on the constellation, "
                "not on equalised symbols; take a linear detector or another channel"
            )
        if not isinstance(impairments, Sequence) or not all(isinstance(i, Impairment) for i in impairments):
            raise InputError(f"impairments must be a sequence of impairments, not {impairments!r}")
        if waveform is not None and waveform not in WAVEFORMS:
            raise unknown("waveform", waveform, WAVEFORMS)
        check_number("impairments", "fft", fft, 2, 2**20, whole=True)
        self.channel, self.impairments = channel, tuple(impairments)
        self.waveform, self.fft = waveform or _usual_waveform(channel), fft
        self._path = sorted(self.impairments, key=lambda i: SIDES.index(i.side))
        self._carrier = Waveform(fft if self.waveform == "ofdm" else 1)
        self._depth: int = channel._depth + len(channel.impairments) if isinstance(channel, Impaired) else 0

    @property
    def name(self) -> str:  # type: ignore[override]
        """Names of the channel and its impairments, such as "rayleigh+pa+adc"."""
        return "+".join([self.channel.name, *(i.name for i in self.impairments)])

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """As the inner channel; impairments pass gradients on."""
        return self.channel.differentiable

    def uses(self, n: int) -> int:
        """The inner channel's uses of n data symbols and of the pilots that the impairments cost."""
        return self.channel.uses(n + sum(i.pilots(n, self._carrier.group) for i in self.impairments))

    def data_uses(self, n: int) -> int:
        """The inner channel's."""
        return self.channel.data_uses(n)

    def capacity(self, n: int, realisation: ImpairedRealisation, no: Tensor) -> Tensor:
        """The inner channel's, with ideal hardware: a bound that nothing beats."""
        return self.channel.capacity(n, realisation.inner, no)

    def gain(self, n: int, seeds: Sequence[int]) -> Tensor:
        """The inner channel's."""
        return self.channel.gain(n, seeds)

    def footprint(self, n: int) -> int:
        """The inner channel's, and the draws."""
        return self.channel.footprint(n) + (64 + 8 * len(self.impairments)) * self._carrier.samples(n)

    def realise(self, n: int, seeds: Sequence[int]) -> ImpairedRealisation:
        """The inner channel's realisation with the same seeds, and the hardware's draws."""
        rows = [self._draw(n, seed) for seed in seeds] if self.impairments else []
        return ImpairedRealisation(self.channel.realise(n, seeds), rows)

    def _draw(self, n: int, seed: int) -> RowDraws:
        import torch

        samples = self._carrier.samples(n)
        draws = [i.draw(samples, seed, f"hw{self._depth + k}") for k, i in enumerate(self._path)]
        filler = qpsk(generator(seed, f"hwf{self._depth}"), self._carrier.group - 1)
        phase = generator(seed, f"hwp{self._depth}").uniform(0, 2 * math.pi)
        return RowDraws(draws, torch.from_numpy(filler), phase)

    def apply(self, x: Tensor, realisation: ImpairedRealisation, no: Tensor) -> tuple[Tensor, Tensor]:
        """Transmitter, inner channel, air, receiver; hardware row by row, so that nothing depends on the batch."""
        import torch

        if not self.impairments:
            return self.channel.apply(x, realisation.inner, no)
        with single_thread():
            sent = [
                self._transmit(row.clone(), draws) for row, draws in zip(x, realisation.rows, strict=True)
            ]
        y, no_y = self.channel.apply(torch.stack([s.symbols for s in sent]), realisation.inner, no)
        power = self._received_power(x.shape[1], realisation, no).to(x.device)
        with single_thread():
            received = [
                self._receive(y[i].clone(), no_y[i].clone(), power[i].clone(), sent[i], draws)
                for i, draws in enumerate(realisation.rows)
            ]
        y, no_y = (torch.stack(both) for both in zip(*received, strict=True))
        return y, no_y

    def _received_power(self, n: int, realisation: ImpairedRealisation, no: Tensor) -> Tensor:
        """|h|^2 of each symbol, [batch, n]: the inner channel's SINR with perfect CSI, over the SNR."""
        import torch

        if all(i.side == "transmitter" for i in self.impairments):
            return torch.ones(len(no), n)
        no = no.cpu().clamp_max(1)  # of lower capacities too few digits are left
        bits = self.channel.capacity(n, realisation.inner, no)
        return (torch.expm1(bits * math.log(2)) * no).clamp_min(FLOOR)

    def _transmit(self, x: Tensor, draws: RowDraws) -> _Signal:
        import torch

        n, filler = len(x), draws.filler.to(x.device)
        known, mean, no = torch.ones_like(x), torch.ones_like(x), torch.zeros_like(x.real)
        for hardware, draw in self._on("transmitter", draws):
            out = self._distort(hardware, self._carrier.to_time(x, filler), draw)
            x = self._carrier.to_symbols(out.samples, n)
            no = _square(out.mean[:n]) * no + out.spread[:n] * (_square(mean) + no)
            known, mean = known * out.known[:n], mean * out.mean[:n]
        return _Signal(x, known, mean, no)

    def _receive(
        self, y: Tensor, no: Tensor, power: Tensor, sent: _Signal, draws: RowDraws
    ) -> tuple[Tensor, Tensor]:
        import torch

        n = len(y)
        for other, draw in zip(self._path, draws.impairments, strict=True):
            if isinstance(other, Interference) and draw is not None:
                y, no = y + draw[:n].to(y.device) / power.sqrt(), no + other.power / power
        gain, mean = _square(sent.known), sent.mean
        y, no, power = y / sent.known, sent.no + no / gain, power * gain
        for hardware, draw in self._on("receiver", draws):
            # sqrt(power) y is the received signal, up to its carrier phase; the hardware sees it at mean power 1.
            level = self._carrier.mean(power * (_square(mean) + no))
            filler = draws.filler.to(y.device) * level[-1].sqrt()
            samples = self._carrier.to_time(y * power.sqrt(), filler)
            turn = torch.polar(torch.ones_like(level), torch.full_like(level, draws.phase))
            out = self._distort(hardware, samples * turn / level.sqrt(), draw)
            samples = out.samples * turn.conj() * level.sqrt() / out.known
            y = self._carrier.to_symbols(samples, n) / power.sqrt()
            no = _square(out.mean[:n]) * no + out.spread[:n] * level[:n] / power
            mean = mean * out.mean[:n]
        return y, _square(mean - 1) + no

    def _on(self, side: Side, draws: RowDraws) -> Iterator[tuple[Hardware, Tensor | None]]:
        for impairment, draw in zip(self._path, draws.impairments, strict=True):
            if isinstance(impairment, Hardware) and impairment.side == side:
                yield impairment, draw

    def _distort(self, hardware: Hardware, samples: Tensor, draw: Tensor | None) -> _Output:
        """One row through one piece of hardware.

        Within an OFDM symbol, gains that differ from their mean are interference between its symbols.
        """
        import torch

        out = hardware.distort(samples, draw, self._carrier.group)
        known, mean, spread = (torch.as_tensor(v).to(samples).expand(len(samples)) for v in out[1:])
        mean = mean / known
        common = self._carrier.mean(mean)
        return _Output(
            out.samples,
            known,
            common,
            self._carrier.mean(spread.real / _square(known) + _square(mean - common)),
        )


def _usual_waveform(channel: Channel) -> str:
    if isinstance(channel, Impaired):
        return channel.waveform
    family = CHANNELS[channel.name].facts.get("family") if channel.name in CHANNELS else None
    return "ofdm" if family == "ofdm" else "single-carrier"


def _square(values: Tensor) -> Tensor:
    return values.real.square() + values.imag.square()
