"""A receiver that hears only signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from channels.base import register
from channels.errors import InputError
from channels.flat.fading import FlatChannel, FlatRealisation

if TYPE_CHECKING:
    from torch import Tensor

_LEVEL = 0.5**0.5  # of QPSK, on each axis


@register("bsc", family="erasure")
class BSC(FlatChannel):
    """Binary symmetric channel: QPSK over AWGN into one-bit converters, crossover Q(sqrt(snr)) a bit.

    y = (sign Re r + j sign Im r) / sqrt 2 of r = x + w, and no = 2 / ln((1 - p) / p), so that the LLRs of y are
    +-ln((1 - p) / p), those of the BSC; it is not the power of y - x, which is 4 p. Only QPSK can be sent, and no
    gradients pass. Capacity: 2 (1 - H2(p)) bit per channel use.   [Cover & Thomas 2006, sec. 7.1.4]
    """

    modulations: ClassVar[tuple[str, ...] | None] = ("qpsk",)
    differentiable: ClassVar[bool] = False

    def __init__(self) -> None:
        pass

    @property
    def equalises(self) -> bool:
        """Its one-bit decisions are of QPSK alone."""
        return False

    def draw_gains(self, blocks: int, seed: int) -> None:
        """No fading."""
        return None

    def apply(self, x: Tensor, realisation: FlatRealisation, no: Tensor) -> tuple[Tensor, Tensor]:
        """Signs of x + sqrt(no) w, and 2 / ln((1 - p) / p)."""
        import torch
        from scipy import special

        _check_qpsk(x)
        r = torch.view_as_real(x + no.sqrt() * realisation.noise.to(x.device))
        signs = torch.where(r >= 0, _LEVEL, -_LEVEL)
        s = _root_snr(no)
        logit = special.log_ndtr(s) - special.log_ndtr(-s)
        variance = torch.from_numpy((2 / logit).astype(np.float32)).to(x.device)
        return torch.view_as_complex(signs), variance.expand(x.shape).contiguous()

    def capacity(self, n: int, realisation: FlatRealisation, no: Tensor) -> Tensor:
        """2 (1 - H2(p)): two bits through the binary symmetric channel."""
        import torch
        from scipy import special

        # With 2 p = 1 - d: 1 - H2(p) = ((1 - d) ln(1 - d) + (1 + d) ln(1 + d)) / (2 ln 2), exact also near p = 1/2.
        s = _root_snr(no) / 2**0.5
        d = special.erf(s).clip(max=1 - 2**-53)
        bits = (special.xlog1py(special.erfc(s), -d) + special.xlog1py(1 + d, d)) / np.log(2)
        return torch.from_numpy(bits.astype(np.float32)).expand(len(no), n).contiguous()

    def gain(self, n: int, seeds: Sequence[int]) -> Tensor:
        """One: no fading."""
        import torch

        return torch.ones(len(seeds))

    def soft(self, x: Tensor, realisation: FlatRealisation, no: Tensor, bits: int) -> Tensor:
        """The LLRs of QPSK; :class:`InputError` for other constellations."""
        if bits != 2:
            raise InputError(
                f"{self.name}: only QPSK can be sent (2 bits a symbol), not {bits} bits a symbol"
            )
        return super().soft(x, realisation, no, bits)


def _root_snr(no: Tensor) -> NDArray[np.float64]:
    """sqrt(snr), the argument of Q in the crossover."""
    root: NDArray[np.float64] = no.cpu().numpy().astype(np.float64) ** -0.5
    return root


def _check_qpsk(x: Tensor) -> None:
    import torch

    parts = torch.view_as_real(x.detach())
    wrong = ~(((parts.abs() - _LEVEL).abs() <= 1e-3).all(dim=-1))  # also catches NaN
    if bool(wrong.any()):
        row, symbol = (int(i) for i in wrong.nonzero()[0])
        raise InputError(
            f"bsc: only QPSK symbols (+-1 +-1j) / sqrt(2) can be sent, but symbol {symbol} of row {row} is "
            f"{complex(x[row, symbol]):.3g}; take modulation 'qpsk', or another channel for analog symbols"
        )
