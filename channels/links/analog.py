"""Analog symbols over a channel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channels.base import Channel, check_number, snr_rows
from channels.draws import Seed, row_seeds
from channels.errors import InputError
from channels.ledger import Ledger
from channels.links.reception import AnalogReception
from channels.links.sending import check_uses
from channels.threads import single_thread

_CHUNK = 2**22  # symbols in flight at once, which bounds the memory


class AnalogLink:
    """Analog symbols over a channel, one channel use each (and the channel's pilots).

    :param normalise: scale each message to mean power 1; without it, a message whose mean power differs
        from 1 by more than 1 % is refused, because its SNR would not be the one asked for.
    """

    def __init__(self, channel: Channel, normalise: bool = False) -> None:
        if not isinstance(channel, Channel):
            raise InputError(f"channel must come from channels.create(...), not {channel!r}")
        if not isinstance(normalise, bool):
            raise InputError(f"normalise must be true or false, not {normalise!r}")
        self.channel, self.normalise = channel, normalise

    def uses(self, n: int) -> int:
        """Channel uses of n symbols, everything included."""
        check_number("AnalogLink", "n", n, 0, whole=True)
        return self.channel.uses(n)

    def max_symbols(self, channel_uses: int) -> int:
        """Most symbols with ``uses(symbols) <= channel_uses``."""
        return self.channel.symbols(check_uses(channel_uses))

    def send(
        self, symbols: Sequence[NDArray[np.complex64]], snr_db: float | Sequence[float], seed: Seed
    ) -> list[AnalogReception]:
        """Send each block of symbols, [n_i] complex with n_i >= 1, over its own realisation of the channel.

        ``snr_db`` [dB] and ``seed`` as for :meth:`DigitalLink.send`; so is the independence of batching.
        """
        import torch

        if not isinstance(symbols, Sequence | np.ndarray):
            raise InputError(f"symbols must be a list of arrays, not {type(symbols).__name__}")
        blocks = [self._unit_power(i, s) for i, s in enumerate(symbols)]
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
                data_uses = self.channel.data_uses(n)
                ledger = Ledger(analog=data_uses, pilots=self.channel.uses(n) - data_uses)
                for row, symbol, variance in zip(part, y.numpy(), no.numpy(), strict=True):
                    received[row] = AnalogReception(symbol, variance, ledger)
        return [received[row] for row in range(len(blocks))]

    def _unit_power(self, row: int, symbols: Any) -> NDArray[np.complex64]:
        try:
            block = np.asarray(symbols)
        except ValueError as error:
            raise InputError(f"message {row}: symbols must be complex, [n] with n >= 1: {error}") from error
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
