"""A small learned image codec for many rates: mean and scale hyperprior with gain units.

Minnen, Ballé and Toderici, NeurIPS 2018, arXiv 1809.02736; the gains: Cui et al., CVPR 2021, arXiv 2003.02012.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semcom import pretrained
from semcom.codecs.entropy import Exact, Factorised, Gaussian, noisy, rounded
from semcom.codecs.streams import HYPER, STRIDE, Ints, Latent, Size, Streams
from semcom.types import Image

RATES = 32
REACH = 31  # whole numbers are coded from -31 to 31
_LEVELS = 4.0  # steps of the deviation's index for each unit of the hyper-synthesis, which starts around 0


class Residual(nn.Module):
    """x + conv(f(conv(f(x)))), f leaky ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w], the same shape."""
        return x + self.second(F.leaky_relu(self.first(F.leaky_relu(x))))


class Hyperprior(nn.Module):
    """Image -> quantised latent -> image, and how many bits the latent takes.

        image [3, H, W] -- analysis (3 stages) --> y [latent, H/8, W/8] -- x gain(rate) -- minus mean, round -> symbols
        y x gain -- hyper_analysis, round --> z [hyper, H/32, W/32] -- hyper_synthesis --> mean, level of each symbol
        image <-- synthesis -- / gain(rate) -- plus mean -- symbols

    Symbols are coded under Gaussians whose deviation is the level, z under a density learned for each channel; the
    hyper-synthesis is exact, so that both ends have the same tables. One set of weights serves 32 rates, lowest
    first: the logarithms of the gains are learned at ``knots`` of them and interpolated linearly.

    :param width: channels of the hidden layers
    :param latent: channels of y
    :param hyper: channels of z
    :param knots: at how many rates gains are learned
    """

    log_gain: nn.Parameter

    def __init__(self, width: int = 48, latent: int = 48, hyper: int = 8, knots: int = 8) -> None:
        super().__init__()
        self.width, self.latent, self.hyper, self.rates = width, latent, hyper, RATES
        self.analysis = nn.ModuleList(
            [
                nn.Sequential(
                    nn.PixelUnshuffle(4), nn.Conv2d(48, width, 3, padding=1), Residual(width), Residual(width)
                ),
                nn.Sequential(nn.Conv2d(width, width, 4, 2, 1), *(Residual(width) for _ in range(3))),
                nn.Conv2d(width, latent, 3, padding=1),
            ]
        )
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(latent + 1, width, 3, padding=1),
            nn.LeakyReLU(),
            nn.Conv2d(width, width, 4, 2, 1),
            nn.LeakyReLU(),
            nn.Conv2d(width, hyper, 4, 2, 1),
        )
        self.hyper_synthesis = Exact((hyper + 1, width, width, 2 * latent), (2, 2, 1))
        self.synthesis = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(latent, width, 3, padding=1), *(Residual(width) for _ in range(3))),
                nn.Sequential(
                    nn.Conv2d(width, 4 * width, 1), nn.PixelShuffle(2), *(Residual(width) for _ in range(2))
                ),
                nn.Sequential(
                    nn.Conv2d(width, 2 * width, 3, padding=1), nn.PixelShuffle(2), Residual(width // 2)
                ),
                nn.Sequential(nn.Conv2d(width // 2, 12, 3, padding=1), nn.PixelShuffle(2)),
            ]
        )
        self.log_gain = nn.Parameter(torch.linspace(-0.5, 2.0, knots)[:, None].repeat(1, latent))
        self.hyper_prior = Factorised(hyper, REACH)
        self.prior = Gaussian(REACH)
        self._streams: Streams | None = None

    def analyse(self, images: Tensor) -> Tensor:
        """y ``[B, latent, H/8, W/8]`` of images ``[B, 3, H, W]``, values 0 to 1, both sides multiples of 8."""
        x = images - 0.5
        *stages, last = self.analysis
        for stage in stages:
            x = stage(x)
        with _precise(x):
            return last(x.float())

    def synthesise(self, y: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]``, values about 0 to 1, of y ``[B, latent, H/8, W/8]``."""
        x = y
        *stages, last = self.synthesis
        for stage in stages:
            x = stage(x)
        with _precise(x):
            return last(x.float()) + 0.5

    def gain(self, rate: Tensor) -> Tensor:
        """What y is multiplied by at ``rate`` [B] (int64): ``[B, latent, 1, 1]``."""
        place = rate * ((len(self.log_gain) - 1) / (self.rates - 1))
        below = place.floor().clamp(max=len(self.log_gain) - 2)
        share, left = (place - below)[:, None], below.long()
        mixed = (1 - share) * self.log_gain[left] + share * self.log_gain[left + 1]
        return mixed.exp()[:, :, None, None]

    def hyper_latent(self, scaled: Tensor, rate: Tensor) -> Tensor:
        """z ``[B, hyper, h/4, w/4]``, rounded up, not yet whole, of y times gain ``[B, latent, h, w]``."""
        rows, columns = (-n % HYPER for n in scaled.shape[2:])
        z: Tensor = self.hyper_analysis(F.pad(_with(scaled, rate), (0, columns, 0, rows), mode="replicate"))
        return z

    def moments(self, z: Tensor, rate: Tensor, grid: Size) -> tuple[Tensor, Tensor]:
        """Mean and level ``[B, latent, h, w]`` from whole z; exact in evaluation mode."""
        both = self.hyper_synthesis(_with(z, rate))[:, :, : grid[0], : grid[1]]
        mean, level = both.chunk(2, 1)
        return mean, _LEVELS * (level + _LEVELS)

    def forward(self, images: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """What the receiver sees and what it takes.

        :param images: ``[B, 3, H, W]``, values 0 to 1, both sides multiples of 8
        :param rate: [B] int64, below ``rates``
        :returns: images alike, not clamped, and [B] bits. While training, bits are those of latents with uniform
            noise and the images come from rounded ones whose gradient passes; in evaluation mode both are of
            rounded ones.
        """
        gain = self.gain(rate)
        scaled = self.analyse(images) * gain
        y, bits = self.round(scaled, rate)
        return self.synthesise(y / gain), bits

    def round(self, scaled: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """y times gain as the receiver has it, and bits [B], of y times gain ``[B, latent, h, w]``."""
        with _precise(scaled):
            z = self.hyper_latent(scaled, rate)
            grid = (scaled.shape[2], scaled.shape[3])
            mean, level = (m.to(scaled.dtype) for m in self.moments(rounded(z), rate, grid))
            symbols = rounded(scaled - mean)
            if self.training:
                bits = self.hyper_prior.bits(noisy(z)) + self.prior.bits(noisy(scaled - mean), level)
            else:
                symbols = symbols * (level.round() > 0)  # the others are not coded: see quantise
                bits = self.hyper_prior.bits(rounded(z)) + self.prior.bits(symbols, level.round())
        return symbols + mean, bits + math.log2(self.rates)

    # ------------------------------------------------------------------------------------- whole numbers and bytes

    def freeze(self) -> None:
        """Make the coder's tables from what was learned; before bytes are written, and after training."""
        self.hyper_prior.freeze()
        self._streams = None

    @property
    def streams(self) -> Streams:
        """The codes of latents under this codec's tables."""
        if self._streams is None:
            self._streams = Streams(self, RATES, self.hyper_prior.tables(), self.prior.tables())
        return self._streams

    @property
    def mark(self) -> str:
        """Hash of what both ends must share: all weights but the analysis transform's."""
        digest = hashlib.blake2b(digest_size=8)
        for name, value in sorted(self.state_dict().items()):
            if not name.startswith("analysis"):
                digest.update(name.encode() + value.cpu().numpy().tobytes())
        return digest.hexdigest()

    def compress(self, images: Sequence[Image], rate: int) -> list[bytes]:
        """One code for each uint8 image ``[H, W, 3]`` of any size."""
        return [self.streams.encode(self.quantise(self.latent_of(image), rate)) for image in images]

    def decompress(self, codes: Sequence[bytes], size: Size) -> list[Image | None]:
        """The images of ``size`` (height, width); None where the bytes are no code. Never raises."""
        found = [self.streams.decode(code, size) for code in codes]
        return [None if latent is None else self.picture(self.dequantise(latent), size) for latent in found]

    @torch.inference_mode()
    def latent_of(self, image: Image) -> Tensor:
        """y ``[1, latent, h, w]`` of a uint8 image, which its edges continue to whole cells."""
        rows, columns = (-n % STRIDE for n in image.shape[:2])
        padded = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")
        x = torch.from_numpy(padded).to(self.log_gain.device).permute(2, 0, 1)[None].float() / 255
        return self.analyse(x)

    @torch.inference_mode()
    def quantise(self, y: Tensor, rate: int) -> Latent:
        """The whole numbers of y ``[1, latent, h, w]`` at a rate.

        Symbols of the lowest level are not coded: with a deviation of 0.11 a step the mean is right.
        """
        rates = self._rates(rate)
        scaled = y * self.gain(rates)
        z = self.hyper_latent(scaled, rates).round().clamp(-REACH, REACH)
        mean, level = self.moments(z, rates, (y.shape[2], y.shape[3]))
        symbols = ((scaled - mean).round() * (level.round() > 0)).clamp(-REACH, REACH)
        return Latent(rate, z[0].long().cpu().numpy(), symbols[0].long().cpu().numpy())

    @torch.inference_mode()
    def dequantise(self, latent: Latent) -> Tensor:
        """y ``[1, latent, h, w]``."""
        rates, shape = self._rates(latent.rate), latent.symbols.shape
        mean, _ = self.moments(self._tensor(latent.z), rates, (shape[1], shape[2]))
        return (self._tensor(latent.symbols) + mean.float()) / self.gain(rates)

    @torch.inference_mode()
    def levels(self, z: Ints, rate: int, grid: Size) -> Ints:
        """Row of each symbol, ``[latent, h, w]``, in the Gaussian's tables: equal on every machine."""
        level = self.moments(self._tensor(z), self._rates(rate), grid)[1]
        return self.prior.rows(level).reshape(level.shape[1:])

    @torch.inference_mode()
    def picture(self, y: Tensor, size: Size) -> Image:
        """The uint8 image of ``size`` that y ``[1, latent, h, w]`` shows."""
        shown = (self.synthesise(y)[0, :, : size[0], : size[1]] * 255).round().clamp(0, 255)
        return shown.permute(1, 2, 0).to(torch.uint8).cpu().numpy()

    def _rates(self, rate: int) -> Tensor:
        return torch.tensor([rate], device=self.log_gain.device)

    def _tensor(self, values: Ints) -> Tensor:
        return torch.from_numpy(values).to(self.log_gain.device, torch.float32)[None]


def _precise(x: Tensor) -> torch.autocast:
    """Full precision, also where the rest of the network is trained in bfloat16."""
    return torch.autocast(x.device.type, enabled=False)


def _with(x: Tensor, rate: Tensor) -> Tensor:
    """``x`` with the rate as one more channel: eighths, which are exact."""
    plane = (rate / 8 - 2).to(x.dtype)[:, None, None, None].expand(-1, 1, *x.shape[2:])
    return torch.cat([x, plane], 1)


def load(weights: str = "image-codec") -> Hyperprior:
    """The codec in a weights folder (a shipped name or a path)."""
    return pretrained.load(weights, lambda config: Hyperprior(**config))
