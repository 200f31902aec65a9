"""Symbols to send, and a channel that shows what was sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from channels.base import Channel
from channels.modem import modem


def gaussian(batch: int, n: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng([seed, 1])
    x = rng.standard_normal((batch, n, 2)).view(np.complex128)[..., 0] / 2**0.5
    return torch.from_numpy(x.astype(np.complex64))


def qam(batch: int, n: int, seed: int, bits: int) -> torch.Tensor:
    return modem(bits).map(np.random.default_rng([seed, 2]).integers(0, 2, (batch, n * bits), np.uint8))


def seeds(batch: int, seed: int) -> list[int]:
    return [int(s) for s in np.random.default_rng([seed, 3]).integers(2**63, size=batch)]


class Wire(Channel):
    """Neither fading nor noise, but a noise variance; keeps what was sent."""

    name = "wire"
    sent: torch.Tensor

    def realise(self, n: int, seeds: Sequence[int]) -> None:
        return None

    def apply(
        self, x: torch.Tensor, realisation: None, no: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.sent = x
        return x, no.expand(x.shape)
