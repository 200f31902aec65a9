"""Another transmitter on the same resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from channels.base import check_number
from channels.draws import complex_normal, generator
from channels.errors import InputError, one_of
from channels.impairments.base import Impairment, register
from channels.impairments.waveform import qpsk

if TYPE_CHECKING:
    from torch import Tensor

SYMBOLS = ("gaussian", "qpsk")


@register("interference", side="air")
class Interference(Impairment):
    """Co-channel interference of mean power 1 / SIR at the receive antenna, where the signal's mean power is 1.

    SINR = |h|^2 / (no + 1 / sir). The receiver knows the mean power alone, and counts it as noise: exact over
    realisations. Over channels of several antennas and streams it is treated like the receiver's own noise.

    :param sir_db: signal to interference ratio [dB], averaged over the fading of both.
    :param symbols: "gaussian" or "qpsk".
    :param fading: the interferer has its own Rayleigh fading, one gain a row.
    """

    def __init__(
        self, sir_db: float = 10.0, symbols: Literal["gaussian", "qpsk"] = "gaussian", fading: bool = False
    ) -> None:
        check_number(self.name, "sir_db", sir_db, -100, 200)
        one_of(f"symbols of {self.name}:", symbols, SYMBOLS)
        if not isinstance(fading, bool):
            raise InputError(f"{self.name}: fading must be true or false, not {fading!r}")
        self.sir_db, self.symbols, self.fading = float(sir_db), symbols, fading

    @property
    def power(self) -> float:
        """Mean power, 1 / SIR."""
        return 10 ** (-self.sir_db / 10)

    def draw(self, n: int, seed: int, stream: str) -> Tensor:
        """The interferer's signal, [n] complex64 of mean power 1 / SIR. Its phase is uniform."""
        import torch

        rng = generator(seed, stream)
        turn = np.exp(2j * np.pi * rng.uniform())
        gain = complex_normal(rng, 1)[0] if self.fading else turn
        wave = complex_normal(rng, n) if self.symbols == "gaussian" else qpsk(rng, n)
        return torch.from_numpy((wave * np.complex128(gain * self.power**0.5)).astype(np.complex64))
