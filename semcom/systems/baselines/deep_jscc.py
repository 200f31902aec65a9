"""Images as analog symbols of learned convolutional codecs: what papers on semantic communication compare with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import nn

from channels.base import check_number
from channels.errors import InputError
from semcom import pretrained
from semcom.codecs import analog as symbols
from semcom.codecs.analog import Complex
from semcom.codecs.jscc import JSCC, STRIDE
from semcom.codecs.pillow import resize
from semcom.systems.base import Memo, Models, Size, System, register
from semcom.types import Budget, Image, Message, Query, Reception, Recovered


class Analog(System):
    """An image as the leading groups of a :class:`JSCC` latent, as many as the budget carries.

    A group is one symbol for every 8 x 8 pixels. All groups are repeated, and combined by the receiver, where the
    budget allows. The mean power of each image is 1 over the symbols sent; the factor is not sent. The receiver knows
    the size of the image, so the number of symbols tells it the number of groups.
    """

    carries = "image"

    def __init__(self, models: Models | None, weights: str, shrink: int) -> None:
        super().__init__(models)
        check_number("analog picture", "shrink", shrink, 1, 64, whole=True)
        self._weights, self._shrink = weights, shrink
        self._latents = Memo()

    @cached_property
    def codec(self) -> JSCC:
        """Both networks, loaded at the first use."""
        return self._load()

    def _load(self) -> JSCC:
        return pretrained.load(self._weights, lambda config: JSCC(**config))

    def _told(self) -> float | None:
        """The SNR in dB that the transmitter takes for granted."""
        return None

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """See :class:`System`."""
        room = budget.symbols()
        latents = self._latents(images, lambda batch: [self._encode(image) for image in batch])
        return [self._message(groups, room) for groups in latents]

    def _encode(self, image: Image) -> Complex:
        """The latent as [groups, cells] symbols."""
        small = image if self._shrink == 1 else resize(image, self._small(image.shape[:2]))
        height, width = small.shape[:2]
        padded = np.pad(small, ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), "edge")
        x = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
        told = self._told()
        with torch.inference_mode():
            latent = self.codec.encode(x, None if told is None else torch.tensor([told]))
        return symbols.to_symbols(latent.numpy()).reshape(self.codec.groups, -1)

    @staticmethod
    def _message(latent: Complex, room: int) -> Message:
        groups, cells = latent.shape
        kept = min(room // cells, groups)
        if not kept:
            return Message()
        block = symbols.unit_power(latent[:kept].ravel())
        return Message(symbols=np.tile(block, max(room // latent.size, 1)))

    def recover(self, reception: Reception, size: Size, query: Query | None) -> Recovered:
        """See :class:`System`."""
        if reception.symbols is None:
            return Recovered()
        small = self._small(size)
        grid = -(-small[0] // STRIDE), -(-small[1] // STRIDE)
        cells, groups = grid[0] * grid[1], self.codec.groups
        received, noise = symbols.clean(reception.symbols, reception.noise_var)
        kept = min(len(received) // cells, groups)
        if not kept:
            return Recovered()
        received, noise = symbols.combine(received, noise, kept * cells)
        n = 2 * groups * cells
        values, variances = np.zeros(n, np.float32), np.zeros(n, np.float32)
        values[: 2 * len(received)] = symbols.to_reals(received, 2 * len(received))
        variances[: 2 * len(noise)] = np.repeat(noise, 2)
        with torch.inference_mode():
            x = self.codec.decode(
                torch.from_numpy(values)[None], torch.from_numpy(variances)[None], torch.tensor([kept]), grid
            )
        pixels = np.clip(np.nan_to_num(x[0].permute(1, 2, 0).numpy()), 0, 1)[: small[0], : small[1]]
        image = np.rint(255 * pixels).astype(np.uint8)
        return Recovered(image=image if self._shrink == 1 else resize(image, size))

    def _small(self, size: tuple[int, ...]) -> Size:
        return -(-size[0] // self._shrink), -(-size[1] // self._shrink)


def bank(config: dict[str, object]) -> nn.ModuleDict:
    """Codecs of one shape, one for each training SNR, under its name in dB."""
    snrs: list[int] = config["train_snr_db"]  # type: ignore[assignment]
    return nn.ModuleDict({str(snr): JSCC(int(config["width"]), int(config["groups"])) for snr in snrs})  # type: ignore[call-overload]


@register(
    "deep-jscc",
    family="baselines",
    paper="Bourtsoulatze, Kurka and Gunduz, IEEE TCCN 2019, arXiv 1809.01733",
    sends="the latent of a convolutional encoder: leading groups of one symbol for every 8 x 8 pixels",
)
class DeepJSCC(Analog):
    """A convolutional latent. Over the air: its numbers as analog symbols, no bits.   [Bourtsoulatze 2019]

    Both ends were trained for one SNR of an AWGN channel and are told of no other.

    :param train_snr_db: which of the trained codecs: that of 0, 10 or 20 dB in the shipped weights.
    :param shrink: send a thumbnail of 1/shrink of the height and width, enlarged again by the receiver.
    :param weights: a shipped folder's name, or a folder of ``semcom train deep-jscc --out FOLDER``.
    """

    def __init__(
        self,
        models: Models | None = None,
        train_snr_db: float = 10,
        shrink: int = 1,
        weights: str = "deep-jscc",
    ) -> None:
        super().__init__(models, weights, shrink)
        check_number("deep-jscc", "train_snr_db", train_snr_db, -150, 150)
        self._snr = float(train_snr_db)

    def _load(self) -> JSCC:
        codecs = pretrained.load(self._weights, bank)
        name = f"{self._snr:g}"
        if name not in codecs:
            raise InputError(
                f"train_snr_db: {self._weights!r} has codecs for {', '.join(codecs)} dB, not {name}"
            )
        codec = codecs[name]
        assert isinstance(codec, JSCC)
        return codec


@register(
    "adjscc",
    family="baselines",
    paper="Xu et al., IEEE TCSVT 2022, arXiv 2012.00533",
    sends="the latent of a convolutional encoder: leading groups of one symbol for every 8 x 8 pixels",
)
class ADJSCC(Analog):
    """A convolutional latent for any SNR. Over the air: its numbers as analog symbols, no bits.   [Xu 2022]

    Attention feature modules scale the channels of both networks by the SNR. The receiver measures it (the mean error
    of its symbol estimates); the transmitter, which gets no feedback here, assumes one.

    :param design_snr_db: what the transmitter assumes, in dB.
    :param shrink: send a thumbnail of 1/shrink of the height and width, enlarged again by the receiver.
    :param weights: a shipped folder's name, or a folder of ``semcom train adjscc --out FOLDER``.
    """

    def __init__(
        self,
        models: Models | None = None,
        design_snr_db: float = 10.0,
        shrink: int = 1,
        weights: str = "adjscc",
    ) -> None:
        super().__init__(models, weights, shrink)
        check_number("adjscc", "design_snr_db", design_snr_db, -150, 150)
        self._design = float(design_snr_db)

    def _told(self) -> float:
        return self._design
