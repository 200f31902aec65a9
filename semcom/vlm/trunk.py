"""A vision tower opened at its layers: features can be read, and put in, between any two of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from channels.errors import InputError
from semcom.types import Image

if TYPE_CHECKING:
    from semcom.vlm.pixels import Pixels


class Trunk:
    """The CLIP or SigLIP vision tower of a LLaVA.

    *State* i is what enters layer i: ``[B, prefix + rows * columns, width]`` float32, the class token (where
    the tower has one) first, then the patches in raster order. State 0 is the embedding (of CLIP after its
    pre-layer norm), state ``layers`` the output of the last layer.

    :param model: ``LlavaForConditionalGeneration``
    :param pixels: its image processor
    """

    def __init__(self, model: Any, pixels: Pixels) -> None:
        config = model.config.vision_config
        self.tower, self.pixels = model.model.vision_tower, pixels
        self.width, self.layers = int(config.hidden_size), len(self.tower.encoder.layers)
        self.prefix = int(hasattr(self.tower, "pre_layrnorm"))  # CLIP has a class token, SigLIP none
        self.image_size, self.patch_size = int(config.image_size), int(config.patch_size)
        self.rows = self.columns = self.image_size // self.patch_size
        chosen = model.config.vision_feature_layer
        chosen = [chosen] if isinstance(chosen, int) else list(chosen)
        # the states that the VLM reads
        self.reads = [i if i >= 0 else self.layers + 1 + i for i in chosen]
        self._drop = int(model.config.vision_feature_select_strategy == "default")

    def normalised(self, images: Sequence[Image]) -> Tensor:
        """Pixel values ``[B, 3, image_size, image_size]`` of uint8 images, as the tower's processor makes them."""
        return self.pixels(images).to(self.tower.device)

    def embed(self, pixels: Tensor) -> Tensor:
        """State 0 of normalised pixel values ``[B, 3, H, W]``; other sizes interpolate the position embeddings."""
        other = tuple(pixels.shape[-2:]) != (self.image_size, self.image_size)
        state: Tensor = self.tower.embeddings(pixels, interpolate_pos_encoding=other)
        return self.tower.pre_layrnorm(state) if self.prefix else state

    def assemble(self, patches: Tensor) -> Tensor:
        """State 0 from patch embeddings ``[B, rows * columns, width]`` (what the patch convolution gives)."""
        embeddings = self.tower.embeddings
        if self.prefix:
            first = embeddings.class_embedding.expand(len(patches), 1, -1)
            patches = torch.cat([first, patches], dim=1)
        state = patches + embeddings.position_embedding.weight
        return self.tower.pre_layrnorm(state) if self.prefix else state

    def run(self, state: Tensor, start: int = 0, stop: int | None = None) -> list[Tensor]:
        """States ``start`` to ``stop`` (default: the last), from state ``start``."""
        states = [state]
        for layer in self.tower.encoder.layers[start:stop]:
            states.append(layer(states[-1], None))
        return states

    def visual_tokens(self, state: Tensor, start: int = 0) -> Tensor:
        """The VLM's visual tokens ``[B, k, token_dim]``, before its projector, from state ``start``.

        :raises InputError: the VLM reads a layer below ``start``
        """
        if min(self.reads) < start:
            raise InputError(f"layer: {start} is above layer {min(self.reads)}, which the VLM reads")
        states = self.run(state, start, max(self.reads))
        return torch.cat([states[i - start][:, self._drop :] for i in self.reads], dim=-1)
