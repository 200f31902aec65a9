"""Hybrid automatic repeat request (HARQ): send again until the CRC passes, and combine all that was received."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from channels import fec
from channels.base import check_number
from channels.draws import generator
from channels.errors import one_of
from channels.links.coded import transmit, verdicts
from channels.links.sending import Delivery, Sending

if TYPE_CHECKING:
    from torch import Tensor

# Redundancy versions in the order of their sending, which starts again after the last.
SCHEMES = {"chase": (0,), "incremental": (0, 2, 3, 1)}


@dataclass(frozen=True)
class Harq:
    """Retransmissions of a whole payload until its CRC passes.

    Each attempt meets a fresh realisation of the channel. The receiver keeps the LLRs of all attempts in a soft
    buffer and decodes them together. Its feedback costs nothing and is never wrong; a CRC that passes by chance
    ends the attempts, too.

    :param scheme: "chase": every attempt sends the same bits, and their LLRs are added; "incremental": attempts
        send the redundancy versions 0, 2, 3, 1 of the code, so that the code rate falls with each.
        [3GPP TS 38.212, 5.4.2.1]
    :param attempts: the most there are, the first included, 1 to 16.
    :param deadline: latency bound in channel uses from the start of the first attempt: an attempt that would end
        later is not sent, not even the first. None: no bound.
    """

    scheme: str = "chase"
    attempts: int = 4
    deadline: int | None = None

    def __post_init__(self) -> None:
        one_of("harq scheme", self.scheme, SCHEMES)
        check_number("harq", "attempts", self.attempts, 1, 16, whole=True)
        if self.deadline is not None:
            check_number("harq", "deadline", self.deadline, 1, whole=True)

    def within(self, uses: int) -> int:
        """How many attempts of ``uses`` channel uses each there is time for."""
        return self.attempts if self.deadline is None else min(self.attempts, self.deadline // uses)

    def reserved(self, uses: int) -> int:
        """Channel uses to set aside for a payload whose attempts take ``uses`` each; non-decreasing."""
        most = self.attempts * uses
        return most if self.deadline is None else max(min(most, self.deadline), uses)

    def longest(self, channel_uses: int) -> int:
        """The longest attempt that meets the deadline and has ``reserved(attempt) <= channel_uses``."""
        if self.deadline is not None and channel_uses >= self.deadline:
            return self.deadline
        return channel_uses // self.attempts

    def deliver(self, sent: Sending, rows: Sequence[int]) -> dict[int, Delivery]:
        """Send those rows, and send again those that did not arrive."""
        result = {}
        for shape, same in sent.groups(rows):
            result.update({r: Delivery(bytes(shape.payload_bytes), False, 0) for r in same})
            buffer: dict[int, Tensor] = {}  # [rows * blocks, n] LLRs of each redundancy version
            for attempt in range(self.within(sent.channel.uses(shape.symbols))):
                version = SCHEMES[self.scheme][attempt % len(SCHEMES[self.scheme])]
                seeds = [_attempt_seed(sent.seeds[r], attempt) for r in same]
                llr = transmit(sent, shape, same, seeds, version)
                buffer[version] = buffer[version].add_(llr) if version in buffer else llr
                result.update(verdicts(sent, same, _decode(shape, buffer), attempt + 1))
                lost = [i for i, row in enumerate(same) if not result[row].ok]
                if not lost:
                    break
                same = [same[i] for i in lost]
                buffer = {
                    v: llr.unflatten(0, (-1, shape.blocks))[lost].flatten(0, 1) for v, llr in buffer.items()
                }
        return result


def _decode(shape: fec.Grant, buffer: dict[int, Tensor]) -> fec.Bits:
    import torch

    code = fec.ldpc(shape.k, shape.n, shape.bits_per_symbol, tuple(buffer))
    return code.decode(torch.cat(list(buffer.values()), dim=1))[0]


def _attempt_seed(seed: int, attempt: int) -> int:
    """The seed of an attempt's realisation; the first is the one of a link without HARQ."""
    return seed if attempt == 0 else int(generator(seed, f"harq{attempt}").integers(2**63))
