"""Generalised divisive normalisation (Balle, Laparra and Simoncelli, ICLR 2017; the transform is of PCS 2016)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_PEDESTAL = 2.0**-36  # keeps the derivative of the square root finite at 0
_FLOOR = 1e-6  # of beta, so that nothing is divided by 0


class _AtLeast(torch.autograd.Function):
    """max(x, bound), whose gradient also passes below the bound where it would lead back above it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x >= bound)
        return x.clamp_min(bound)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (above,) = ctx.saved_tensors
        return grad * (above | (grad < 0)), None


class GDN(nn.Module):
    """y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2) at every position; the inverse multiplies instead.

    beta and gamma are kept as square roots with a lower bound, so that gradient descent cannot make either
    negative. At the start beta = 1 and gamma = 0.1 on the diagonal.

    :param channels: of the input, [batch, channels, height, width].
    :param inverse: the approximate inverse (IGDN) of decoders.
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.sqrt(torch.ones(channels) + _PEDESTAL))
        self.gamma = nn.Parameter(torch.sqrt(0.1 * torch.eye(channels) + _PEDESTAL))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width], the same shape."""
        beta = _AtLeast.apply(self.beta, (_FLOOR + _PEDESTAL) ** 0.5).square() - _PEDESTAL
        gamma = _AtLeast.apply(self.gamma, _PEDESTAL**0.5).square() - _PEDESTAL
        norm = nn.functional.conv2d(x.square(), gamma[:, :, None, None], beta)
        return x * (norm.sqrt() if self.inverse else norm.rsqrt())
