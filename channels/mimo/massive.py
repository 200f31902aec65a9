"""Many antennas at a base station, which tell the users of one band apart."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from channels.base import Channel, check_number, register
from channels.errors import InputError
from channels.mimo import arrays
from channels.mimo.planes import (
    adjoint_times,
    diagonal,
    gram,
    inner,
    inverse,
    loaded,
    planes,
    power,
    times,
    total,
)

if TYPE_CHECKING:
    from torch import Tensor

    from channels.mimo.planes import Planes

_ENTRIES = 2**18  # gains of antennas and users worked on at once


@dataclass(frozen=True, eq=False)
class MassiveRealisation:
    """Gains [batch, blocks, antennas, users] of all users, and unit-variance noise [batch, n], complex64.

    The antennas are taken in the directions that fade independently, the eigenvectors of their correlation; neither
    white noise nor total power depends on the choice. ``pilots``: noise of the pilots, as ``h``, if there are pilots.
    """

    h: Tensor
    noise: Tensor
    pilots: Tensor | None


class Massive(Channel):
    """One of ``users`` single-antenna users; a row holds the symbols of that one, the first.

    The others send CN(0, 1) symbols, independent of each other and from use to use, so given the gains their sum and
    the noise are one Gaussian of known variance after any linear filter. It is drawn as such: exact, and the cost of
    a symbol does not grow with antennas or users.
    """

    def __init__(
        self, users: int, antennas: int, coherence: int | None, correlation: float, csi: str
    ) -> None:
        check_number(self.name, "users", users, 1, 256, whole=True)
        check_number(self.name, "antennas", antennas, 1, 1024, whole=True)
        arrays.check_coherence(self.name, coherence)
        arrays.check_correlation(self.name, correlation)
        arrays.check_choice(self.name, "csi", csi, arrays.CSI)
        self.users, self.antennas = users, antennas
        self.coherence, self.correlation, self.csi = coherence, float(correlation), csi

    def _check_filter(self, field: str, value: str, known: tuple[str, ...]) -> None:
        arrays.check_choice(self.name, field, value, known)
        if value == "zf" and self.users > self.antennas:
            raise InputError(
                f"{self.name}: {field} 'zf' must have at least as many antennas as users, not {self.antennas} "
                f"for {self.users}"
            )

    def _blocks(self, n: int) -> int:
        return -(-n // (self.coherence or max(n, 1)))

    def uses(self, n: int) -> int:
        """n, and one use for each user's pilot in each block."""
        return n + (self.users * self._blocks(n) if self.csi == "estimated" else 0)

    def realise(self, n: int, seeds: Sequence[int]) -> MassiveRealisation:
        """Draw the gains of all users, noise, and the noise of the pilots, row by row."""
        import torch

        shape = self._blocks(n), self.antennas, self.users
        powers = arrays.exponential(self.antennas, self.correlation)[0]
        h = arrays.draw(seeds, "fading", shape) * np.sqrt(powers).astype(np.float32)[:, None]
        pilots = torch.from_numpy(arrays.draw(seeds, "pilots", shape)) if self.csi == "estimated" else None
        return MassiveRealisation(
            torch.from_numpy(h), torch.from_numpy(arrays.draw(seeds, "noise", (n,))), pilots
        )

    def apply(self, x: Tensor, realisation: MassiveRealisation, no: Tensor) -> tuple[Tensor, Tensor]:
        """y = g x + sqrt(v) w, and the variance that the receiver expects of y - x; g = 1 where it knows H."""
        import torch

        step = max(_ENTRIES // (len(x) * self.antennas * self.users), 1)
        pilots = realisation.pilots
        parts = []
        for i in range(0, realisation.h.shape[1], step):
            h = planes(realisation.h[:, i : i + step], 2)
            noise = None if pilots is None else planes(pilots[:, i : i + step], 2)
            parts.append(self._equalised(h, noise, no.cpu().double()))
        length = min(self.coherence or x.shape[1], x.shape[1])
        each = [
            torch.cat(part, dim=1).float().repeat_interleave(length, dim=1)[:, : x.shape[1]].to(x.device)
            for part in zip(*parts, strict=True)
        ]
        real, imag, variance, said = each
        w = realisation.noise.to(x.device)
        scale = variance.sqrt()
        y_real = x.real + (real * x.real - imag * x.imag) + scale * w.real
        y_imag = x.imag + (real * x.imag + imag * x.real) + scale * w.imag
        return torch.complex(y_real, y_imag), said

    def _equalised(
        self, h: Planes, pilots: Planes | None, no: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Real and imaginary part of g - 1, variance of noise and interference, and of what the receiver expects.

        The users' pilots are orthogonal and take ``users`` uses at power 1 each; the estimate is the LMMSE one.
        """
        import torch

        powers = torch.from_numpy(arrays.exponential(self.antennas, self.correlation)[0])[:, None, None]
        if pilots is None:
            return self._filter(h, h, torch.zeros_like(powers), no)
        e = no / self.users
        weight, scale = (powers / (powers + e))[:, None], e.sqrt()
        known = weight * (h[0] + scale * pilots[0]), weight * (h[1] + scale * pilots[1])
        return self._filter(h, known, powers * e / (powers + e), no)

    @abstractmethod
    def _filter(
        self, h: Planes, known: Planes, error: Tensor, no: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """:meth:`_equalised`, each [batch, blocks].

        :param h: [antennas, users, batch, blocks] true gains; ``known``: what the base station knows of them.
        :param error: [antennas, batch or 1, 1] variance of what it does not know.
        :param no: [batch, 1].
        """

    def _own(self, realisation: MassiveRealisation) -> Tensor:
        """[batch, blocks] |h|^2 of the row's user, summed over antennas."""
        return total(power(planes(realisation.h[..., 0], 1)))

    def capacity(self, n: int, realisation: MassiveRealisation, no: Tensor) -> Tensor:
        """log2(1 + |h|^2 / no), |h|^2 summed over antennas: the user alone, with all the power."""
        import torch

        bits = torch.log2(1 + self._own(realisation) / no).float()
        return bits.repeat_interleave(min(self.coherence or n, n), dim=1)[:, :n]

    def gain(self, n: int, seeds: Sequence[int]) -> Tensor:
        """Mean of |h|^2 over antennas and blocks."""
        return self._own(self.realise(n, seeds)).mean(dim=1).float() / self.antennas

    def footprint(self, n: int) -> int:
        """With the gains of all users, their noise, and the blocks worked on at once in double precision."""
        gains = self.antennas * self.users * self._blocks(n)
        return 64 * n + 24 * gains + 100 * min(gains, _ENTRIES)


@register("massive-uplink", family="massive")
class MassiveUplink(Massive):
    """Massive MIMO uplink: y = H x + w, users with power 1 each, SNR of one user at one antenna, H_mk ~ CN(0, 1).

    The base station filters out the row's user. With M antennas, K users and perfect CSI, "zf" leaves an SNR of
    Gamma(M - K + 1) / no; "mrc" stops near M / (K - 1), however high the SNR; "lmmse" is the best linear filter.
    [Björnson, Hoydis & Sanguinetti 2017, sec. 4.1]

    :param users: K.
    :param antennas: M.
    :param detector: "mrc", "zf" or "lmmse".
    :param coherence: channel uses that share one H; None: the whole row.
    :param correlation: r of the exponential model along the array, E h_i h_j* = r^|i - j|.
    :param csi: "perfect"; "estimated": LMMSE estimates of all users from K channel uses of orthogonal pilots a
        coherence block, with power 1 each, charged to the row. What the estimates miss is added to the noise.
    """

    def __init__(
        self,
        users: int = 4,
        antennas: int = 64,
        detector: str = "lmmse",
        coherence: int | None = None,
        correlation: float = 0.0,
        csi: str = "perfect",
    ) -> None:
        super().__init__(users, antennas, coherence, correlation, csi)
        self._check_filter("detector", detector, ("mrc", "zf", "lmmse"))
        self.detector = detector

    def _filter(
        self, h: Planes, known: Planes, error: Tensor, no: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        white = (no + self.users * error).rsqrt()  # E x + w has another variance in each direction
        scale = white[:, None]
        h, known = (h[0] * scale, h[1] * scale), (known[0] * scale, known[1] * scale)
        v = self._combiner(known)
        true, expected = adjoint_times(h, v), adjoint_times(known, v)  # conjugates of v^H h_k
        own = power((expected[0][0], expected[1][0])).clamp_min(1e-30)
        missed = inner((h[0][:, 0] - known[0][:, 0], h[1][:, 0] - known[1][:, 0]), v)
        real = (missed[0] * expected[0][0] + missed[1] * expected[1][0]) / own
        imag = (missed[0] * expected[1][0] - missed[1] * expected[0][0]) / own
        noise = no * total(power(v) * white.square())
        return real, imag, (_others(true) + noise) / own, (_others(expected) + total(power(v))) / own

    def _combiner(self, known: Planes) -> Planes:
        """The filter v [antennas, ...] of the first user, for noise of variance 1."""
        if self.detector == "mrc":
            return known[0][:, 0], known[1][:, 0]
        products = gram(known)
        floor = total(diagonal(products)) * 1e-12 + 1e-30
        real, imag = inverse(loaded(products, floor.clamp_min(1) if self.detector == "lmmse" else floor))
        return times(known, (real[:, 0], imag[:, 0]))


@register("massive-downlink", family="massive")
class MassiveDownlink(Massive):
    """Massive MIMO downlink: a beam for each user, power 1 / users in each, SNR of total power 1 at one antenna.

    The base station knows H from the uplink. Each user knows the gain of its beam and the power of its interference,
    for which nothing is charged.
    With M antennas and K users, "zf" leaves an SNR of Gamma(M - K + 1) / (K no).
    [Björnson, Hoydis & Sanguinetti 2017, sec. 4.3]

    :param users: K.
    :param antennas: M.
    :param precoder: "mrt" (conjugate), "zf", or "rzf": H (H^H H + K no I)^-1, conjugate, of norm 1 for each user.
    :param coherence: channel uses that share one H; None: the whole row.
    :param correlation: r of the exponential model along the array, E h_i h_j* = r^|i - j|.
    :param csi: "perfect"; "estimated": LMMSE estimates at the base station from K channel uses of orthogonal uplink
        pilots a coherence block, charged to the row, at the asked SNR: users send with the power of the station.
    """

    def __init__(
        self,
        users: int = 4,
        antennas: int = 64,
        precoder: str = "rzf",
        coherence: int | None = None,
        correlation: float = 0.0,
        csi: str = "perfect",
    ) -> None:
        super().__init__(users, antennas, coherence, correlation, csi)
        self._check_filter("precoder", precoder, ("mrt", "zf", "rzf"))
        self.precoder = precoder

    def _filter(
        self, h: Planes, known: Planes, error: Tensor, no: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # By reciprocity a beam is the conjugate of an uplink filter v_j, of norm 1: the user meets v_j^H h / |v_j|.
        products, seen = gram(known), adjoint_times(known, (h[0][:, 0], h[1][:, 0]))
        norms = diagonal(products)
        if self.precoder != "mrt":  # V = H A: v_j^H h = (A^H H^H h)_j, |v_j|^2 = (A^H H^H H A)_jj
            load = self.users * no if self.precoder == "rzf" else 0 * no
            real, imag = inverse(loaded(products, load.maximum(total(norms) * 1e-12 + 1e-30)))
            seen = adjoint_times((real, imag), seen)
            turned = inner((products[0][:, :, None], products[1][:, :, None]), (real[:, None], imag[:, None]))
            norms = total(real * turned[0] + imag * turned[1])
        scale = (norms.clamp_min(1e-300) * self.users).rsqrt()
        beams = seen[0] * scale, seen[1] * scale
        variance = (_others(beams) + no) / power((beams[0][0], beams[1][0])).clamp_min(1e-30)
        zero = variance.new_zeros(variance.shape)
        return zero, zero, variance, variance


def _others(gains: Planes) -> Tensor:
    """Power of all users but the first."""
    return total(power((gains[0][1:], gains[1][1:]))) if len(gains[0]) > 1 else 0 * power(gains)[0]
