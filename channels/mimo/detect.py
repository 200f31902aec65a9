"""What a receiver with several antennas makes of y = H x + w: linear equalisers, and detectors that know the QAM."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from channels.errors import one_of
from channels.mimo.planes import (
    adjoint_times,
    diagonal,
    gram,
    inverse,
    loaded,
    planes,
    times,
    total,
    unplanes,
)
from channels.threads import single_thread

if TYPE_CHECKING:
    from torch import Tensor

LINEAR = ("lmmse", "zf", "mrc")
SOFT = ("kbest", "ep")
_ENTRIES = 2**18  # of H, equalised at once: fewer cost Python, more the processor's cache
_PATHS = 64  # candidates that K-best keeps
_MEMORY = 2**25  # bytes that Sionna's detectors may take


def equalise(y: Tensor, h: Tensor, no: Tensor, detector: str = "lmmse") -> tuple[Tensor, Tensor]:
    """Unit-gain estimates of the streams x in y = H x + w, each with the variance of its own noise.

    "lmmse": (H^H H + no I)^-1 H^H y, scaled to unit gain; "zf": (H^H H)^-1 H^H y, for K <= M; "mrc":
    h_k^H y / |h_k|^2. The matrices to invert are K x K, in double precision, because H^H H squares the condition
    number of H. A result does not depend, bit for bit, on what else is in the tensor.
    [Björnson, Hoydis & Sanguinetti 2017, sec. 4.1]

    :param y: [..., M] complex64, received.
    :param h: [..., M, K] complex64, the power of each stream inside; its batch dimensions broadcast with those of y.
    :param no: broadcastable to [...], variance of the noise at each antenna.
    :returns: ``x_hat`` [..., K] complex64 = x + noise; ``no_eff`` [..., K] float32, variance of that noise: what is
        left of w and of the other streams, which have unit power.
    """
    import torch

    one_of("linear detector", detector, LINEAR)
    shape = torch.broadcast_shapes(y.shape[:-1], h.shape[:-2], no.shape)
    batch = shape or (1,)
    y, h, no = (_rank(a, len(batch) + inner) for a, inner in ((y, 1), (h, 2), (no, 0)))
    if y.shape[:-1] == h.shape[:-2] == batch:  # nothing shared: one long list of channel uses
        y, h, no = y.flatten(0, -2), h.flatten(0, -3), no.expand(batch).flatten()
    step = max(_ENTRIES * len(y) // (math.prod(batch) * math.prod(h.shape[-2:])), 1)
    parts = [
        _equalise(y[i : i + step], _part(h, i, step), _part(no, i, step), detector)
        for i in range(0, len(y), step)
    ]
    x_hat, no_eff = (torch.cat(both).reshape(*shape, h.shape[-1]) for both in zip(*parts, strict=True))
    return x_hat, no_eff


def _rank(a: Tensor, rank: int) -> Tensor:
    return a.reshape((1,) * (rank - a.ndim) + a.shape)


def _part(a: Tensor, first: int, step: int) -> Tensor:
    return a if len(a) == 1 else a[first : first + step]


def _equalise(y: Tensor, h: Tensor, no: Tensor, detector: str) -> tuple[Tensor, Tensor]:
    no, columns = no.double(), planes(h, 2)
    products, matched = gram(columns), adjoint_times(columns, planes(y, 1))
    power = diagonal(products)  # |h_k|^2
    if detector == "mrc" or len(power) == 1:
        gain = power.clamp_min(1e-30)
        others = total(products[0].square() + products[1].square()) - power.square()
        no_eff = (others / gain + no) / gain
    else:
        # The floor, 120 dB below the sum of all powers, keeps the inverse positive where H has too low a rank.
        floor = total(power) * 1e-12 + 1e-30
        no, load = (no.maximum(floor),) * 2 if detector == "lmmse" else (no, floor)
        filters = inverse(loaded(products, load))
        matched = times(filters, matched)
        # Hermitian A and B: (A B)_kk = sum_j Re A_jk conj(B_jk)
        gain = total(filters[0] * products[0] + filters[1] * products[1]).clamp_min(1e-30)
        no_eff = no * diagonal(filters) / gain
    x_hat = unplanes((matched[0] / gain, matched[1] / gain))
    no_eff = no_eff.clamp_max(1e35).float()  # what does not arrive at all keeps a finite variance
    return x_hat, no_eff.movedim(0, -1).expand(x_hat.shape)


def detect(y: Tensor, h: Tensor, no: Tensor, bits: int, detector: str) -> Tensor:
    """LLRs of QAM streams from joint detection, by Sionna's KBestDetector or EPDetector.

    "kbest": the 64 best paths through the tree of all candidates, for K <= M
    [Guo & Nilsson, IEEE J. Sel. Areas Commun. 24(3), 2006]; "ep": ten iterations of expectation propagation
    [Céspedes et al., IEEE Trans. Commun. 62(8), 2014].

    :param y: [batch, n, M] complex64.
    :param h: broadcastable to [batch, n, M, K], complex64, the power of each stream inside.
    :param no: broadcastable to [batch, n], variance of the noise at each antenna.
    :param bits: bits per symbol.
    :returns: [batch, n, K, bits] float32, log p(bit = 1) / p(bit = 0).
    """
    import torch

    one_of("soft detector", detector, SOFT)
    antennas, streams = h.shape[-2:]
    block = _detector(detector, streams, bits)
    scale = no.double().rsqrt().expand(y.shape[:2])[..., None]
    y, h = y * scale, h * scale[..., None]
    white = torch.eye(antennas, dtype=y.dtype)
    step = max(_MEMORY // (16 * antennas**2 + 16 * _PATHS * streams * 2**bits), 1)
    rows = []
    with single_thread():  # and row by row, so that a row's LLRs are its own
        for received, channel in zip(y, h, strict=True):
            pieces = zip(received.split(step), channel.split(step), strict=True)
            rows.append(torch.cat([block(a, b, white.expand(len(a), -1, -1)) for a, b in pieces]))
    return torch.stack(rows).float().nan_to_num_(nan=0.0)  # at extreme SNRs: the detector says nothing


@lru_cache(16)
def _detector(detector: str, streams: int, bits: int) -> Any:
    from sionna.phy.mimo import EPDetector, KBestDetector

    if detector == "ep":
        return EPDetector("bit", bits, precision="double", device="cpu")
    paths = min(_PATHS, 2 ** (bits * streams))
    to_llr = _list_to_llr(bits)
    return KBestDetector(
        "bit", streams, paths, "qam", bits, list2llr=to_llr, precision="double", device="cpu"
    )


def _list_to_llr(bits: int) -> Any:
    """LLRs from the paths that K-best kept; a bit value that is in none of them gets the distance of the worst.

    Sionna's own default gives such bits LLRs of +-20, which at low SNR is far too sure, and compiles itself at its
    first use, for which there must be a C++ compiler.
    """
    import torch
    from sionna.phy.mimo import List2LLR

    ones = (torch.arange(2**bits)[:, None] >> torch.arange(bits - 1, -1, -1)) % 2 == 1  # bits of each label

    class KeptPaths(List2LLR):
        def call(self, y: Tensor, r: Tensor, dists: Tensor, path_inds: Tensor, path_syms: Tensor) -> Tensor:
            one, metric = (
                ones[path_inds.long()],
                -dists[..., None, None],
            )  # [n, paths, K, bits], [n, paths, 1, 1]
            worst = metric.amin(dim=1)
            high, low = (metric.where(b, -torch.inf).logsumexp(dim=1).maximum(worst) for b in (one, ~one))
            return high - low

    return KeptPaths(precision="double", device="cpu")
