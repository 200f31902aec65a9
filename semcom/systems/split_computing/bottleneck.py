"""The network of a split vision tower: a light encoder, an entropy bottleneck, a decoder into the tower."""

from __future__ import annotations

import copy
import math
from functools import cached_property
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from semcom.codecs.entropy import Factorised, Tables
from semcom.codecs.entropy.coder import TOTAL
from semcom.codecs.gdn import GDN
from semcom.vlm.trunk import Trunk

REACH = 31  # of quantised latents
WIDTHS = (16, 32, 64)  # of the encoder's convolutions; the last one is repeated where patches are large
Ints = NDArray[np.int64]


class Bottleneck(nn.Module):
    """Pixels to whole numbers on the tower's patch grid, and these to a state of the tower.

    ::

        pixels [B, 3, H, W] -> encoder -> y [B, C, rows, columns] -> times gain[rate] -> round -> range coder
                                                                                                      |
        state ``split`` of the tower <- copied layers <- assemble <- decoder <- times restore[rate] <-+

    One network serves all rates: each has a gain for every channel, a factor that undoes it (gain units of Cui et
    al., CVPR 2021, arXiv 2003.02012) and a factorised density for every channel. The encoder is convolutional
    (stride 2 and GDN) and never runs a layer of the tower; the decoder is convolutions, the tower's own embedding
    of class and positions, and trained copies of the layers below ``split``.

    :param trunk: the vision tower of a LLaVA
    :param split: the state of the tower that the decoder makes
    :param channels: C
    :param rates: how many rates, coarsest first
    :param hidden: channels inside the decoder
    """

    log_price: Tensor

    def __init__(
        self, trunk: Trunk, split: int = 1, channels: int = 16, rates: int = 8, hidden: int = 96
    ) -> None:
        super().__init__()
        self.split, self.channels, self.rates = split, channels, rates
        self.grid = trunk.rows, trunk.columns
        self.stages = max(1, int(math.log2(trunk.patch_size)))
        widths = [3, *(WIDTHS[min(i, len(WIDTHS) - 1)] for i in range(self.stages))]
        encoder: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            size = 3 if i else 5
            encoder += [nn.Conv2d(before, after, size, 2, size // 2), GDN(after)]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(widths[-1], channels, 3, 1, 1))
        self.gain = nn.Parameter(torch.linspace(0.0, 3.0, rates)[:, None].repeat(1, channels))  # logarithms
        self.restore = nn.Parameter(-self.gain.detach().clone())
        self.densities = nn.ModuleList(Factorised(channels, REACH, spread=0.5) for _ in range(rates))
        self.enter = nn.Conv2d(channels + 1, hidden, 3, 1, 1)
        self.inner = nn.Sequential(
            nn.GELU(), nn.Conv2d(hidden, hidden, 3, 1, 1), nn.GELU(), nn.Conv2d(hidden, hidden, 3, 1, 1)
        )
        self.leave = nn.Conv2d(hidden, trunk.width, 1)
        self.layers = copy.deepcopy(trunk.tower.encoder.layers[:split])
        self.register_buffer("log_price", torch.zeros(rates))  # of a bit at each rate: it follows in training
        self.requires_grad_()

    def features(self, pixels: Tensor) -> Tensor:
        """Latents ``[B, C, rows, columns]`` of normalised pixels, before any rate's gain."""
        size = tuple(side << self.stages for side in self.grid)
        if pixels.shape[-2:] != size:
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
        y: Tensor = self.encoder(pixels)
        return y

    def scaled(self, features: Tensor, rate: Tensor) -> Tensor:
        """Latents as they are rounded, within the coder's reach; ``rate`` ``[B]``."""
        return (features * self.gain[rate].exp()[:, :, None, None]).clamp(-REACH, REACH)

    def encode(self, pixels: Tensor, rate: Tensor) -> Tensor:
        """The same from pixels."""
        return self.scaled(self.features(pixels), rate)

    def decode(self, values: Tensor, rate: Tensor, trunk: Trunk, kept: Tensor | None = None) -> Tensor:
        """State ``split`` of the tower from latents ``[B, C, rows, columns]``.

        :param rate: ``[B]``, or ``[B, rows, columns]`` where it differs from place to place
        :param kept: bool ``[B, rows, columns]``: what arrived; everything when left out
        """
        factor = self.restore[rate].exp()
        factor = factor[:, :, None, None] if rate.ndim == 1 else factor.permute(0, 3, 1, 2)
        here = torch.ones_like(values[:, :1]) if kept is None else kept[:, None].to(values.dtype)
        x = self.enter(torch.cat([values * factor * here, here], 1))
        patches = self.leave(F.gelu(x + self.inner(x))).flatten(2).mT
        state = trunk.assemble(patches)
        for layer in self.layers:
            state = layer(state, None)
        return state

    def bits(self, values: Tensor, rate: Tensor) -> Tensor:
        """Information content ``[B]`` of latents that are noisy or whole."""
        bits = values.new_zeros(len(values))
        for r, density in enumerate(self._densities):
            rows = torch.nonzero(rate == r)[:, 0]
            if len(rows):
                bits = bits.index_copy(0, rows, density.bits(values[rows]))
        return bits

    def freeze(self) -> None:
        """Make the tables of the coder from the densities; to be called after training."""
        for density in self._densities:
            density.freeze()
        self.__dict__.pop("tables", None)

    @property
    def _densities(self) -> list[Factorised]:
        return [cast(Factorised, density) for density in self.densities]

    @cached_property
    def tables(self) -> Tables:
        """Row 0 is the rate, uniform; row 1 + rate * C + c is channel c at that rate."""
        first = np.ones((1, 2 * REACH + 1), np.int64)
        first[0, REACH : REACH + self.rates] += (TOTAL - 2 * REACH - 1) // self.rates
        first[0, REACH] += TOTAL - first.sum()
        rows = [density.frequencies.cpu().numpy() for density in self._densities]
        return Tables(np.concatenate([first, *rows]))

    def rows(self, rate: int, positions: int) -> Ints:
        """The table rows of a packet: the rate, then ``[C, positions]``."""
        channels = 1 + rate * self.channels + np.arange(self.channels)
        return np.concatenate([[0], np.repeat(channels, positions)])

    def write(self, values: Ints, rate: int) -> bytes:
        """Latents ``[C, positions]`` and their rate, range coded."""
        symbols = np.concatenate([[rate], values.ravel()])
        return self.tables.encode(symbols, self.rows(rate, values.shape[1]))

    def read(self, data: bytes, positions: int) -> tuple[Ints, int] | None:
        """Latents ``[C, positions]`` and their rate; None where ``data`` is not a code. Never raises."""
        first = self.tables.decode(data, [0])
        if first is None or not 0 <= first[0] < self.rates:
            return None
        rate = int(first[0])
        values = self.tables.decode(data, self.rows(rate, positions))
        return None if values is None else (values[1:].reshape(self.channels, positions), rate)
