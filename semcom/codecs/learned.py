"""The learned image codec as a picture codec beside JPEG and the others, and in packets that fit a budget."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from typing import Literal, get_args

from torch import Tensor

from channels.errors import unknown
from semcom.codecs import hyperprior
from semcom.codecs.base import CODECS, Headers, ImageCodec, Recent, Size, largest_rung
from semcom.codecs.hyperprior import RATES, Hyperprior
from semcom.codecs.streams import Latent
from semcom.types import Budget, Image, Message, Packet, Reception

Packets = Literal["one", "resilient"]
SLICES = 4  # of the symbols, in resilient packets


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

    *One* packet carries everything. *Resilient*: a packet of class robust says the rate and the hyper-latent, and four
    packets hold every fourth cell each; symbols of lost ones are taken to be their mean.

    :param weights: of the codec: a shipped name or a folder
    :param packets: "one" or "resilient"
    """

    def __init__(self, weights: str, packets: str) -> None:
        if packets not in get_args(Packets):
            raise unknown("packets", packets, get_args(Packets))
        self._weights = weights
        self._slices = SLICES if packets == "resilient" else 0
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
        head, room = budget.packet_bytes(), 0
        if self._slices:
            head, room = (budget.packet_bytes(1 + self._slices, kind) for kind in ("robust", "payload"))
        if not head or (self._slices and not room):
            return Message()

        def make() -> Encodings:
            y = self.network.latent_of(image) if latent is None else latent()
            return Encodings(self.network, y, self._slices)

        codes = self._recent.of(key, (image.shape[0], image.shape[1]), make).best(head, room)
        kinds = ["robust", *["payload"] * self._slices] if self._slices else ["payload"]
        return Message(
            tuple(Packet(code, kind) for code, kind in zip(codes, kinds[: len(codes)], strict=True))
        )

    def receive(self, reception: Reception, size: Size) -> tuple[Tensor, int] | None:
        """y ``[1, latent, h, w]`` and the rate; None where nothing can be decoded. Never raises."""
        if len(reception.packets) != (1 + self._slices):
            return None
        codes = [packet.payload if packet.ok else None for packet in reception.packets]
        streams, latent = self.network.streams, None
        if self._slices:
            latent = streams.decode_parts(codes, size)
        elif codes[0] is not None:
            latent = streams.decode(codes[0], size)
        return None if latent is None else (self.network.dequantise(latent), latent.rate)


class Encodings:
    """A latent at every rate of its codec, each coded at most once.

    :param y: ``[1, latent, h, w]``
    :param slices: in so many parts behind the rate and the hyper-latent; 0: all in one code
    """

    def __init__(self, network: Hyperprior, y: Tensor, slices: int = 0) -> None:
        self._network, self._y, self._slices = network, y, slices
        self._coded: dict[int, list[bytes]] = {}

    def coded(self, rate: int) -> list[bytes]:
        """The packets at that rate."""
        if rate not in self._coded:
            latent: Latent = self._network.quantise(self._y, rate)
            streams = self._network.streams
            whole = (
                [streams.encode(latent)] if not self._slices else streams.encode_parts(latent, self._slices)
            )
            self._coded[rate] = whole
        return self._coded[rate]

    def best(self, head: int, room: int = 0) -> list[bytes]:
        """The highest rate whose first packet takes at most ``head`` bytes and the others ``room``; empty for none."""

        def fits(rate: int) -> bool:
            first, *others = self.coded(rate)
            return len(first) <= head and all(len(code) <= room for code in others)

        rate = largest_rung(self._network.rates, fits)
        return [] if rate is None else self.coded(rate)


__all__ = ["Encodings", "LatentPackets", "LearnedCodec", "Packets"]
