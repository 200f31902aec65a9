"""A convolutional network with one result on every machine (the aim of Ballé et al., ICLR 2019, "Integer networks").

A decoder whose level differs by one from the coder's reads nonsense from there on, and floating-point sums
depend on their order. Here weights are multiples of 2^-8, activations multiples of 2^-4 below 2^12, and the
arithmetic is float64: every product and sum is exact, so no order matters.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from semcom.codecs.entropy.rounding import rounded

_WEIGHT, _ACTIVATION, _LARGEST = 256.0, 16.0, 4096.0


class Exact(nn.Module):
    """Transposed 4 x 4 convolutions of stride 2 (or 3 x 3 of stride 1), with ReLU between.

    :param widths: channels from input to output
    :param strides: 1 or 2 for each layer
    """

    def __init__(self, widths: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__()
        pairs = zip(pairwise(widths), strides, strict=True)
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 4, 2, 1) if stride == 2 else nn.Conv2d(i, o, 3, 1, 1)
            for (i, o), stride in pairs
        )

    def forward(self, z: Tensor) -> Tensor:
        """From whole numbers ``[B, C, h, w]``; float32 while training, exact float64 in evaluation mode."""
        x = z if self.training else z.double()
        for i, layer in enumerate(self.layers):
            weight, bias = self._fixed(layer.weight, x), self._fixed(layer.bias, x)
            if isinstance(layer, nn.ConvTranspose2d):
                x = F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
            else:
                x = F.conv2d(x, weight, bias, padding=1)
            if i < len(self.layers) - 1:
                x = rounded(F.relu(x).clamp(max=_LARGEST) * _ACTIVATION) / _ACTIVATION
        return x

    @staticmethod
    def _fixed(parameter: Any, like: Tensor) -> Tensor:
        """Multiples of 2^-8 within 8: float16 holds them exactly."""
        limit = 8 - 1 / _WEIGHT
        fixed: Tensor = (rounded(parameter * _WEIGHT) / _WEIGHT).clamp(-limit, limit)
        return fixed.to(like.dtype)
