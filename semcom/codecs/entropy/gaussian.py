"""Gaussians whose width is signalled (mean and scale hyperprior: Minnen et al., NeurIPS 2018, arXiv 1809.02736)."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor, nn

from semcom.codecs.entropy.coder import Tables, frequencies


class Gaussian(nn.Module):
    """Values around 0 with one of ``levels`` standard deviations, evenly spaced in their logarithm.

    Subtract the mean first. *Level* is the real-valued index of the deviation in training, rounded when coding.
    """

    frequencies: Tensor

    def __init__(
        self, reach: int = 63, levels: int = 40, smallest: float = 0.11, largest: float = 32.0
    ) -> None:
        super().__init__()
        self.reach, self.levels, self.smallest = reach, levels, smallest
        self.ratio = math.log(largest / smallest) / (levels - 1)
        deviation = smallest * np.exp(self.ratio * np.arange(levels))
        edges = np.arange(-reach, reach + 1) + 0.5
        upper, lower = edges[None] / deviation[:, None], (edges - 1)[None] / deviation[:, None]
        mass = np.where(lower > 0, ndtr(-lower) - ndtr(-upper), ndtr(upper) - ndtr(lower))
        self.register_buffer("frequencies", torch.from_numpy(frequencies(mass)))

    def bits(self, v: Tensor, level: Tensor) -> Tensor:
        """Information content [B] of ``v`` = latent - mean, ``[B, ...]``, noisy or whole; ``level`` alike."""
        deviation = self.smallest * torch.exp(self.ratio * level.clamp(0, self.levels - 1))
        size = v.abs()
        mass = torch.special.ndtr((0.5 - size) / deviation) - torch.special.ndtr((-0.5 - size) / deviation)
        return -torch.log2(mass.clamp_min(1e-9)).flatten(1).sum(1)

    def rows(self, level: Tensor) -> np.ndarray:
        """Row of each value, flat, from levels that are equal on both ends (see :class:`Exact`)."""
        return level.round().clamp(0, self.levels - 1).long().cpu().numpy().ravel()

    def tables(self) -> Tables:
        """The coder; row l is level l."""
        return Tables(self.frequencies.cpu().numpy())
