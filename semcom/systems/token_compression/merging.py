"""Token merging in a vision tower.   [ToMe: Bolya et al., ICLR 2023, arXiv 2210.09461]"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize, scaled_dot_product_attention

if TYPE_CHECKING:
    from semcom.vlm.trunk import Trunk


def merged(trunk: Trunk, state: Tensor, keep: int, layers: int) -> tuple[Tensor, Tensor]:
    """Patches after ``layers`` layers, merged down to ``keep``: ``[B, keep, width]``, and sizes ``[B, keep]``.

    In each layer some tokens are merged between attention and MLP, by their keys (mean over heads). Attention is
    proportional: log(size) is added to the logits of a key. The class token is never merged. The result is in raster
    order, a merged token where its target stood.

    :param state: what enters the first layer, ``[B, prefix + n, width]``
    """
    size = state.new_ones(state.shape[:2])
    place = torch.arange(state.shape[1], device=state.device).expand(state.shape[:2])
    for index, count in enumerate(schedule(state.shape[1] - trunk.prefix, keep, layers)):
        block = trunk.tower.encoder.layers[index]
        change, keys = proportional(block.self_attn, block.layer_norm1(state), size)
        state = state + change
        while (count := min(count, state.shape[1] - trunk.prefix - 1)) > 0:
            half = min(count, (state.shape[1] - trunk.prefix) // 2)
            state, keys, size, place = merge(state, keys, size, place, half, trunk.prefix)
            count -= half
        state = state + block.mlp(block.layer_norm2(state))
    order = place[:, trunk.prefix :].argsort(dim=1) + trunk.prefix
    return state.gather(1, order[..., None].expand(-1, -1, state.shape[-1])), size.gather(1, order)


def schedule(count: int, keep: int, layers: int) -> list[int]:
    """How many tokens each layer merges so that ``keep`` of ``count`` remain.

    Even shares, as in the paper, except that a layer can merge only half of its tokens: where the even shares would ask
    the later layers for more, the earlier ones merge more. Below ``count / 2**layers`` a layer merges several times.
    """
    merges = []
    for layer in range(layers):
        left = layers - layer
        share = -(-(count - keep) // left)
        merges.append(max(share, count - keep * 2 ** (left - 1), 0))
        count -= merges[-1]
    return merges


def proportional(part: Any, x: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Self-attention in which a token of size s counts s times ``[B, n, width]``, and its keys ``[B, n, head_dim]``."""
    shape = (*x.shape[:2], part.num_heads, part.head_dim)
    q, k, v = (project(x).view(shape).transpose(1, 2) for project in (part.q_proj, part.k_proj, part.v_proj))
    mixed = scaled_dot_product_attention(q, k, v, attn_mask=size.log()[:, None, None, :])
    return part.out_proj(mixed.transpose(1, 2).flatten(2)), k.mean(1)


def merge(
    state: Tensor, keys: Tensor, size: Tensor, place: Tensor, count: int, prefix: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One bipartite soft matching: ``count`` tokens (at most half) join others, by size-weighted means.

    Tokens after the ``prefix`` are split alternately into A and B; each of A is linked to the nearest of B (cosine of
    keys); the ``count`` closest links merge. Returned: prefix, the rest of A, B.

    :param state: ``[B, n, width]``; :param keys: ``[B, n, head_dim]``; :param size, place: ``[B, n]``
    """
    a, b = slice(prefix, None, 2), slice(prefix + 1, None, 2)
    unit = normalize(keys, dim=-1)
    closeness, target = (unit[:, a] @ unit[:, b].transpose(1, 2)).max(-1)
    order = closeness.argsort(dim=1, descending=True, stable=True)
    gone, stay = order[:, :count], order[:, count:].sort(dim=1).values
    target = target.gather(1, gone)

    def joined(x: Tensor) -> Tensor:
        """``[B, n, d]``: sums where tokens merge."""
        wide = (-1, -1, x.shape[-1])
        source = x[:, a]
        into = x[:, b].scatter_add(
            1, target[..., None].expand(wide), source.gather(1, gone[..., None].expand(wide))
        )
        return torch.cat([x[:, :prefix], source.gather(1, stay[..., None].expand(wide)), into], dim=1)

    total = joined(size[..., None])
    state, keys = (joined(x * size[..., None]) / total for x in (state, keys))
    where = torch.cat([place[:, :prefix], place[:, a].gather(1, stay), place[:, b]], dim=1)
    return state, keys, total[..., 0], where
