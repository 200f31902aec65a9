"""A JPEG that the receiver's vision-language model reads without decoding it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, cast

import torch

from channels.errors import InputError, unknown
from semcom import codecs, pretrained
from semcom.codecs import dct
from semcom.codecs.base import Ladder, Recent
from semcom.codecs.pillow import resize
from semcom.systems.base import Models, Size, System, image_key, register
from semcom.systems.compressed_domain.tower import DctTower, check
from semcom.types import Budget, Image, Message, Packet, Query, Reception, Recovered
from semcom.vlm.trunk import Trunk

EMBEDDINGS = ("trained", "pull-back")


@register(
    "rgb-no-more",
    family="compressed_domain",
    paper="Park and Johnson, CVPR 2023, arXiv 2211.16421",
    sends="what jpeg sends: quality (8 bits) and the baseline 4:2:0 scan, at the size of the vision tower's input",
)
class RgbNoMore(System):
    """A vision tower that reads JPEG's DCT coefficients. Over the air: the bytes that ``jpeg`` sends.

    The receiver undoes the entropy coding and the quantisation and nothing else: no inverse DCT, no chroma
    upsampling, no colours. The coefficients of each patch go through one linear map into the vision tower of the
    receiver's LLaVA. Images of other sizes than the tower's input are resized by the transmitter.

    :param embedding: ``trained``: a map and first layers distilled from the tower on intact images, so that they
        also make up for coarse quantisation; ``pull-back``: the tower's own patch convolution carried over to the
        DCT, without any training.
    :param weights: of the trained embedding: a shipped name or a folder.
    """

    carries = "tokens"

    def __init__(
        self,
        models: Models | None = None,
        embedding: Literal["trained", "pull-back"] = "trained",
        weights: str = "rgb-no-more",
    ) -> None:
        super().__init__(models)
        if embedding not in EMBEDDINGS:
            raise unknown("embedding", embedding, EMBEDDINGS)
        self._embedding, self._weights = embedding, weights
        self._codec = codecs.create("jpeg")
        self._ladders = Recent[Ladder]()

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`."""
        room = budget.packet_bytes()
        coded = [self._ladder(image).best(room) if room else None for image in images]
        return [Message((Packet(data),)) if data else Message() for data in coded]

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`."""
        if len(reception.packets) != 1 or not reception.packets[0].ok:
            return Recovered()
        planes = dct.read(reception.packets[0].payload, self._size)
        if planes is None:
            return Recovered()
        patches = torch.from_numpy(dct.patches(planes, self._trunk.patch_size))[None]
        with torch.inference_mode():
            tokens = self._tower(patches.to(self._trunk.tower.device), self._trunk)
        return Recovered(tokens=tokens[0].cpu().numpy())

    @cached_property
    def _trunk(self) -> Trunk:
        trunk = getattr(self.models.generative, "trunk", None)
        if trunk is None:
            name = self.models.generative.name
            raise InputError(f"vlm: {name!r} has no open vision tower; rgb-no-more needs a LLaVA")
        check(trunk)
        return cast(Trunk, trunk)

    @cached_property
    def _size(self) -> Size:
        return self._trunk.image_size, self._trunk.image_size

    @cached_property
    def _tower(self) -> DctTower:
        model, trunk = self.models.generative, self._trunk
        if self._embedding == "pull-back":
            tower = DctTower(trunk).eval().requires_grad_(False)
        else:
            tower = load(self._weights, trunk, model.fingerprint, model.name)
        return tower.to(trunk.tower.device)

    def _ladder(self, image: Image) -> Ladder:
        """All encodings of an image so far; budgets share them."""
        size = self._size

        def make() -> Ladder:
            return Ladder(self._codec, image if image.shape[:2] == size else resize(image, size))

        return self._ladders.of(image_key(image), size, make)


def load(weights: str, trunk: Trunk, fingerprint: str, vlm: str) -> DctTower:
    """The trained tower in a weights folder.

    :raises InputError: there is none, or it was trained for another vision-language model
    """

    def make(config: dict[str, Any]) -> DctTower:
        if config["vlm"] != fingerprint:
            raise ValueError(
                f"it was trained for another vision-language model than {vlm!r}; `semcom train rgb-no-more "
                f"--vlm {vlm} --out FOLDER` makes weights for that one, and embedding: pull-back needs none"
            )
        return DctTower(trunk, config["layers"])

    return pretrained.load(weights, make)
