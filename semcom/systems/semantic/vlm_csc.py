"""VLM-CSC: the image as a caption, sent as analog symbols, and drawn again by the receiver."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import torch

from channels.base import check_number
from channels.errors import InputError
from semcom import pretrained
from semcom.codecs import analog
from semcom.systems.base import Models, Size, System, register
from semcom.systems.semantic import image_generator
from semcom.systems.semantic.text_jscc import TextJSCC, split
from semcom.types import Budget, Image, Kind, Message, Query, Reception, Recovered

PAPER = "VLM-CSC, Jiang et al., IEEE TWC 2025, arXiv 2407.00020"
SHIPPED = "vlm-csc"


@register(
    "vlm-csc-text",
    family="semantic",
    paper=PAPER,
    sends="the caption as analog symbols of a learned text codec: one a word, always 40, repeated",
)
class VLMCSCText(System):
    """The caption under a learned code. Over the air: one symbol a word, a fixed number, repeated.

    The receiver answers from the words that it reads. The block has the same length for every caption, so no
    length is sent; it is repeated as often as the budget allows and combined with weights 1 / noise variance.
    Both ends have noise attention modules. The receiver's see the SNR of each symbol. The transmitter cannot
    know the SNR here (the paper feeds it back), so its own see the one that it is designed for.

    :param weights: a shipped folder's name, or a folder that ``semcom train vlm-csc`` wrote.
    :param design_snr_db: the SNR for which the transmitter codes, in dB.
    """

    carries: Kind = "text"

    def __init__(
        self, models: Models | None = None, weights: str = SHIPPED, design_snr_db: float = 5.0
    ) -> None:
        super().__init__(models)
        check_number("vlm-csc", "design_snr_db", design_snr_db, -20, 30)
        self._weights, self._design = weights, float(design_snr_db)

    @cached_property
    def _codec(self) -> TextJSCC:
        return pretrained.load(self._weights, lambda config: TextJSCC(**config))

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`.

        :raises InputError: most words of the captions are not in the codec's vocabulary.
        """
        if not len(images):
            return []
        times = budget.symbols() // (self._codec.length * self._codec.symbols)
        if not times:
            return [Message() for _ in images]
        captions = self.models.describe(images)
        self._check_words(captions)
        return [self._message(caption, times) for caption in captions]

    def _check_words(self, captions: Sequence[str]) -> None:
        words = [word for caption in captions for word in split(caption)]
        known = set(self._codec.vocabulary.words)
        if 2 * sum(word in known for word in words) < len(words):
            name = self.models.generative.name
            raise InputError(
                f"weights: {self._weights!r} does not know most words of the captions of {name!r}, such as "
                f"{next(w for w in words if w not in known)!r}; `semcom train vlm-csc --vlm {name} --out FOLDER` "
                "makes weights that do"
            )

    @torch.inference_mode()
    def _message(self, caption: str, times: int) -> Message:
        codec = self._codec
        ids = codec.vocabulary.ids(caption, codec.length)
        if not codec.vocabulary.text(ids):
            return Message()
        block = codec.encode(torch.tensor([ids]), torch.full((1, 1), self._design))[0].numpy()
        return Message(symbols=np.tile(analog.unit_power(block), times))

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`."""
        return Recovered(text=self._read(reception) or None)

    @torch.inference_mode()
    def _read(self, reception: Reception) -> str:
        """The caption; empty when nothing arrived."""
        codec = self._codec
        length = codec.length * codec.symbols
        if reception.symbols is None:
            return ""
        received, noise = analog.clean(reception.symbols, reception.noise_var)
        if len(received) < length:
            return ""
        block, variance = analog.combine(received, noise, length)
        logits = codec.decode(torch.from_numpy(block)[None], torch.from_numpy(variance)[None])
        return codec.vocabulary.text(logits[0].argmax(1).tolist())


@register(
    "vlm-csc",
    family="semantic",
    paper=PAPER,
    sends="the caption as analog symbols of a learned text codec: one a word, always 40, repeated",
)
class VLMCSC(VLMCSCText):
    """The caption, drawn at the receiver. Over the air: one symbol a word, a fixed number, repeated.

    As ``vlm-csc-text``; then a text-to-image model draws what the caption says. The picture answers what the
    caption said and nothing else: its PSNR means nothing. Equal captions give equal pictures.

    :param weights: as for ``vlm-csc-text``; :param design_snr_db: likewise.
    :param generator: ``embedded``, or a text-to-image pipeline of diffusers: a folder or a hub id.
    :param steps: of the diffusion sampler (of a pipeline only).
    :param guidance: scale of its classifier-free guidance; 0 for distilled ones such as stabilityai/sd-turbo.
    """

    carries = "image"

    def __init__(
        self,
        models: Models | None = None,
        weights: str = SHIPPED,
        design_snr_db: float = 5.0,
        generator: str = image_generator.EMBEDDED,
        steps: int = 20,
        guidance: float = 7.5,
    ) -> None:
        super().__init__(models, weights, design_snr_db)
        check_number("vlm-csc", "steps", steps, 1, 1000, whole=True)
        check_number("vlm-csc", "guidance", guidance, 0, 100)
        if not isinstance(generator, str) or not generator.strip():
            raise InputError(f"generator: {generator!r} is not 'embedded', a folder or a hub id")
        self._source = generator, steps, float(guidance)
        self._picture = lru_cache(maxsize=1024)(self._draw)  # at good SNRs one caption arrives many times

    @cached_property
    def _generator(self) -> image_generator.TextToImage:
        return image_generator.load(*self._source, device=self.models.device)

    def _draw(self, text: str) -> Image:
        return self._generator(text)

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`."""
        text = self._read(reception)
        return Recovered(image=image_generator.fit(self._picture(text), *size)) if text else Recovered()
