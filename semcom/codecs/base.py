"""What every picture codec is, and the search for the best quality that fits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar, Generic, Literal, TypeVar

import numpy as np

from channels.errors import InputError
from channels.registry import Registry
from semcom.types import Image

Headers = Literal["full", "abbreviated"]
Size = tuple[int, int]
T = TypeVar("T")
_TAIL = b"\xaa" * 8
LOOK_AHEAD = 3  # rungs above the bisection's answer that are tried, because sizes are not quite monotone


class ImageCodec(ABC):
    """A picture codec at a fixed configuration that both ends know.

    :param headers: ``"full"`` codes a file that any viewer opens. ``"abbreviated"`` codes only what a
        receiver that knows the codec's configuration and the image size cannot know; it is what a link would
        carry.

    An encoded picture belongs to one (height, width); :meth:`decode` refuses bytes that declare another one,
    so that no received byte can make it allocate more than the picture it expects.
    """

    name: ClassVar[str]
    ladder: ClassVar[tuple[int, ...]]  # the codec's own quality parameter, worst quality first
    ends_itself: ClassVar[bool] = False  # the decoder of a complete picture never looks at what follows

    def __init__(self, headers: Headers = "abbreviated") -> None:
        if headers not in ("full", "abbreviated"):
            raise InputError(f"headers: {headers!r} is not 'full' or 'abbreviated'")
        self.headers = headers

    def encode(self, image: Image, quality: int) -> bytes:
        """Code ``image`` (uint8 [H, W, 3], RGB) at one rung of :attr:`ladder`."""
        file = self.write(image, quality)
        return file if self.headers == "full" else self.strip(file, (image.shape[0], image.shape[1]))

    def decode(self, data: bytes, size: Size) -> Image | None:
        """The picture of ``size`` (height, width), or None when ``data`` is not one, or not all of one.

        Some libraries decode a picture that is cut short and say nothing. Where the format makes what follows a
        complete picture irrelevant, decoding twice with different ends finds the cut ones (:attr:`ends_itself`).
        """
        try:
            payload = data if self.headers == "abbreviated" else self.payload(data, size)
            image = self.read(self.restore(payload, size), size)
            longer = self.read(self.restore(payload + _TAIL, size), size) if self.ends_itself else image
        except Exception:  # damaged input ends in many kinds of error inside the libraries; all mean the same
            return None
        whole = image is not None and longer is not None and np.array_equal(image, longer)
        return image if whole and image is not None and image.shape == (*size, 3) else None

    def payload(self, file: bytes, size: Size) -> bytes:
        """What :meth:`strip` leaves of a file, which must be one that this codec writes at this size."""
        payload = self.strip(file, size)
        if self.restore(payload, size) != file:
            raise ValueError("not a file of this codec at this size")
        return payload

    @abstractmethod
    def write(self, image: Image, quality: int) -> bytes:
        """The complete file."""

    @abstractmethod
    def strip(self, file: bytes, size: Size) -> bytes:
        """Drop from a file what the receiver knows."""

    @abstractmethod
    def restore(self, payload: bytes, size: Size) -> bytes:
        """Put back what :meth:`strip` dropped; any exception means undecodable bytes."""

    @abstractmethod
    def read(self, file: bytes, size: Size) -> Image | None:
        """Decode a file that was checked to be of ``size``; any exception means undecodable bytes."""

    @property
    @abstractmethod
    def version(self) -> str:
        """The libraries that do the work, with their versions."""


CODECS: Registry[ImageCodec] = Registry("codec")


def largest_rung(rungs: int, fits: Callable[[int], bool]) -> int | None:
    """The highest of ``rungs`` rungs that fits, by bisection; None when no rung does.

    Sizes grow with quality up to small bumps, so the answer is verified by trying the next few rungs too.
    """
    low, high = -1, rungs
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    ahead = [rung for rung in range(low + 1, min(low + 1 + LOOK_AHEAD, rungs)) if fits(rung)]
    best = max(ahead, default=low)
    return best if best >= 0 else None


class Ladder:
    """One image at every quality of one codec, each encoded at most once."""

    def __init__(self, codec: ImageCodec, image: Image) -> None:
        self._codec = codec
        self._image = np.ascontiguousarray(image)
        self._coded: dict[int, bytes] = {}

    def coded(self, rung: int) -> bytes:
        """The bytes at that rung of the codec's ladder."""
        if rung not in self._coded:
            self._coded[rung] = self._codec.encode(self._image, self._codec.ladder[rung])
        return self._coded[rung]

    def best(self, max_bytes: int) -> bytes | None:
        """The best quality in at most ``max_bytes`` bytes; None when even the worst is larger."""
        rung = largest_rung(len(self._codec.ladder), lambda rung: len(self.coded(rung)) <= max_bytes)
        return None if rung is None else self.coded(rung)


class Recent(Generic[T]):
    """What was made of the latest images, so that budgets share it.

    :param pixels: how many pixels of images are remembered
    """

    def __init__(self, pixels: int = 2**23) -> None:
        self._room = pixels
        self._kept: OrderedDict[bytes, tuple[T, int]] = OrderedDict()

    def of(self, key: bytes, size: Size, make: Callable[[], T]) -> T:
        """What was made under ``key`` of an image of ``size`` (height, width), or ``make()``."""
        if key not in self._kept:
            pixels = size[0] * size[1]
            self._kept[key], self._room = (make(), pixels), self._room - pixels
            while len(self._kept) > 1 and self._room < 0:
                self._room += self._kept.popitem(last=False)[1][1]
        self._kept.move_to_end(key)
        return self._kept[key][0]
