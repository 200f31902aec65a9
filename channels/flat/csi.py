"""Block fading whose receiver may have to estimate the gain, or to do without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from channels.base import check_number
from channels.draws import complex_normal, generator
from channels.errors import InputError, one_of
from channels.flat.fading import BlockFading, FlatRealisation, equalise

if TYPE_CHECKING:
    from torch import Tensor

CSI = ("perfect", "estimated", "none")


class PilotFading(BlockFading):
    """Block fading with perfect, estimated or no knowledge of the gain h at the receiver.

    ``csi``: "perfect"; "estimated": the linear MMSE estimate of h from ``pilots`` pilot symbols (None: 1) a
    coherence block, sent at the asked SNR and charged; "none": the mean of h alone, its line of sight, so there
    has to be one. The law of h and the noise variance are known in any case.

    With an estimate g = h - e the receiver has y = (h x + sqrt(no) w) / g = x + (e x + sqrt(no) w) / g, with
    noise of variance (E|e|^2 + no) / |g|^2 for |x|^2 = 1, and on average for other x. All symbols of a block
    share e. Capacities stay those of perfect CSI.
    [Hassibi & Hochwald, IEEE Trans. Inf. Theory 49(4), 2003, sec. II]
    """

    def __init__(self, coherence: int | None = None, csi: str = "perfect", pilots: int | None = None) -> None:
        super().__init__(coherence)
        one_of(f"csi of channel {self.name!r}:", csi, CSI)
        if csi == "none" and not self.mean:
            raise InputError(
                f"{self.name}: csi must be 'perfect' or 'estimated', not 'none': its gain has mean 0, so that "
                "nothing can be detected without an estimate"
            )
        if csi == "estimated":
            pilots = 1 if pilots is None else pilots
            check_number(self.name, "pilots", pilots, 1, 10**6, whole=True)
        elif pilots is not None:
            raise InputError(
                f"{self.name}: pilots must be left out unless csi is 'estimated', not {pilots!r}"
            )
        self.csi, self.pilots = csi, pilots

    @property
    def mean(self) -> float:
        """E h; the variance of h is 1 - mean^2."""
        return 0.0

    def uses(self, n: int) -> int:
        """n + ``pilots`` for each of the ceil(n / coherence) blocks."""
        return n + (self.pilots or 0) * -(-n // (self.coherence or max(n, 1)))

    def realise(self, n: int, seeds: Sequence[int]) -> FlatRealisation:
        """Gains and noise, and the noise of the pilots from a stream of its own."""
        import torch

        realisation = super().realise(n, seeds)
        if self.csi != "estimated":
            return realisation
        length = min(self.coherence or n, n)
        rows = [complex_normal(generator(s, "pilots"), -(-n // length)) for s in seeds]
        return replace(realisation, pilots=torch.from_numpy(np.repeat(rows, length, axis=1)[:, :n]))

    def apply(self, x: Tensor, realisation: FlatRealisation, no: Tensor) -> tuple[Tensor, Tensor]:
        """y = x + (e x + sqrt(no) w) / g, and (E|e|^2 + no) / |g|^2."""
        import torch

        if self.csi == "perfect":
            return super().apply(x, realisation, no)
        w, noise = realisation.noise.to(x.device), no.sqrt()
        g, e, error = self._estimate(realisation, no.cpu())
        g, real, imag = g.to(x.device), e.real.to(x.device), e.imag.to(x.device)
        disturbance = torch.complex(
            real * x.real - imag * x.imag + noise * w.real, real * x.imag + imag * x.real + noise * w.imag
        )
        return equalise(x, disturbance, torch.ones_like(no), g, error.to(x.device) + no)

    def _estimate(self, realisation: FlatRealisation, no: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The estimate g and its error e = h - g, [batch, n], and E|e|^2, [batch, 1]."""
        import torch

        assert realisation.gains is not None
        mean, variance = self.mean, 1 - self.mean**2
        real, imag = realisation.gains.real - mean, realisation.gains.imag
        if realisation.pilots is None or not self.pilots:
            known = torch.full_like(realisation.gains, mean)
            return known, torch.complex(real, imag), torch.full_like(no, variance)
        # The pilots together say h + v, v ~ CN(0, no / pilots), and its LMMSE weight is variance / (variance +
        # E|v|^2). Neither g nor e is computed as h less the other: that would cancel at low or at high SNR.
        ev = no / self.pilots
        weight, rest = variance / (variance + ev), ev / (variance + ev)
        v_real, v_imag = ev.sqrt() * realisation.pilots.real, ev.sqrt() * realisation.pilots.imag
        g = torch.complex(mean + weight * (real + v_real), weight * (imag + v_imag))
        e = torch.complex(rest * real - weight * v_real, rest * imag - weight * v_imag)
        return g, e, variance * rest

    def footprint(self, n: int) -> int:
        """With the error and the disturbance of an estimate."""
        return 64 * n if self.csi == "perfect" else 160 * n
