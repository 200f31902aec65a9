"""A small learned picture codec, the base of the systems that work on its latents."""

from __future__ import annotations

from collections.abc import Sequence

from semcom.codecs.learned import LatentPackets
from semcom.systems.base import Models, Size, System, image_key, register
from semcom.types import Budget, Image, Message, Query, Reception, Recovered


@register(
    "learned-codec",
    family="baselines",
    paper="Minnen et al., NeurIPS 2018, arXiv 1809.02736; gain units: Cui et al., CVPR 2021",
    sends="rate, hyper-latent and latent in one range code; packets: resilient adds a coarser one in a second packet",
)
class LearnedCodecSystem(System):
    """A picture by a learned codec at the highest rate that fits. Over the air: its range code.

    :param packets: ``one``, or ``resilient``: behind the packet with the picture a spare one, with the same picture at
        the highest rate that fits a third of the budget, which is used where the first is lost.
    :param weights: a shipped name or a folder.
    """

    carries = "image"

    def __init__(
        self, models: Models | None = None, packets: str = "one", weights: str = "image-codec"
    ) -> None:
        super().__init__(models)
        self._packets = LatentPackets(weights, packets)

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`."""
        return [self._packets.send(image, image_key(image), budget) for image in images]

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`."""
        found = self._packets.receive(reception, size)
        return Recovered(image=None if found is None else self._packets.network.picture(found[0], size))
