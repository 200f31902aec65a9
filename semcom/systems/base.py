"""What all systems share: the models of both ends, the registry, and a small base class."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from channels.registry import Registry
from semcom.codecs.text import CaptionModel
from semcom.types import Budget, Image, Kind, Message, Query, Reception, Recovered
from semcom.vlm.base import Array, DualEncoder, GenerativeVLM

T = TypeVar("T")
Size = tuple[int, int]


class Decider(Protocol):
    """Answers queries from the true images, at the transmitter."""

    def __call__(self, images: Sequence[Image], queries: Sequence[Query]) -> list[str]:
        """One answer for each pair of image and query."""
        ...


def image_key(image: Image) -> bytes:
    """Content hash of an image, shape included."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.digest()


class Memo:
    """The results of the latest batches of images, so that systems and budgets share one run of a model.

    Whole batches are kept, never single images: a model's last bits may depend on what else is in its batch.
    """

    def __init__(self, limit_bytes: int = 2**28) -> None:
        self._kept: OrderedDict[bytes, tuple[list[Any], int]] = OrderedDict()
        self._limit = limit_bytes

    def __call__(self, images: Sequence[Image], compute: Callable[[Sequence[Image]], Sequence[T]]) -> list[T]:
        """``compute(images)``, or what it gave for an equal batch before."""
        if not len(images):
            return []
        key = b"".join(map(image_key, images))
        if key not in self._kept:
            results = list(compute(images))
            self._kept[key] = results, sum(_bytes(result) for result in results)
            while len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > self._limit:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return list(self._kept[key][0])


def _bytes(result: Any) -> int:
    return int(result.nbytes) if isinstance(result, np.ndarray) else 100 + len(result)


class Models:
    """The vision-language models of both ends, and the caption model, each loaded when it is first used.

    :param dual: a dual encoder, or the name of one (:func:`semcom.vlm.load_dual_encoder`).
    :param generative: a generative model, or the name of one (:func:`semcom.vlm.load_generative`).
    :param captions: the text coder; the shipped one when left out.
    :param decide: how the transmitter answers a query itself. It may be set later (the sweep sets it to its
        tasks); while it is None, the generative model answers the text of the query.
    :param device: for models given by name.
    """

    def __init__(
        self,
        dual: DualEncoder | str = "embedded",
        generative: GenerativeVLM | str = "embedded",
        captions: CaptionModel | None = None,
        decide: Decider | None = None,
        device: str = "cpu",
    ) -> None:
        self._sources = dual, generative, captions
        self.device = device
        self._embeddings, self._tokens, self._captions = Memo(), Memo(), Memo()
        self.decide = decide

    @cached_property
    def dual(self) -> DualEncoder:
        """The dual encoder."""
        source = self._sources[0]
        if not isinstance(source, str):
            return source
        from semcom.vlm import load_dual_encoder

        return load_dual_encoder(source, self.device)

    @cached_property
    def generative(self) -> GenerativeVLM:
        """The generative model."""
        source = self._sources[1]
        if not isinstance(source, str):
            return source
        from semcom.vlm import load_generative

        return load_generative(source, self.device)

    @cached_property
    def captions(self) -> CaptionModel:
        """The text coder."""
        return self._sources[2] or CaptionModel.load()

    def embed(self, images: Sequence[Image]) -> list[Array]:
        """The dual encoder's embedding of each image, [dim]."""
        return self._embeddings(images, lambda batch: list(self.dual.embed_images(batch)))

    def tokens(self, images: Sequence[Image]) -> list[Array]:
        """The generative model's visual tokens of each image, [k, token_dim]."""
        return self._tokens(images, lambda batch: self.generative.visual_tokens(batch))

    def describe(self, images: Sequence[Image]) -> list[str]:
        """The generative model's caption of each image."""
        return self._captions(
            images, lambda batch: self.generative.caption([Recovered(image=i) for i in batch])
        )

    def answer(self, images: Sequence[Image], queries: Sequence[Query]) -> list[str]:
        """What the transmitter itself answers to each query."""
        if self.decide is not None:
            return self.decide(images, queries)
        seen = [Recovered(image=image) for image in images]
        return self.generative.answer(seen, [q.text for q in queries], [q.candidates for q in queries])


class System(ABC):
    """A transmitter and its receiver (:class:`semcom.types.System`). It knows nothing of channels.

    :param models: of both ends; the embedded ones when left out.
    """

    carries: Kind  # what ``receive`` recovers
    needs_query: bool = False  # the transmitter must know the question

    def __init__(self, models: Models | None = None) -> None:
        self.models = models if models is not None else Models()

    @abstractmethod
    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """One message for each image, within the budget; an empty one where the budget cannot be met."""

    def receive(
        self, receptions: Sequence[Reception], sizes: Sequence[Size], queries: Sequence[Query] | None = None
    ) -> list[Recovered]:
        """One result for each reception, whatever its bytes and symbols are.

        :param sizes: (height, width) of the original images.
        :param queries: what was asked, one for each; for systems that need the query.
        """
        asked = queries if queries is not None else [None] * len(receptions)
        return [self.recover(r, size, q) for r, size, q in zip(receptions, sizes, asked, strict=True)]

    @abstractmethod
    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """What one reception gives; ``Recovered()`` for nothing. Never an exception."""


SYSTEMS: Registry[System] = Registry("system")


def register(
    name: str, *, family: str, paper: str, sends: str, reference: bool = False
) -> Callable[[type[System]], type[System]]:
    """Enter a system into :data:`SYSTEMS`.

    :param family: the folder it lives in.
    :param paper: where it was published.
    :param sends: what goes over the air, in a few words.
    :param reference: a reference row, which meets no channel.
    """

    def enter(cls: type[System]) -> type[System]:
        facts = {"family": family, "paper": paper, "sends": sends, "reference": reference}
        facts |= {"carries": cls.carries, "needs_query": cls.needs_query}
        return cast(type[System], SYSTEMS.register(name, **facts)(cls))

    return enter
