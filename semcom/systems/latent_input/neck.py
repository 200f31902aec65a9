"""From a codec's latents into the middle of a vision tower.   [Kao et al., ICLR 2025, arXiv 2407.19651]"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semcom import pretrained
from semcom.codecs.hyperprior import RATES, Hyperprior
from semcom.vlm.trunk import Trunk


class Neck(nn.Module):
    """Latents as the state that enters layer ``start`` of the tower.

        y [latent, h, w] -- convolutions -- linear -- + rate, class token, positions -- LN -- block --> state

    It starts as copies: convolutions of the first stage of the codec's synthesis, which works at the latents'
    resolution; class token, positions and block (the last layer that is skipped) of the tower. Where the latent grid
    is not the tower's grid of patches, features are averaged or interpolated to it.

    :param trunk: the tower, which stays as it is
    :param codec: the codec, which stays as it is
    :param start: how many of the tower's layers are skipped, at least 1
    """

    def __init__(self, trunk: Trunk, codec: Hyperprior, start: int) -> None:
        super().__init__()
        embeddings = trunk.tower.embeddings
        self.grid, self.start = (trunk.rows, trunk.columns), start
        self.stem = copy.deepcopy(codec.synthesis[0]).requires_grad_()
        self.embed = nn.Linear(codec.width, trunk.width)
        self.rate = nn.Embedding(RATES, trunk.width)
        nn.init.zeros_(self.rate.weight)
        self.positions = nn.Parameter(embeddings.position_embedding.weight.detach().clone())
        first = embeddings.class_embedding.detach()[None] if trunk.prefix else torch.zeros(0, trunk.width)
        self.first = nn.Parameter(first.clone())
        self.norm = nn.LayerNorm(trunk.width)
        self.block = copy.deepcopy(trunk.tower.encoder.layers[start - 1]).requires_grad_()

    def forward(self, y: Tensor, rate: Tensor) -> Tensor:
        """The state ``[B, prefix + rows * columns, width]`` of y ``[B, latent, h, w]`` coded at ``rate`` [B]."""
        x = self.stem(y)
        if tuple(x.shape[2:]) != self.grid:
            shrinks = x.shape[2] >= self.grid[0] and x.shape[3] >= self.grid[1]
            x = F.interpolate(x, self.grid, mode="area" if shrinks else "bilinear")
        patches = self.embed(x.flatten(2).mT) + self.rate(rate)[:, None]
        state = torch.cat([self.first.expand(len(y), -1, -1), patches], 1) + self.positions
        out: Tensor = self.block(self.norm(state), None)
        return out


def load(weights: str, codec: Hyperprior, trunk: Trunk, fingerprint: str, vlm: str) -> Neck:
    """The trained neck in a weights folder.

    :raises InputError: there is none, or it was trained for another codec or vision-language model
    """

    def make(config: dict[str, Any]) -> Neck:
        again = f"`semcom train latent-input --vlm {vlm} --out FOLDER` makes weights for this one"
        other = "semcom.training.latent_input.train(out=FOLDER, codec=CODEC) makes weights for this one"
        if config["vlm"] != fingerprint:
            raise ValueError(f"it was trained for another vision-language model than {vlm!r}; {again}")
        if config["codec"] != codec.mark:
            raise ValueError(f"it was trained for another image codec; {other}")
        return Neck(trunk, codec, config["start"])

    return pretrained.load(weights, make)
