"""Links: bytes or analog symbols over a channel, with an account of every channel use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from channels import fec
from channels.base import Channel, snr_rows
from channels.bits import scrambling
from channels.draws import Seed, row_seeds
from channels.errors import InputError, unknown
from channels.ledger import Ledger
from channels.modem import bits_per_symbol, modem
from channels.threads import single_thread

if TYPE_CHECKING:
    from torch import Tensor

CODINGS = ("ldpc", "ideal")
# Classes of packets: the link's own scheme, or QPSK at the mother code's rate 1/5 and at repetitions of it.
ROBUST = {"robust": 5, "robust-1/10": 10, "robust-1/20": 20, "robust-1/40": 40, "robust-1/80": 80}
PROTECTIONS = ("payload", *ROBUST)
_CHUNK = 2**22  # code bits in flight at once, which bounds the memory


@dataclass(frozen=True)
class Reception:
    """A payload after the air: bytes of the sent length, and the verdict of their CRC.

    The verdict is the receiver's: a CRC of 16 bits passes wrong bytes once in 65,536 failures.
    """

    payload: bytes
    ok: bool
    ledger: Ledger


@dataclass(frozen=True, eq=False)
class AnalogReception:
    """Symbols after the air, [n] complex64, equalised: sent + noise of variance ``noise_var`` [n] float32."""

    symbols: NDArray[np.complex64]
    noise_var: NDArray[np.float32]
    ledger: Ledger = field(default_factory=Ledger)


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
        receive = self._ideal if self.coding == "ideal" else self._coded
        for chunk in _chunks(grants):
            with single_thread():
                received = receive(chunk, payloads, grants, snrs, seeds)
            for row, (payload, ok) in received.items():
                uses = self.channel.uses(grants[row].symbols)
                receptions[row] = Reception(payload, ok, grants[row].ledger(uses))
        return [r for r in receptions if r is not None]

    def _coded(
        self,
        rows: list[int],
        payloads: Sequence[bytes],
        grants: list[fec.Grant],
        snrs: NDArray[np.float64],
        seeds: list[int],
    ) -> dict[int, tuple[bytes, bool]]:
        import torch

        waiting: dict[tuple[int, int, int], list[tuple[list[int], Tensor]]] = defaultdict(list)
        for shape, same in _groups(rows, grants):
            qam = modem(shape.bits_per_symbol)
            x = qam.map(fec.encode([payloads[r] for r in same], shape))
            y, no = self.channel(x, snrs[same], [seeds[r] for r in same], power="trust")
            llr = qam.demap(y, no).mul_(torch.from_numpy(1 - 2 * scrambling(shape.code_bits).astype(np.int8)))
            llr = llr.reshape(len(same), shape.copies, -1).sum(1).reshape(-1, shape.n)
            waiting[shape.k, shape.n, shape.bits_per_symbol].append((same, llr))
        result = {}
        for code, parts in waiting.items():
            bits, _ = fec.ldpc(*code).decode(torch.cat([llr for _, llr in parts]))
            first = 0
            for row in (r for same, _ in parts for r in same):
                last = first + grants[row].blocks
                result[row] = fec.payload_of(bits[first:last].reshape(-1), grants[row].payload_bytes)
                first = last
        return result

    def _ideal(
        self,
        rows: list[int],
        payloads: Sequence[bytes],
        grants: list[fec.Grant],
        snrs: NDArray[np.float64],
        seeds: list[int],
    ) -> dict[int, tuple[bytes, bool]]:
        import torch

        result = {}
        for shape, same in _groups(rows, grants):
            x = torch.ones(len(same), shape.symbols, dtype=torch.complex64)
            _, no = self.channel(x, snrs[same], [seeds[r] for r in same], power="trust")
            capacity = np.log2(1 + 1 / no.double().numpy()).sum(axis=1)
            for row, bits in zip(same, capacity, strict=True):
                ok = bool(8 * len(payloads[row]) <= bits)
                result[row] = (bytes(payloads[row]) if ok else bytes(len(payloads[row])), ok)
        return result


class AnalogLink:
    """Analog symbols over a channel, one channel use each (and the channel's pilots).

    :param normalise: scale each message to mean power 1; without it, a message whose mean power differs
        from 1 by more than 1 % is refused, because its SNR would not be the one asked for.
    """

    def __init__(self, channel: Channel, normalise: bool = False) -> None:
        if not isinstance(channel, Channel):
            raise InputError(f"channel must come from channels.create(...), not {channel!r}")
        self.channel, self.normalise = channel, normalise

    def uses(self, n: int) -> int:
        """Channel uses of n symbols, everything included."""
        return self.channel.uses(n)

    def max_symbols(self, channel_uses: int) -> int:
        """Most symbols with ``uses(symbols) <= channel_uses``."""
        return self.channel.symbols(channel_uses)

    def send(
        self, symbols: Sequence[NDArray[np.complex64]], snr_db: float | Sequence[float], seed: Seed
    ) -> list[AnalogReception]:
        """Send each block of symbols, [n_i] complex with n_i >= 1, over its own realisation of the channel.

        ``snr_db`` [dB] and ``seed`` as for :meth:`DigitalLink.send`; so is the independence of batching.
        """
        import torch

        blocks = [self._unit_power(i, np.asarray(s)) for i, s in enumerate(symbols)]
        seeds, snrs = row_seeds(seed, len(blocks)), snr_rows(snr_db, len(blocks))
        lengths: dict[int, list[int]] = defaultdict(list)
        for row, block in enumerate(blocks):
            lengths[len(block)].append(row)
        received: dict[int, AnalogReception] = {}
        for n, rows in lengths.items():
            for part in (rows[i : i + max(_CHUNK // n, 1)] for i in range(0, len(rows), max(_CHUNK // n, 1))):
                x = torch.from_numpy(np.stack([blocks[r] for r in part]))
                with single_thread():
                    y, no = self.channel(x, snrs[part], [seeds[r] for r in part], power="trust")
                ledger = Ledger(analog=n, pilots=self.channel.uses(n) - n)
                for row, symbol, variance in zip(part, y.numpy(), no.numpy(), strict=True):
                    received[row] = AnalogReception(symbol, variance, ledger)
        return [received[row] for row in range(len(blocks))]

    def _unit_power(self, row: int, block: NDArray[Any]) -> NDArray[np.complex64]:
        if block.ndim != 1 or not len(block) or not np.issubdtype(block.dtype, np.complexfloating):
            raise InputError(
                f"message {row}: symbols must be complex, [n] with n >= 1, not {block.dtype} {block.shape}"
            )
        power = float(np.mean(np.abs(block.astype(np.complex128)) ** 2))
        if not 0 < power < np.inf:
            raise InputError(f"message {row}: symbols have mean power {power:.4g}; they cannot be sent")
        if self.normalise:
            return (block / np.sqrt(power)).astype(np.complex64)
        if abs(power - 1) > 0.01:
            raise InputError(
                f"message {row}: symbols have mean power {power:.4g}, but the SNR is defined for power 1; "
                "scale them, or use AnalogLink(channel, normalise=True)"
            )
        return block.astype(np.complex64)


def _groups(rows: list[int], grants: list[fec.Grant]) -> Iterator[tuple[fec.Grant, list[int]]]:
    """Rows of equal grants, which share tensors."""
    same: dict[fec.Grant, list[int]] = defaultdict(list)
    for row in rows:
        same[grants[row]].append(row)
    yield from same.items()


def _chunks(grants: list[fec.Grant]) -> Iterator[list[int]]:
    """All rows, those of like codes together, in parts of bounded size."""
    chunk: list[int] = []
    size = 0
    for row in sorted(
        range(len(grants)), key=lambda r: (grants[r].bits_per_symbol, grants[r].k, grants[r].n, r)
    ):
        if chunk and size + grants[row].code_bits > _CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += grants[row].code_bits
    if chunk:
        yield chunk
