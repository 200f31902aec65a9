"""Fewer visual tokens by what the vision tower knows: its attention, its keys, or a smaller image.

Functions from images to at most ``keep`` tokens each, in raster order, of the layer that the VLM reads. They need a
tower that can be opened at its layers (:class:`semcom.vlm.trunk.Trunk`: CLIP or SigLIP). Queries and keys are computed
again from the states, as no fast attention gives its weights away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from channels.errors import InputError
from semcom.systems.token_compression.merging import merged
from semcom.systems.token_compression.selection import grid_of, uniform
from semcom.types import Image
from semcom.vlm.base import Array

if TYPE_CHECKING:
    from semcom.vlm.trunk import Trunk

BATCH = 32  # images in one pass through the tower
DOMINANT = 54 / 64  # VisionZip's share of tokens that are kept as they are


def lower_resolution(trunk: Trunk, images: Sequence[Image], keep: int) -> list[Tensor]:
    """The tokens of the image scaled down to at most ``keep`` patches; position embeddings interpolated."""
    rows, columns = grid_of(keep, trunk.rows, trunk.columns)
    size = (rows * trunk.patch_size, columns * trunk.patch_size)
    pixels = trunk.normalised(images)
    if size != tuple(pixels.shape[-2:]):
        pixels = interpolate(pixels, size=size, mode="bicubic", antialias=True)
    layer = the_layer(trunk)
    return list(trunk.run(trunk.embed(pixels), stop=layer)[layer][:, trunk.prefix :])


def cls_attention(trunk: Trunk, images: Sequence[Image], keep: int) -> list[Tensor]:
    """The ``keep`` tokens that the class token attends to most (the lowest index where several are)."""
    tokens, attention, _ = seen(trunk, images)
    return [x[top(a, keep)] for x, a in zip(tokens, attention, strict=True)]


def visionzip(trunk: Trunk, images: Sequence[Image], keep: int) -> list[Tensor]:
    """Dominant tokens as they are, the others merged into contextual ones.   [Yang et al., CVPR 2025]"""
    contextual = min(keep - 1, round(keep * (1 - DOMINANT)))
    return [zipped(*one, keep - contextual, contextual) for one in zip(*seen(trunk, images), strict=True)]


def zipped(tokens: Tensor, attention: Tensor, keys: Tensor, dominant: int, contextual: int) -> Tensor:
    """VisionZip of one image: ``[n, d]`` to at most ``dominant + contextual`` tokens.

    Targets stand at an even stride among what is not dominant; each of the others joins the target of the most similar
    key (cosine). The paper's code adds the mean of the others to the target; the mean of all of them, which is
    sent here, keeps the tokens' scale and thus the quantiser's range.
    """
    first = top(attention, dominant)
    rest = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
    rest[first] = False
    left = rest.nonzero()[:, 0]
    if not contextual or not len(left):
        return tokens[first]
    targets = left[uniform(len(left), min(contextual, len(left)))]
    unit = normalize(keys, dim=-1)
    nearest = (unit[left] @ unit[targets].T).argmax(1)
    nearest[(left[:, None] == targets).any(1)] = torch.arange(len(targets), device=tokens.device)
    sums = torch.zeros(len(targets), tokens.shape[1], device=tokens.device).index_add(
        0, nearest, tokens[left]
    )
    means = sums / torch.bincount(nearest, minlength=len(targets))[:, None]
    return torch.cat([tokens[first], means])[torch.cat([first, targets]).argsort()]


def tome(trunk: Trunk, images: Sequence[Image], keep: int) -> list[Tensor]:
    """Similar tokens are merged inside the tower, layer by layer.   [Bolya et al., ICLR 2023]"""
    tokens, _ = merged(trunk, trunk.embed(trunk.normalised(images)), keep, the_layer(trunk))
    return list(tokens)


def the_layer(trunk: Trunk) -> int:
    """The layer whose output the VLM reads."""
    if len(trunk.reads) != 1 or trunk.reads[0] < 1:
        raise InputError(
            f"select: the VLM reads layers {trunk.reads}; this selection needs a single one above 0"
        )
    return trunk.reads[0]


def seen(trunk: Trunk, images: Sequence[Image]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens ``[B, n, d]``, the attention they get ``[B, n]`` and their keys ``[B, n, width]`` (heads side by side).

    All of the last layer that is read. Attention: of the class token, mean over heads; in a tower without one, the
    mean over all tokens.
    """
    layer, skip = the_layer(trunk), trunk.prefix
    before, after = trunk.run(trunk.embed(trunk.normalised(images)), stop=layer)[-2:]
    block = trunk.tower.encoder.layers[layer - 1]
    part, entering = block.self_attn, block.layer_norm1(before)
    keys, shape = part.k_proj(entering), (*before.shape[:2], part.num_heads, part.head_dim)
    asking = part.q_proj(entering).view(shape)[:, :1] if skip else part.q_proj(entering).view(shape)
    logits = torch.einsum("bqhd,bkhd->bhqk", asking, keys.view(shape)) * part.scale
    attention = logits.softmax(-1).mean((1, 2))
    return after[:, skip:], attention[:, skip:], keys[:, skip:]


def top(scores: Tensor, keep: int) -> Tensor:
    """The ``keep`` best of ``[n]``, ascending; the lowest index where several are."""
    return scores.argsort(descending=True, stable=True)[:keep].sort().values


TOWER_SELECTIONS: dict[str, Callable[[Trunk, Sequence[Image], int], list[Tensor]]] = {
    "lower-resolution": lower_resolution,
    "cls-attention": cls_attention,
    "visionzip": visionzip,
    "tome": tome,
}


def compress(trunk: Trunk, images: Sequence[Image], keep: int, select: str) -> list[Array]:
    """At most ``keep`` visual tokens ``[<= keep, token_dim]`` float32 of each image."""
    tokens: list[Array] = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            part = TOWER_SELECTIONS[select](trunk, images[start : start + BATCH], keep)
            tokens += [t.float().cpu().numpy() for t in part]
    return tokens
