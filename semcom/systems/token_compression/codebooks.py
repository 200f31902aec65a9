"""Codebooks of visual tokens, which both ends know: the weights of a product quantiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from semcom import pretrained
from semcom.codecs.product import ProductQuantiser
from semcom.vlm.base import GenerativeVLM


class Codebooks(torch.nn.Module):
    """Codewords [parts, 2^bits, token_dim / parts] for standardised tokens, turned by ``rotation``."""

    words: torch.Tensor
    rotation: torch.Tensor

    def __init__(self, parts: int, bits: int, token_dim: int) -> None:
        super().__init__()
        self.register_buffer("words", torch.zeros(parts, 1 << bits, token_dim // parts))
        self.register_buffer("rotation", torch.zeros(token_dim, token_dim))


def load(weights: str | Path, model: GenerativeVLM) -> ProductQuantiser:
    """The quantiser of a folder, for the tokens of ``model``.

    :param weights: ``"token-codebooks"``, or a folder that ``semcom train token-codebooks --out`` made
    :raises InputError: there is none, or it was made for another vision-language model
    """

    def make(config: dict[str, Any]) -> Codebooks:
        if config["vlm"] != model.fingerprint:
            raise ValueError(
                f"made for another vision-language model than {model.name!r}; "
                f"`semcom train token-codebooks --vlm {model.name} --out FOLDER` makes codebooks for this one"
            )
        parts, bits = int(config["parts"]), int(config["bits"])
        if parts < 1 or model.token_dim % parts or not 1 <= bits <= 8:
            raise ValueError(f"{parts} parts of {bits} bits do not fit tokens of {model.token_dim} numbers")
        return Codebooks(parts, bits, model.token_dim)

    books = pretrained.load(weights, make)
    return ProductQuantiser(books.words.numpy(), model.token_mean, model.token_scale, books.rotation.numpy())
