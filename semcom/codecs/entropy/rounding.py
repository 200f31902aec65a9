"""Rounding that gradients pass."""

from __future__ import annotations

import torch
from torch import Tensor


def noisy(y: Tensor) -> Tensor:
    """``y`` plus uniform noise of one step: what training sees of rounding (Ballé et al., ICLR 2017)."""
    return y + torch.rand_like(y) - 0.5


def rounded(y: Tensor) -> Tensor:
    """The nearest whole number; its gradient is that of ``y`` (straight through)."""
    return y + (torch.round(y) - y).detach()
