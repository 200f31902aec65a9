"""A picture codec's analysis transform that reads a text beside the image."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from channels.errors import InputError
from semcom.codecs.hyperprior import STRIDE, Hyperprior
from semcom.codecs.text_adapter import TextAdapter
from semcom.types import Image


class TextGuidedEncoder(nn.Module):
    """The analysis transform of a codec, copied to be trained further, with a text adapter inside.

    As made it is the codec's own transform, bit for bit, whatever the text. All else stays the codec's: gains, entropy
    models and synthesis.

    :param codec: whose analysis transform it starts from.
    :param text_width: of the text's token states.
    """

    def __init__(self, codec: Hyperprior, text_width: int) -> None:
        super().__init__()
        self.analysis = copy.deepcopy(codec.analysis).requires_grad_()
        self.adapter = TextAdapter((codec.width, codec.width), text_width)

    def forward(self, images: Tensor, text: Tensor, padding: Tensor | None = None) -> Tensor:
        """y ``[B, latent, H/8, W/8]``: see :meth:`Hyperprior.analyse` and :class:`TextAdapter`."""
        *stages, last = self.analysis
        features = self.adapter(stages, images - 0.5, text, padding)
        with torch.autocast(
            images.device.type, enabled=False
        ):  # the latent in full precision, as the codec's own
            y: Tensor = last(features.float())
        return y

    @torch.inference_mode()
    def latent_of(self, image: Image, text: Tensor) -> Tensor:
        """y ``[1, latent, h, w]`` of a uint8 image of any size under one text's states ``[1, n, text_width]``."""
        rows, columns = (-n % STRIDE for n in image.shape[:2])
        padded = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")  # as Hyperprior.latent_of
        x = torch.from_numpy(padded).to(text.device).permute(2, 0, 1)[None].float() / 255
        y: Tensor = self(x, text)
        return y


@torch.no_grad()
def token_states(dual: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
    """What the text tower of a dual encoder makes of each token: its last hidden states.

    :param dual: a dual encoder of transformers (:class:`semcom.vlm.dual.TransformersDualEncoder`)
    :returns: states ``[B, n, text_width]``, and ``[B, n]`` where there is no token (None: everywhere is one)
    :raises InputError: ``dual`` has no text tower that can be opened
    """
    tower, limit = text_tower(dual), dual.model.config.text_config.max_position_embeddings
    inputs = dual.processor.tokenizer(
        [dual.words.clean(text) for text in texts],
        padding="max_length" if dual.model.config.model_type.startswith("siglip") else True,
        truncation=True,
        max_length=limit,
        return_tensors="pt",
    ).to(dual.model.device)
    known = {key: inputs[key] for key in ("input_ids", "attention_mask") if key in inputs}
    states = tower(**known).last_hidden_state.float()
    return states, known["attention_mask"] == 0 if "attention_mask" in known else None


def text_width(dual: Any) -> int:
    """Numbers in each token state of a dual encoder's text tower."""
    text_tower(dual)
    return int(dual.model.config.text_config.hidden_size)


def text_tower(dual: Any) -> Any:
    """The text tower of a dual encoder of transformers; :class:`InputError` where there is none."""
    tower = getattr(getattr(dual, "model", None), "text_model", None)
    if tower is None:
        raise InputError(
            f"vlm: {dual.name!r} has no text tower that can be opened; taco needs a CLIP or SigLIP"
        )
    return tower
