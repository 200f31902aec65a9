"""The receiver's vision-language model sees a learned codec's latents instead of the image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch

from channels.errors import InputError
from semcom.codecs.learned import LatentPackets
from semcom.systems.base import Models, Size, System, image_key, register
from semcom.systems.latent_input import neck
from semcom.systems.latent_input.neck import Neck
from semcom.types import Budget, Image, Message, Query, Reception, Recovered
from semcom.vlm.trunk import Trunk


@register(
    "latent-input",
    family="latent_input",
    paper="Kao et al., ICLR 2025, arXiv 2407.19651",
    sends="what learned-codec sends, byte for byte",
)
class LatentInput(System):
    """Latents of a learned codec, by a neck, into the VLM's tower. Over the air: what learned-codec sends.

    The receiver decodes the entropy code but no image: the neck maps the latents to the state that enters the tower
    after its first layers. Codec, tower and language model stay as they are.   [Kao 2025]

    :param packets: ``one`` or ``resilient``, as in ``learned-codec``.
    :param weights: of the neck: a shipped name or a folder.
    :param codec: weights of the codec: a shipped name or a folder.
    """

    carries = "tokens"

    def __init__(
        self,
        models: Models | None = None,
        packets: str = "one",
        weights: str = "latent-input",
        codec: str = "image-codec",
    ) -> None:
        super().__init__(models)
        self._weights, self._packets = weights, LatentPackets(codec, packets)

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`."""
        return [self._packets.send(image, image_key(image), budget) for image in images]

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`."""
        found = self._packets.receive(reception, size)
        if found is None:
            return Recovered()
        device = self._trunk.tower.device
        y, rate = found[0].to(device), torch.tensor([found[1]], device=device)
        with torch.inference_mode():
            tokens = self._trunk.visual_tokens(self._neck(y, rate), self._neck.start)
        return Recovered(tokens=tokens[0].float().cpu().numpy())

    @cached_property
    def _trunk(self) -> Trunk:
        trunk = getattr(self.models.generative, "trunk", None)
        if trunk is None:
            name = self.models.generative.name
            raise InputError(f"vlm: {name!r} has no open vision tower; latent-input needs a LLaVA")
        return trunk

    @cached_property
    def _neck(self) -> Neck:
        model, trunk = self.models.generative, self._trunk
        found = neck.load(self._weights, self._packets.network, trunk, model.fingerprint, model.name)
        return found.to(trunk.tower.device)
