"""IQ imbalance of direct-conversion mixers."""

from __future__ import annotations

import cmath
import math
from typing import TYPE_CHECKING, Literal

from channels.base import check_number
from channels.errors import one_of
from channels.impairments.base import Distorted, Hardware, register

if TYPE_CHECKING:
    from torch import Tensor


@register("iq-imbalance", side="transmitter")
class IQImbalance(Hardware):
    """IQ imbalance: the quadrature branch is off in gain and phase, and an image mu x + nu conj(x) appears.

    mu = (1 + g e^{-j phi}) / 2, nu = (1 - g e^{j phi}) / 2, that is Re x + j g (Im x cos phi - Re x sin phi); the
    receiver knows mu, and counts the image as noise of power |nu|^2 / |mu|^2. Exact for symbols of mean power 1
    with E x^2 = 0 (QAM, Gaussian).   [Schenk, RF Imperfections, 2008, ch. 5]

    :param gain_db: gain of the quadrature branch over the other, g [dB].
    :param phase_deg: its phase error phi [degrees].
    :param side: "transmitter" or "receiver".
    """

    def __init__(
        self,
        gain_db: float = 0.5,
        phase_deg: float = 2.0,
        side: Literal["transmitter", "receiver"] = "transmitter",
    ) -> None:
        check_number(self.name, "gain_db", gain_db, -20, 20)
        check_number(self.name, "phase_deg", phase_deg, -80, 80)
        one_of(f"side of {self.name}:", side, ("transmitter", "receiver"))
        self.gain_db, self.phase_deg, self.side = float(gain_db), float(phase_deg), side

    @property
    def image_rejection(self) -> float:
        """|nu|^2 / |mu|^2 = (1 + g^2 - 2 g cos phi) / (1 + g^2 + 2 g cos phi)."""
        mu, nu = self._mixer()
        return abs(nu) ** 2 / abs(mu) ** 2

    def distort(self, samples: Tensor, draw: Tensor | None, group: int) -> Distorted:
        """Add the image, at unchanged power."""
        mu, nu = self._mixer()
        return Distorted(mu * samples + nu * samples.conj(), mu, mu, abs(nu) ** 2)

    def _mixer(self) -> tuple[complex, complex]:
        """mu and nu, scaled to |mu|^2 + |nu|^2 = 1."""
        turn = cmath.rect(10 ** (self.gain_db / 20), math.radians(self.phase_deg))
        mu, nu = (1 + turn.conjugate()) / 2, (1 - turn) / 2
        scale = math.hypot(abs(mu), abs(nu))
        return mu / scale, nu / scale
