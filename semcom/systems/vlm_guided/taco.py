"""A learned picture codec whose encoder is told what matters; its decoder needs no text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

from torch import Tensor

from semcom import pretrained
from semcom.codecs.hyperprior import Hyperprior
from semcom.codecs.learned import LatentPackets
from semcom.systems.base import Models, Size, System, image_key, register
from semcom.systems.vlm_guided.encoder import TextGuidedEncoder, text_width, token_states
from semcom.types import Budget, Image, Message, Query, Reception, Recovered

PAPER = "TACO, Lee et al., ICML 2024, arXiv 2403.02944; codec: Minnen et al., NeurIPS 2018"
SENDS = "what learned-codec sends, of an image as a text-guided encoder sees it; no text"


@register("taco", family="vlm_guided", paper=PAPER, sends=SENDS)
class Taco(System):
    """A learned codec that the VLM's own caption guides. Over the air: the codec's bytes, no text.   [Lee 2024]

    The text enters the encoder only, by cross-attention from image features to the token states of the dual encoder's
    text tower. The receiver is that of the codec without text and never needs it.

    :param packets: ``one`` or ``resilient``, as in ``learned-codec``.
    :param weights: of the encoder: a shipped name or a folder.
    :param codec: weights of the codec that the encoder was trained for, likewise.
    """

    carries = "image"

    def __init__(
        self,
        models: Models | None = None,
        packets: str = "one",
        weights: str = "taco",
        codec: str = "image-codec",
    ) -> None:
        super().__init__(models)
        self._weights, self._packets = weights, LatentPackets(codec, packets)

    def texts(self, images: Sequence[Image], queries: Sequence[Query] | None) -> list[str]:
        """What guides the encoder, one text for each image: here the generative model's caption."""
        return self.models.describe(images)

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`."""
        texts = self.texts(images, queries)
        return [
            self._packets.send(
                image, image_key(image) + repr(text).encode(), budget, partial(self._latent, image, text)
            )
            for image, text in zip(images, texts, strict=True)
        ]

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`; neither the text nor the query is looked at."""
        found = self._packets.receive(reception, size)
        return Recovered(image=None if found is None else self.codec.picture(found[0], size))

    @property
    def codec(self) -> Hyperprior:
        """The codec without text."""
        return self._packets.network

    @cached_property
    def encoder(self) -> TextGuidedEncoder:
        """The codec's analysis transform, guided by a text."""
        return load(self._weights, self.codec, self.models.dual)

    def _latent(self, image: Image, text: str) -> Tensor:
        states, _ = token_states(self.models.dual, [text])
        return self.encoder.latent_of(image, states.to(self.codec.log_gain.device))


@register("taco-question", family="vlm_guided", paper=PAPER, sends=SENDS)
class TacoQuestion(Taco):
    """A learned codec that the question guides, where the transmitter knows it. Over the air: the codec's bytes.

    As ``taco`` otherwise. What is sent belongs to one question: another one about the same image costs another code.
    """

    needs_query = True

    def texts(self, images: Sequence[Image], queries: Sequence[Query] | None) -> list[str]:
        """The questions; required, one for each image."""
        if queries is None or len(queries) != len(images):
            raise ValueError("taco-question needs one query for each image")
        return [query.text for query in queries]


def codec_mark(codec: Hyperprior) -> str:
    """Hash of what a codec's decoder and entropy models are; an encoder trained for another one does not fit."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(codec.state_dict().items()):
        if not name.startswith("analysis"):
            digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


def load(weights: str, codec: Hyperprior, dual: Any) -> TextGuidedEncoder:
    """The trained encoder in a weights folder.

    :raises InputError: there is none, or it was trained for another codec or dual encoder
    """

    def make(config: dict[str, Any]) -> TextGuidedEncoder:
        again = f"`semcom train taco --vlm {dual.name} --out FOLDER` makes weights for this one"
        if config["dual"] != dual.fingerprint:
            raise ValueError(f"it was trained for another dual encoder than {dual.name!r}; {again}")
        if config["codec"] != codec_mark(codec):
            raise ValueError(f"it was trained for another image codec; {again}")
        return TextGuidedEncoder(codec, width)

    width = text_width(dual)  # says first where a dual encoder has no text tower at all
    return pretrained.load(weights, make)
