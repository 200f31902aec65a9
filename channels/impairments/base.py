"""What every impairment says of itself: what it does to a signal, and what the receiver knows of that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from channels.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

Side = Literal["transmitter", "air", "receiver"]
SIDES: tuple[Side, ...] = ("transmitter", "air", "receiver")  # in the order in which a signal passes them

IMPAIRMENTS: Registry[Impairment] = Registry("impairment")


class Distorted(NamedTuple):
    """Samples behind a piece of hardware: mean * input + distortion, which is uncorrelated with the input.

    ``samples`` [n] complex64. ``known``: the gain that the receiver knows and divides by (one, or [n], the same
    for all samples of an OFDM symbol). ``mean``: the mean gain over what the receiver does not know (one, or [n]).
    ``spread``: power of the distortion for input of power 1 (one, or [n]). At the transmitter
    |mean|^2 + spread = 1: hardware does not raise the power.
    """

    samples: Tensor
    known: complex | Tensor
    mean: complex | Tensor
    spread: float | Tensor


class Impairment(ABC):
    """Base of all impairments: options are public attributes, and everything is drawn from one seed per row."""

    name: ClassVar[str] = ""
    side: Side

    def pilots(self, n: int, group: int) -> int:
        """Pilot symbols that it costs to send ``n`` symbols, in OFDM symbols of ``group`` (1: single carrier)."""
        return 0

    def draw(self, n: int, seed: int, stream: str) -> Tensor | None:
        """What is random about ``n`` samples of one row: [n], or None. ``stream``: purpose, 5 characters at most."""
        return None

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({options})"


class Hardware(Impairment):
    """An impairment that the signal passes through, at the transmitter or at the receiver."""

    @abstractmethod
    def distort(self, samples: Tensor, draw: Tensor | None, group: int) -> Distorted:
        """Pass samples [n] of mean power 1 of one row, OFDM symbols of ``group`` samples (1: single carrier).

        One row at a time, so that nothing that is computed here can depend on the batch.
        """


def register(name: str, side: Side) -> Callable[[type], type]:
    """Class decorator that enters an impairment into :data:`IMPAIRMENTS`, with its name and (usual) side."""

    def enter(cls: type) -> type:
        cls.name = name  # type: ignore[attr-defined]
        cls.side = side  # type: ignore[attr-defined]
        return IMPAIRMENTS.register(name, side=side)(cls)

    return enter
