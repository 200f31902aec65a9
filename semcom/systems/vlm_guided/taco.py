"""A learned picture codec whose encoder is told what matters; its decoder needs no text."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from semcom import pretrained
from semcom.codecs import hyperprior
from semcom.codecs.base import largest_rung
from semcom.codecs.hyperprior import Hyperprior
from semcom.codecs.streams import Latent
from semcom.systems.base import Models, Size, System, image_key, register
from semcom.systems.vlm_guided.encoder import TextGuidedEncoder, text_width, token_states
from semcom.types import Budget, Image, Message, Packet, Query, Reception, Recovered

PAPER = "TACO, Lee et al., ICML 2024, arXiv 2403.02944; codec: Minnen et al., NeurIPS 2018"
_KEPT_PIXELS = 2**24  # of images whose encodings are remembered


class Encodings:
    """One latent of an image at every rate of the codec; each is coded at most once."""

    def __init__(self, codec: Hyperprior, latent: Tensor) -> None:
        self._codec, self._latent = codec, latent
        self._coded: dict[int, bytes] = {}

    def coded(self, rate: int) -> bytes:
        """The bytes at ``rate``."""
        if rate not in self._coded:
            whole: Latent = self._codec.quantise(self._latent, rate)
            self._coded[rate] = self._codec.streams.encode(whole)
        return self._coded[rate]

    def best(self, max_bytes: int) -> bytes | None:
        """The highest rate in at most ``max_bytes`` bytes; None when even the lowest takes more."""
        rate = largest_rung(self._codec.rates, lambda r: len(self.coded(r)) <= max_bytes)
        return None if rate is None else self.coded(rate)


@register("taco", family="vlm_guided", paper=PAPER, sends="one code of the learned codec; no text")
class Taco(System):
    """A learned codec that the VLM's own caption guides. Over the air: the codec's bytes, no text.   [Lee 2024]

    The text enters the encoder only, by cross-attention from image features to the token states of the dual encoder's
    text tower. The receiver is that of the codec without text and never needs it.

    :param weights: of the encoder: a shipped name or a folder.
    :param codec: weights of the codec that the encoder was trained for, likewise.
    """

    carries = "image"

    def __init__(
        self, models: Models | None = None, weights: str = "taco", codec: str = "image-codec"
    ) -> None:
        super().__init__(models)
        self._weights, self._codec = weights, codec
        self._encodings: OrderedDict[tuple[bytes, str], tuple[Encodings, int]] = OrderedDict()

    def texts(self, images: Sequence[Image], queries: Sequence[Query] | None) -> list[str]:
        """What guides the encoder, one text for each image: here the generative model's caption."""
        return self.models.describe(images)

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`."""
        room = budget.packet_bytes()
        if not room or not len(images):
            return [Message() for _ in images]
        texts = self.texts(images, queries)
        coded = [self._of(image, text).best(room) for image, text in zip(images, texts, strict=True)]
        return [Message((Packet(data),)) if data else Message() for data in coded]

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`; neither the text nor the query is looked at."""
        if len(reception.packets) != 1 or not reception.packets[0].ok:
            return Recovered()
        return Recovered(image=self.codec.decompress([reception.packets[0].payload], size)[0])

    @cached_property
    def codec(self) -> Hyperprior:
        """The codec without text."""
        return hyperprior.load(self._codec)

    @cached_property
    def encoder(self) -> TextGuidedEncoder:
        """The codec's analysis transform, guided by a text."""
        return load(self._weights, self.codec, self.models.dual)

    def _of(self, image: Image, text: str) -> Encodings:
        """All encodings of an image under a text so far; budgets share them."""
        key = image_key(image), text
        if key not in self._encodings:
            states, _ = token_states(self.models.dual, [text])
            latent = self.encoder.latent_of(image, states.to(self.codec.log_gain.device))
            self._encodings[key] = Encodings(self.codec, latent), image.shape[0] * image.shape[1]
            while len(self._encodings) > 1 and sum(n for _, n in self._encodings.values()) > _KEPT_PIXELS:
                self._encodings.popitem(last=False)
        self._encodings.move_to_end(key)
        return self._encodings[key][0]


@register("taco-question", family="vlm_guided", paper=PAPER, sends="one code of the learned codec; no text")
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
