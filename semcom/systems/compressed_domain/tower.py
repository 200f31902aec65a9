"""A vision tower that reads DCT coefficients instead of pixels."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from channels.errors import InputError
from semcom.codecs import dct

if TYPE_CHECKING:
    from semcom.vlm.trunk import Trunk


class DctTower(torch.nn.Module):
    """An embedding of DCT patches, and the tower's first layers as trained copies; the rest of the tower is frozen.

    As made it is the tower itself: the embedding is the pull-back of the tower's patch convolution
    (:func:`semcom.codecs.dct.pull_back`) and the copies are equal. Training adapts both.

    :param trunk: the vision tower of a LLaVA; its patches must have 8 pixels, or a multiple of 16
    :param layers: how many layers are copied
    :raises InputError: patches that no whole number of JPEG's blocks covers
    """

    scale: Tensor

    def __init__(self, trunk: Trunk, layers: int = 0) -> None:
        super().__init__()
        check(trunk)
        kernel = trunk.tower.embeddings.patch_embedding
        gain, offset = _affine(trunk)
        bias = (
            np.zeros(len(kernel.weight))
            if kernel.bias is None
            else kernel.bias.detach().double().cpu().numpy()
        )
        weight, bias = dct.pull_back(kernel.weight.detach().double().cpu().numpy(), bias, gain, offset)
        self.embed = torch.nn.Linear(weight.shape[1], weight.shape[0])
        self.embed.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        self.layers = copy.deepcopy(trunk.tower.encoder.layers[:layers])
        self.register_buffer("scale", torch.ones(weight.shape[1]))

    def rescale(self, scale: Tensor) -> None:
        """Divide what enters the embedding by ``scale`` ``[3 p^2 / 2]``; the map stays the same."""
        with torch.no_grad():
            self.embed.weight *= scale / self.scale
        self.scale = scale

    def forward(self, patches: Tensor, trunk: Trunk) -> Tensor:
        """The VLM's visual tokens ``[B, k, token_dim]`` of DCT patches ``[B, k, 3 p^2 / 2]``."""
        state = trunk.assemble(self.embed(patches / self.scale))
        for layer in self.layers:
            state = layer(state, None)
        return trunk.visual_tokens(state, len(self.layers))


def check(trunk: Trunk) -> None:
    """:class:`InputError` unless whole numbers of JPEG's blocks cover the tower's patches."""
    if trunk.patch_size != 8 and trunk.patch_size % 16:
        raise InputError(
            f"vlm: its vision tower cuts patches of {trunk.patch_size} pixels; JPEG's blocks need patches of 8, 16 "
            f"or 32, as in CLIP B/16 or SigLIP B/16"
        )


def _affine(trunk: Trunk) -> tuple[dct.Floats, dct.Floats]:
    """Gain and offset of each colour in the tower's pixel values, seen on a black and on a white image."""
    flat = np.zeros((trunk.image_size, trunk.image_size, 3), np.uint8)
    black, white = (
        p.mean((1, 2)).double().cpu().numpy() for p in trunk.normalised([flat, flat + np.uint8(255)])
    )
    return (white - black) / 255, black
