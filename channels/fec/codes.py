"""What every code keeps: equal blocks of k information and n code bits, decoded one by one from their LLRs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from channels.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

CODES: Registry[Code] = Registry("code")


class Code(ABC):
    """Base of all codes; an instance is the (k, n) code for symbols of ``bits_per_symbol`` bits.

    A subclass writes :meth:`cut`, :meth:`encode` and :meth:`decode`, and says its rates: ``default_rate``;
    ``highest_rate``; and ``mother_rate``, below which code bits are repeated. Rates count what the code carries
    (payload, CRC of the payload, filler) per code bit.
    """

    name: ClassVar[str] = ""
    mother_rate: ClassVar[Fraction]
    highest_rate: ClassVar[Fraction]
    default_rate: ClassVar[Fraction] = Fraction(1, 2)

    @abstractmethod
    def __init__(self, k: int, n: int, bits_per_symbol: int) -> None: ...

    @classmethod
    @abstractmethod
    def cut(cls, bits: int, bits_per_symbol: int, rate: Fraction) -> tuple[int, int, int]:
        """(blocks, k, n) that carry ``bits`` at no more than ``rate``: as few equal blocks as the code allows.

        n is a multiple of ``bits_per_symbol``, and filler are fewer than ``bits_per_symbol`` bits a block.
        """

    @abstractmethod
    def encode(self, bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[batch, k] information bits to [batch, n] code bits."""

    @abstractmethod
    def decode(self, llr: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Decode blocks; the result of each depends on its own LLRs alone, bit for bit.

        :param llr: [batch, n] float32, log p(bit = 1) / p(bit = 0); what is not a number counts as erased.
        :returns: [batch, k] hard decisions; and [batch] whether the code's own check holds, true if it has none.
        """


def register(name: str, **facts: Any) -> Callable[[type], type]:
    """Class decorator that enters a code into :data:`CODES` and gives it its name."""

    def enter(cls: type) -> type:
        cls.name = name  # type: ignore[attr-defined]
        return CODES.register(name, **facts)(cls)

    return enter
