"""Small complex matrices, many at once, in real arithmetic: pairs (real, imaginary) of float64 tensors.

Antennas and streams come first, the batch last: [M, K, ...]. torch's own complex products, its sums and its batched
matrix products may round differently at the end of a tensor or in another batch; products of real numbers, added in a
fixed order, do not. So no result depends on what else is sent. Matrices are small (K x K), so the Python loops over
streams cost little.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Planes = tuple[Tensor, Tensor]


def planes(a: Tensor, inner: int) -> Planes:
    """[..., M, K] (``inner`` = 2) or [..., M] (``inner`` = 1), complex64, to planes [M, K, ...] or [M, ...]."""
    import torch

    batch, shape = a.shape[: a.ndim - inner], a.shape[a.ndim - inner :]
    flat = torch.view_as_real(a.resolve_conj()).reshape(math.prod(batch), -1)
    both = flat.T.contiguous().double().reshape(*shape, 2, *batch)
    return both.select(inner, 0), both.select(inner, 1)


def unplanes(a: Planes) -> Tensor:
    """Planes [M, ...] to [..., M] complex64."""
    import torch

    return torch.complex(a[0].float(), a[1].float()).movedim(0, -1)


def total(a: Tensor) -> Tensor:
    """Sum over the first dimension, by halves."""
    return _add_up(a.clone())


def _add_up(a: Tensor) -> Tensor:
    """:func:`total` in place: half the time, because memory is what large products wait for."""
    n = len(a)
    while n > 1:
        half = n // 2
        a[:half].add_(a[n - half : n])
        n -= half
    return a[0]


def power(a: Planes) -> Tensor:
    """|a|^2."""
    return a[0].square() + a[1].square()


def inner(a: Planes, b: Planes) -> Planes:
    """Sum over the first dimension of conj(a) b."""
    real, imag = (a[0] * b[0]).add_(a[1] * b[1]), (a[0] * b[1]).sub_(a[1] * b[0])
    return _add_up(real), _add_up(imag)


def times(a: Planes, b: Planes) -> Planes:
    """Matrices [M, K, ...] times vectors [K, ...]."""
    return inner((a[0].transpose(0, 1), -a[1].transpose(0, 1)), (b[0][:, None], b[1][:, None]))


def adjoint_times(a: Planes, b: Planes) -> Planes:
    """Matrices [M, K, ...], conjugate and transposed, times vectors [M, ...]."""
    return inner(a, (b[0][:, None], b[1][:, None]))


def gram(h: Planes) -> Planes:
    """H^H H [K, K, ...] of H [M, K, ...]."""
    import torch

    rows: list[Planes] = []
    for k in range(h[0].shape[1]):
        real, imag = inner((h[0][:, k : k + 1], h[1][:, k : k + 1]), (h[0][:, k:], h[1][:, k:]))
        left = [row[k] for row, _ in rows], [-row[k] for _, row in rows]
        rows.append((torch.stack([*left[0], *real]), torch.stack([*left[1], *imag])))
    return torch.stack([row for row, _ in rows]), torch.stack([row for _, row in rows])


def diagonal(a: Planes) -> Tensor:
    """The diagonal of Hermitian matrices: [K, ...], real."""
    import torch

    return torch.stack([a[0][k, k] for k in range(len(a[0]))])


def loaded(a: Planes, load: Tensor) -> Planes:
    """A + load I."""
    import torch

    eye = torch.eye(len(a[0]), dtype=load.dtype, device=load.device)
    return a[0] + eye.reshape(*eye.shape, *[1] * (a[0].ndim - 2)) * load, a[1]


def inverse(a: Planes) -> Planes:
    """Inverse of Hermitian positive definite matrices: [[a, b^H], [b, C]], bordered by one row after the other."""
    import torch

    first, u, rest = _schur(a)
    if rest is None:
        return first[None, None], torch.zeros_like(a[1])  # of a diagonal, what is there is rounding
    rest = inverse(rest)
    v = times(rest, u)
    corner = first + total(u[0] * v[0] + u[1] * v[1])
    top = torch.cat([corner[None], -v[0]]), torch.cat([torch.zeros_like(corner)[None], v[1]])
    real = torch.cat([top[0][None], torch.cat([-v[0][:, None], rest[0]], dim=1)])
    imag = torch.cat([top[1][None], torch.cat([-v[1][:, None], rest[1]], dim=1)])
    return real, imag


def log2_det(a: Planes) -> Tensor:
    """log2 of the determinant of Hermitian positive definite matrices: the sum of log2 of the pivots."""
    first, _, rest = _schur(a)
    return -first.log2() if rest is None else log2_det(rest) - first.log2()


def _schur(a: Planes) -> tuple[Tensor, Planes, Planes | None]:
    """1 / a, u = b / a, and the Schur complement C - b b^H / a; None for a matrix of one element."""
    first = 1 / a[0][0, 0]
    br, bi = a[0][1:, 0], a[1][1:, 0]
    ur, ui = br * first, bi * first
    if len(a[0]) == 1:
        return first, (ur, ui), None
    real = a[0][1:, 1:] - (br[:, None] * ur + bi[:, None] * ui)
    return first, (ur, ui), (real, a[1][1:, 1:] - (bi[:, None] * ur - br[:, None] * ui))
