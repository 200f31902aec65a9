"""A learned density for each channel (Ballé et al., ICLR 2018, arXiv 1802.01436, appendix 6.1)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semcom.codecs.entropy.coder import Tables, frequencies

_WIDTHS = (1, 3, 3, 3, 1)


class Factorised(nn.Module):
    """Independent values; those of one channel share one density, whose cumulative is a monotone network.

    :param channels: C
    :param reach: values are clipped to -reach ... reach
    :param spread: width of the initial density, in steps
    """

    frequencies: Tensor

    def __init__(self, channels: int, reach: int = 63, spread: float = 10.0) -> None:
        super().__init__()
        self.channels, self.reach = channels, reach
        scale = spread ** (1 / (len(_WIDTHS) - 1))
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for i in range(len(_WIDTHS) - 1):
            start = math.log(math.expm1(1 / scale / _WIDTHS[i + 1]))
            self.matrices.append(nn.Parameter(torch.full((channels, _WIDTHS[i + 1], _WIDTHS[i]), start)))
            self.biases.append(nn.Parameter(torch.rand(channels, _WIDTHS[i + 1], 1) - 0.5))
            if i < len(_WIDTHS) - 2:
                self.factors.append(nn.Parameter(torch.zeros(channels, _WIDTHS[i + 1], 1)))
        self.register_buffer("frequencies", torch.zeros(channels, 2 * reach + 1, dtype=torch.int32))

    def bits(self, y: Tensor) -> Tensor:
        """Information content [B] of latents ``[B, C, ...]`` that are :func:`noisy` or whole numbers."""
        values = y.flatten(2).transpose(0, 1)  # [C, B, N]
        mass = self._mass(values.reshape(self.channels, 1, -1)).reshape(values.shape)
        return -torch.log2(mass.clamp_min(1e-9)).sum((0, 2))

    @torch.no_grad()
    def freeze(self) -> None:
        """Make the tables of :meth:`tables` from the densities; to be called after training."""
        grid = torch.arange(-self.reach, self.reach + 1, dtype=torch.float32, device=self.frequencies.device)
        mass = self._mass(grid.expand(self.channels, 1, -1))[:, 0].double().cpu().numpy()
        self.frequencies.copy_(torch.from_numpy(frequencies(mass)))

    def tables(self) -> Tables:
        """The coder; row c is channel c."""
        return Tables(self.frequencies.cpu().numpy())

    def rows(self, positions: int) -> np.ndarray:
        """Row of each value of a latent ``[C, positions]``, flat."""
        return np.repeat(np.arange(self.channels), positions)

    def _mass(self, values: Tensor) -> Tensor:
        """Probability of the unit interval around each of ``[C, 1, N]``."""
        lower, upper = self._logits(values - 0.5), self._logits(values + 0.5)
        sign = -torch.sign(lower + upper).detach()  # subtract on the side where sigmoid keeps its digits
        sign = torch.where(sign == 0, torch.ones_like(sign), sign)
        return (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()

    def _logits(self, x: Tensor) -> Tensor:
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = F.softplus(matrix) @ x + bias
            if i < len(self.factors):
                x = x + torch.tanh(self.factors[i]) * torch.tanh(x)
        return x
