"""A light encoder at the edge in place of the vision tower's first layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from channels.errors import InputError, unknown
from semcom import pretrained
from semcom.codecs.base import largest_rung
from semcom.codecs.packets import Packing
from semcom.systems.base import Models, Size, System, image_key, register
from semcom.systems.split_computing.bottleneck import Bottleneck, Ints
from semcom.types import Budget, Image, Message, Packet, Query, Reception, Recovered
from semcom.vlm.trunk import Trunk

PACKETS = ("one", "resilient", "quadrants")
_KEPT_IMAGES = 4096  # whose latents are remembered


@register(
    "entropic-student",
    family="split_computing",
    paper="Matsubara et al., WACV 2022, arXiv 2108.11898; rates by Cui et al., CVPR 2021, arXiv 2003.02012",
    sends="range-coded latents of a light encoder, with their rate (3 bits); packets: resilient: a coarser code, too",
)
class EntropicStudent(System):
    """The vision tower split at an early layer. Over the air: entropy-coded latents of a light encoder.

    The transmitter runs a small convolutional encoder instead of the tower's first layers, and sends its latents at
    the highest rate that fits, range coded under the densities of that rate. The receiver decodes them into a state
    of its own LLaVA's vision tower and lets the tower go on: every task is served by the same bytes. Images of other
    sizes than the tower's input are resized by the transmitter, as the tower's processor does it.

    :param packets: ``one``: everything in one packet, which a single wrong bit destroys; ``resilient``: a spare packet
        behind it, as in ``learned-codec``; ``quadrants`` of the picture, coded apart: what arrived of them is used.
    :param weights: a shipped name or a folder; they belong to one vision-language model.
    """

    carries = "tokens"

    def __init__(
        self,
        models: Models | None = None,
        packets: Literal["one", "resilient", "quadrants"] = "one",
        weights: str = "entropic-student",
    ) -> None:
        super().__init__(models)
        if packets not in PACKETS:
            raise unknown("packets", packets, PACKETS)
        self._quarters, self._weights = 4 if packets == "quadrants" else 1, weights
        self._packing = None if packets == "quadrants" else Packing(packets)
        self._coded: OrderedDict[bytes, Coded] = OrderedDict()

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`."""
        room = budget.packet_bytes(self._quarters)
        return [Message(self._send(self._of(image), room, budget) if room else ()) for image in images]

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`."""
        net, packets, parts = self._net, list(reception.packets), self._parts
        if self._packing is not None and len(packets) <= self._packing.most:
            packets, parts = packets[::-1], parts * len(packets)  # the first overwrites its spare
        if len(packets) != len(parts):
            return Recovered()
        count = net.grid[0] * net.grid[1]
        values = np.zeros((net.channels, count), np.float32)
        rate, kept = np.zeros(count, np.int64), np.zeros(count, bool)
        for packet, places in zip(packets, parts, strict=True):
            found = net.read(packet.payload, len(places)) if packet.ok else None
            if found is not None:
                values[:, places], rate[places] = found
                kept[places] = True
        if not kept.any():
            return Recovered()
        with torch.inference_mode():
            v, r, k = (self._on_grid(a) for a in (values, rate, kept))
            tokens = self._trunk.visual_tokens(net.decode(v, r, self._trunk, k), net.split)
        return Recovered(tokens=tokens[0].float().cpu().numpy())

    def _send(self, coded: Coded, room: int, budget: Budget) -> tuple[Packet, ...]:
        """The packets of one image."""
        if self._packing is None:
            return tuple(map(Packet, coded.best(room)))
        return self._packing.pack(lambda room: next(iter(coded.best(room)), None), coded.at(0)[0], budget)

    def _of(self, image: Image) -> Coded:
        """The latents of an image and their codes so far; budgets share them."""
        key = image_key(image)
        if key not in self._coded:
            with torch.inference_mode():
                features = self._net.features(self._trunk.normalised([image]))  # alone: no batch alters a bit
            self._coded[key] = Coded(self._net, features, self._parts)
            while len(self._coded) > _KEPT_IMAGES:
                self._coded.popitem(last=False)
        self._coded.move_to_end(key)
        return self._coded[key]

    def _on_grid(self, array: np.ndarray) -> Tensor:
        """``[1, ..., rows, columns]`` on the tower's device."""
        return torch.from_numpy(array).unflatten(-1, self._net.grid)[None].to(self._trunk.tower.device)

    @cached_property
    def _parts(self) -> list[Ints]:
        """The places on the grid that each packet carries."""
        return split_grid(self._net.grid, self._quarters)

    @cached_property
    def _trunk(self) -> Trunk:
        trunk: Trunk | None = getattr(self.models.generative, "trunk", None)
        if trunk is None:
            name = self.models.generative.name
            raise InputError(f"vlm: {name!r} has no open vision tower; entropic-student needs a LLaVA")
        return trunk

    @cached_property
    def _net(self) -> Bottleneck:
        model = self.models.generative
        return load(self._weights, self._trunk, model.fingerprint, model.name).to(self._trunk.tower.device)


class Coded:
    """One image at every rate, each coded at most once."""

    def __init__(self, net: Bottleneck, features: Tensor, parts: Sequence[Ints]) -> None:
        self._net, self._features, self._parts = net, features, parts
        self._codes: dict[int, tuple[bytes, ...]] = {}

    def at(self, rate: int) -> tuple[bytes, ...]:
        """The codes of the parts at that rate."""
        if rate not in self._codes:
            with torch.inference_mode():
                values = self._net.scaled(self._features, torch.tensor([rate], device=self._features.device))
                whole = values[0].flatten(1).round().long().cpu().numpy()
            self._codes[rate] = tuple(self._net.write(whole[:, p], rate) for p in self._parts)
        return self._codes[rate]

    def best(self, room: int) -> tuple[bytes, ...]:
        """The highest rate whose codes have at most ``room`` bytes each; none where no rate does."""
        rate = largest_rung(self._net.rates, lambda r: max(map(len, self.at(r))) <= room)
        return () if rate is None else self.at(rate)


def split_grid(grid: Size, parts: int) -> list[Ints]:
    """Places (row * columns + column) of the whole grid, or of its four quadrants."""
    places = np.arange(grid[0] * grid[1]).reshape(grid)
    if parts == 1:
        return [places.ravel()]
    return [q.ravel() for half in np.array_split(places, 2, 0) for q in np.array_split(half, 2, 1)]


def load(weights: str, trunk: Trunk, fingerprint: str, vlm: str) -> Bottleneck:
    """The trained network in a weights folder.

    :raises InputError: there is none, or it was trained for another vision-language model
    """

    def make(config: dict[str, Any]) -> Bottleneck:
        if config["vlm"] != fingerprint:
            raise ValueError(
                f"it was trained for another vision-language model than {vlm!r}; "
                f"`semcom train entropic-student --vlm {vlm} --out FOLDER` makes weights for that one"
            )
        return Bottleneck(trunk, config["split"], config["channels"], config["rates"], config["hidden"])

    return pretrained.load(weights, make)
