"""Deep joint source-channel coding: an image as channel symbols and back, by two convolutional networks.

The latent is an ordered prefix code: its complex channels are *groups*, one symbol for each cell of the grid, and the
decoder is trained with any number of leading groups, so that one model serves every budget.

Bourtsoulatze, Kurka and Gunduz, IEEE TCCN 2019; the attention feature modules: Xu et al., IEEE TCSVT 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semcom.codecs.gdn import GDN

STRIDE = 8  # pixels a cell of the grid is wide and high
SNR_DB = (-10.0, 30.0)  # what an attention feature module is told is clamped to this


class AttentionFeature(nn.Module):
    """Scales channels by what they hold and by the SNR: sigmoid(MLP([mean of each channel, SNR])).   [Xu 2022, fig. 3]

    At the start it is a constant close to 1, whatever the SNR.

    :param channels: of the features, [batch, channels, h, w].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels + 1, channels // 4)
        self.second = nn.Linear(channels // 4, channels)
        nn.init.zeros_(self.second.weight)
        nn.init.constant_(self.second.bias, 3.0)

    def forward(self, x: Tensor, snr_db: Tensor) -> Tensor:
        """``x`` [batch, channels, h, w] at ``snr_db`` [batch]."""
        told = snr_db.clamp(*SNR_DB)[:, None] / 10 - 1
        hidden = torch.relu(self.first(torch.cat([x.mean((2, 3)), told], 1)))
        return x * torch.sigmoid(self.second(hidden))[:, :, None, None]


class Stage(nn.Module):
    """Layers, then an attention feature module where the codec is adaptive."""

    def __init__(self, *layers: nn.Module, channels: int, adaptive: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.attention = AttentionFeature(channels) if adaptive else None

    def forward(self, x: Tensor, snr_db: Tensor | None) -> Tensor:
        """Features, at an SNR that only adaptive stages look at."""
        x = self.layers(x)
        if self.attention is None:
            return x
        assert snr_db is not None, "an adaptive codec must be told the SNR"
        return self.attention(x, snr_db)


class JSCC(nn.Module):
    """Image -> latent -> (channel) -> image.

        image [3, 8h, 8w] --+-- 4x4 blocks, conv, conv /2, conv, conv, conv --+--> latent: groups x 2 reals, [h, w]
                            +-- linear 8x8 blocks ----------------------------+
        image <-------------+-- 4x4 blocks, conv, conv, conv x2, conv, conv --+--- MMSE estimate of the leading groups,
                            +-- linear 8x8 blocks ----------------------------+    times a factor for their number

    The linear path is there to be started as the best linear code (:meth:`start`); the convolutions, which start at
    0, learn what is better. Each hidden convolution is followed by (inverse) GDN and PReLU.

    :param width: channels of the hidden layers.
    :param groups: most complex channels that the latent has.
    :param adaptive: attention feature modules at both ends, told the SNR (ADJSCC).
    """

    def __init__(self, width: int = 48, groups: int = 32, adaptive: bool = False) -> None:
        super().__init__()
        self.groups, self.adaptive = groups, adaptive
        latent = 2 * groups

        def stage(inverse: bool, *convolution: nn.Module) -> Stage:
            layers = *convolution, GDN(width, inverse), nn.PReLU(width)
            return Stage(*layers, channels=width, adaptive=adaptive)

        def conv(inputs: int, outputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, 3, padding=1)

        self.analysis = nn.Conv2d(3, latent, STRIDE, STRIDE)
        self.encoder = nn.ModuleList(
            [
                stage(False, nn.PixelUnshuffle(4), conv(48, width)),
                stage(False, nn.Conv2d(width, width, 5, 2, 2)),
                stage(False, conv(width, width)),
                stage(False, conv(width, width)),
            ]
        )
        self.to_latent = conv(width, latent)
        self.sent = Stage(channels=latent, adaptive=adaptive)
        self.factor = nn.Parameter(torch.ones(groups))
        self.received = Stage(channels=latent, adaptive=adaptive)
        self.synthesis = nn.ConvTranspose2d(latent, 3, STRIDE, STRIDE)
        self.decoder = nn.ModuleList(
            [
                stage(True, conv(latent, width)),
                stage(True, conv(width, width)),
                stage(True, conv(width, 4 * width), nn.PixelShuffle(2)),
                stage(True, conv(width, width)),
            ]
        )
        self.to_image = conv(width, 48)
        for last in (self.to_latent, self.to_image):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def encode(self, images: Tensor, snr_db: Tensor | None = None) -> Tensor:
        """Latents [batch, groups * h * w * 2], group after group, of any power.

        :param images: [batch, 3, 8 h, 8 w], values 0 to 1.
        :param snr_db: [batch], what the transmitter takes the SNR to be; for adaptive codecs.
        """
        x = images - 0.5
        linear = self.analysis(x)
        for stage in self.encoder:
            x = stage(x, snr_db)
        z: Tensor = self.sent(linear + self.to_latent(x), snr_db)  # [batch, 2 groups, h, w]
        return z.unflatten(1, (self.groups, 2)).permute(0, 1, 3, 4, 2).flatten(1)

    def decode(self, values: Tensor, noise_var: Tensor, kept: Tensor, grid: tuple[int, int]) -> Tensor:
        """Images [batch, 3, 8 h, 8 w] from the leading groups; values about 0 to 1, not clipped.

        :param values: [batch, groups * h * w * 2] received reals in the units of :mod:`semcom.codecs.analog` (mean
            square 1 before the noise); what lies beyond the ``kept`` groups is ignored.
        :param noise_var: of each of them, in the same units.
        :param kept: [batch] int64, groups that were sent, 1 to ``groups``.
        :param grid: (h, w).
        """
        shape = self.groups, *grid, 2
        sent = (torch.arange(self.groups, device=values.device) < kept[:, None])[:, :, None, None, None]
        noise = noise_var.unflatten(1, shape)
        estimate = torch.where(sent, values.unflatten(1, shape) / (1 + noise), 0)
        error = torch.where(sent, noise / (1 + noise), 0).sum((1, 2, 3, 4)) / (2 * kept * grid[0] * grid[1])
        snr_db = 10 * torch.log10(((1 - error) / error.clamp_min(1e-6)).clamp_min(1e-6))
        x = estimate.permute(0, 1, 4, 2, 3).flatten(1, 2)  # [batch, 2 groups, h, w]
        x = self.received(x * self.factor[kept - 1][:, None, None, None], snr_db)
        linear = self.synthesis(x)
        for stage in self.decoder:
            x = stage(x, snr_db)
        image: Tensor = 0.5 + linear + nn.functional.pixel_shuffle(self.to_image(x), 4)
        return image

    @torch.no_grad()
    def start(self, images: Tensor, snr_db: float) -> None:
        """Set the linear path to the best linear code of 8 x 8 blocks, strongest components first.

        Karhunen-Loeve transform; power in proportion to the standard deviations and the Wiener filter at ``snr_db``,
        which is optimal for parallel Gaussian sources.   [Lee and Petersen, IEEE Trans. Commun. 1976]

        :param images: [batch, 3, 8 h, 8 w], values 0 to 1, of many different blocks.
        """
        blocks = nn.functional.unfold(images - 0.5, STRIDE, stride=STRIDE).transpose(1, 2).flatten(0, 1)
        mean = blocks.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(blocks.T))
        deviation = values.flip(0)[: 2 * self.groups].clamp_min(1e-12).sqrt()
        basis = vectors.flip(1)[:, : 2 * self.groups].T  # [2 groups, 3 * 8 * 8]
        power, noise = deviation, 10 ** (-snr_db / 10)
        wiener = (1 + noise) * power / (power + noise * power.mean())
        forward = basis / deviation.sqrt()[:, None]
        backward = basis * (wiener * deviation.sqrt())[:, None]
        for layer, weight, bias in (
            (self.analysis, forward, -forward @ mean),
            (self.synthesis, backward, mean.view(3, -1).mean(1)),
        ):
            layer.weight.copy_(weight.view_as(layer.weight))
            assert layer.bias is not None
            layer.bias.copy_(bias)
        number = torch.arange(1, self.groups + 1)
        self.factor.copy_((power.cumsum(0)[1::2] / (2 * number)).sqrt())
