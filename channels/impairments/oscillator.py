"""Oscillators: the carrier's phase runs away from the receiver's, until a pilot says where it is."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from channels.base import check_number
from channels.impairments.base import Distorted, Hardware

if TYPE_CHECKING:
    from torch import Tensor


class Oscillator(Hardware):
    """The phase turns from sample to sample; pilots are ideal, and charged.

    Single carrier: a pilot before each ``block`` of symbols sets the phase to zero, and the receiver corrects no
    more; the error of the k-th symbol after the pilot is counted with its mean power, |E e^{j phi_k} - 1|^2 +
    var e^{j phi_k} = E|e^{j phi_k} - 1|^2. Exact for all symbols of mean power 1.

    OFDM: one pilot subcarrier per OFDM symbol instead shows the common gain J_0 = mean of e^{j phi} over the
    symbol, by which the receiver divides; what remains is interference between subcarriers of power
    (1 - |J_0|^2) / |J_0|^2.   [Petrovic, Rave & Fettweis, IEEE Trans. Commun. 55(8), 2007]

    Both oscillators' errors are counted at the transmitter, where they are exact over any channel.
    """

    block: int

    def __init__(self, block: int) -> None:
        check_number(self.name, "block", block, 1, whole=True)
        self.block = block

    def pilots(self, n: int, group: int) -> int:
        """One a block, or one an OFDM symbol."""
        return -(-n // (group if group > 1 else self.block))

    @abstractmethod
    def phase(self, age: Tensor, draw: Tensor | None) -> Tensor:
        """[blocks, length] float64 phases in rad, ``age`` [length] samples after the pilot."""

    @abstractmethod
    def mean(self, age: Tensor) -> Tensor:
        """E e^{j phi} over what the receiver does not know, of samples of that age, [length] complex."""

    def distort(self, samples: Tensor, draw: Tensor | None, group: int) -> Distorted:
        """Turn each sample."""
        import torch

        n, length = len(samples), group if group > 1 else min(self.block, len(samples))
        blocks = -(-n // length)
        age = torch.arange(1, length + 1, dtype=torch.float64)
        if draw is not None:
            draw = torch.nn.functional.pad(draw.double(), (0, blocks * length - n)).reshape(blocks, length)
        phase = self.phase(age, draw).expand(blocks, length)
        turn = torch.polar(torch.ones_like(phase), phase)

        def per_sample(values: Tensor) -> Tensor:
            return values.expand(blocks, length).reshape(-1)[:n].to(samples)

        if group > 1:
            common = turn.mean(dim=1, keepdim=True)
            common = torch.where(common.abs() < 1e-6, 1e-6, common)  # the signal is lost, but stays finite
            turn = per_sample(turn)
            return Distorted(samples * turn, per_sample(common), turn, 0.0)
        mean = self.mean(age)
        spread = 1 - mean.abs().square()
        return Distorted(samples * per_sample(turn), 1.0, per_sample(mean), per_sample(spread).real)
