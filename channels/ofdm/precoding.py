"""Linear precoding of single-antenna users, on each resource element by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PRECODERS = ("mrt", "zf", "rzf")


def precode(h: Tensor, no: Tensor, precoder: str) -> Tensor:
    """Precoding vectors of K users from the rows h_k of their channel; each has power 1 / K, all of them power 1.

    "mrt": w_k ~ h_k^H; "zf": the columns of H^H (H H^H)^-1; "rzf": of H^H (H H^H + K no I)^-1, which maximises the
    SINR where all users have like channels.   [Peel, Hochwald & Swindlehurst 2005, eq. 21]

    :param h: [..., K, M] complex64.
    :param no: [] float32, noise variance.
    :returns: [..., M, K] complex64.
    """
    import torch

    users = h.shape[-2]
    h = h.to(torch.complex128)
    if precoder == "mrt":
        w = h.mH
    else:
        gram = h @ h.mH
        trace = gram.diagonal(dim1=-2, dim2=-1).real.sum(-1)
        load = trace * 1e-12 + 1e-30 if precoder == "zf" else trace * 1e-12 + users * no.double()
        w = torch.linalg.solve(gram + load[..., None, None] * torch.eye(users, dtype=h.dtype), h).mH
    w = w / (w.abs().square().sum(-2, keepdim=True) * users).sqrt().clamp_min(1e-30)
    return w.to(torch.complex64)
