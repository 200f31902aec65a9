"""The learned image codec as a picture codec beside JPEG and the others, and in packets that fit a budget."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version

from torch import Tensor

from semcom.codecs import hyperprior
from semcom.codecs.base import CODECS, Headers, ImageCodec, Recent, Size, largest_rung
from semcom.codecs.hyperprior import RATES, Hyperprior
from semcom.codecs.packets import Packing
from semcom.types import Budget, Image, Message, Reception


@CODECS.register("learned")
class LearnedCodec(ImageCodec):
    """A mean and scale hyperprior with gain units, trained on scenes; quality is the rate, 0 to 31.

    Abbreviated: the range code, whose first five bits are the rate. The full file has height and width, two bytes
    each, before it.   [Minnen, NeurIPS 2018; Cui, CVPR 2021]

    :param weights: a shipped name or a folder
    """

    name = "learned"
    ladder = tuple(range(RATES))

    def __init__(self, headers: Headers = "abbreviated", weights: str = "image-codec") -> None:
        super().__init__(headers)
        self._weights = weights

    @cached_property
    def network(self) -> Hyperprior:
        """The networks, loaded when they are first used."""
        return hyperprior.load(self._weights)

    def write(self, image: Image, quality: int) -> bytes:
        """See :meth:`ImageCodec.write`."""
        size = image.shape[0].to_bytes(2, "big") + image.shape[1].to_bytes(2, "big")
        return size + self.network.compress([image], quality)[0]

    def strip(self, file: bytes, size: Size) -> bytes:
        """All but the size."""
        return file[4:]

    def restore(self, payload: bytes, size: Size) -> bytes:
        """Put the size back."""
        return size[0].to_bytes(2, "big") + size[1].to_bytes(2, "big") + payload

    def read(self, file: bytes, size: Size) -> Image | None:
        """See :meth:`ImageCodec.read`."""
        return self.network.decompress([file[4:]], size)[0]

    @property
    def version(self) -> str:
        """See :attr:`ImageCodec.version`."""
        return f"semcom {self._weights}, constriction {version('constriction')}"


class LatentPackets:
    """Both ends of the codec's latent on its way through packets: the highest rate that fits, and what arrives.

    :param weights: of the codec: a shipped name or a folder
    :param packets: "one" or "resilient", see :class:`Packing`
    """

    def __init__(self, weights: str, packets: str) -> None:
        self._weights, self._packing = weights, Packing(packets)
        self._recent = Recent[Encodings]()

    @cached_property
    def network(self) -> Hyperprior:
        """The codec."""
        return hyperprior.load(self._weights)

    def send(
        self, image: Image, key: bytes, budget: Budget, latent: Callable[[], Tensor] | None = None
    ) -> Message:
        """The image at the highest rate that fits; an empty message where none does.

        :param key: identifies the image (and ``latent``); its latent and codes are kept for other budgets
        :param latent: gives what is sent instead of the codec's own latent of the image
        """
        if not budget.packet_bytes():
            return Message()

        def make() -> Encodings:
            return Encodings(self.network, self.network.latent_of(image) if latent is None else latent())

        codes = self._recent.of(key, (image.shape[0], image.shape[1]), make)
        return Message(self._packing.pack(codes.best, codes.coded(0), budget))

    def receive(self, reception: Reception, size: Size) -> tuple[Tensor, int] | None:
        """y ``[1, latent, h, w]`` and the rate of the first packet that can be decoded; None without. Never raises."""
        if len(reception.packets) > self._packing.most:
            return None
        for packet in reception.packets:
            latent = self.network.streams.decode(packet.payload, size) if packet.ok else None
            if latent is not None:
                return self.network.dequantise(latent), latent.rate
        return None


class Encodings:
    """A latent at every rate of its codec, each coded at most once.

    :param y: ``[1, latent, h, w]``
    """

    def __init__(self, network: Hyperprior, y: Tensor) -> None:
        self._network, self._y = network, y
        self._coded: dict[int, bytes] = {}

    def coded(self, rate: int) -> bytes:
        """The code at that rate."""
        if rate not in self._coded:
            self._coded[rate] = self._network.streams.encode(self._network.quantise(self._y, rate))
        return self._coded[rate]

    def best(self, room: int) -> bytes | None:
        """The code of the highest rate that takes at most ``room`` bytes; None where none does."""
        rate = largest_rung(self._network.rates, lambda rate: len(self.coded(rate)) <= room)
        return None if rate is None else self.coded(rate)


__all__ = ["Encodings", "LatentPackets", "LearnedCodec"]
