"""What comes out of a link."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from channels.ledger import Ledger


@dataclass(frozen=True)
class Reception:
    """A payload after the air: bytes of the sent length, and the verdict of their CRC.

    The verdict is the receiver's: a CRC of 16 bits passes wrong bytes once in 65,536 failures.
    """

    payload: bytes
    ok: bool
    ledger: Ledger


@dataclass(frozen=True, eq=False)
class AnalogReception:
    """Symbols after the air, [n] complex64, equalised: sent + noise of variance ``noise_var`` [n] float32."""

    symbols: NDArray[np.complex64]
    noise_var: NDArray[np.float32]
    ledger: Ledger = field(default_factory=Ledger)
