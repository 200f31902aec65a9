"""FastV: after its first layers a language model goes on without the visual tokens that the prompt ignores.

[Chen et al., ECCV 2024, arXiv 2403.06764; the rule of their code: the attention of the last prompt token]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from channels.errors import InputError


class FastV:
    """The decoder layers of a Llama or one of its kin (Mistral, Qwen2), with visual tokens dropped on the way.

    Layers 0 to ``layer`` - 1 see every visual token. Of these, the (1 - ratio) N that the last token of the prompt
    attends to most in layer ``layer`` - 1 (mean over heads) go on; they keep their positions.

    :param model: the language model without its head
    :param layer: K, from 1 to the number of layers - 1
    :param ratio: R, the share that is dropped, in [0, 1); at least one token stays
    """

    def __init__(self, model: Any, layer: int, ratio: float) -> None:
        if not 1 <= layer < len(model.layers):
            raise InputError(
                f"layer: {layer} is not from 1 to {len(model.layers) - 1}; the language model has "
                f"{len(model.layers)} layers"
            )
        self.norm, self._rotary, self._ratio = model.norm, model.rotary_emb, ratio
        self._full, self._short = model.layers[:layer], model.layers[layer:]

    def states(
        self,
        embeddings: Tensor,
        positions: Tensor,
        sees: Tensor,
        slots: Tensor,
        wanted: Sequence[tuple[int, list[int]]],
    ) -> list[Tensor]:
        """Last states of packed rows; each sequence drops visual tokens for itself, so the rest runs unpacked.

        :param embeddings: ``[B, T, hidden]``; :param positions: ``[B, T]``
        :param sees: ``[B, T, T]``, who sees whom; :param slots: ``[B, T]``, where visual tokens stand
        :param wanted: for each sequence its row and the places, in order, from its last prompt token to its last token
        :return: ``[len(places), hidden]`` for each sequence
        """
        rows = torch.tensor([row for row, _ in wanted], device=embeddings.device)
        asking = torch.tensor([places[0] for _, places in wanted], device=embeddings.device)
        stops = torch.tensor([places[-1] for _, places in wanted], device=embeddings.device)
        x, keep = self._first(embeddings, positions, sees, slots[rows], rows, asking)
        x, at, valid = _gather(x, positions, keep & sees[rows, stops], rows)
        x = self.norm(self._run(self._short, x, at, _causal(valid)))
        return [x[i, -len(places) :] for i, (_, places) in enumerate(wanted)]

    def generate(
        self,
        embeddings: Tensor,
        valid: Tensor,
        slots: Tensor,
        say: Callable[[Tensor], Tensor],
        embed: Callable[[Tensor], Tensor],
        ends: set[int],
        limit: int,
    ) -> list[list[int]]:
        """Greedy continuations; what is dropped is decided once, by the last token of the prompt.

        :param embeddings: ``[B, T, hidden]``, padded on the left; :param valid, slots: ``[B, T]``
        :param say: states ``[B, hidden]`` to token ids ``[B]``; :param embed: ids ``[B, 1]`` to ``[B, 1, hidden]``
        """
        rows = torch.arange(len(valid), device=embeddings.device)
        positions = (valid.long().cumsum(1) - 1).clamp(min=0)
        last, cache = torch.full_like(rows, valid.shape[1] - 1), DynamicCache()
        x, keep = self._first(embeddings, positions, _causal(valid), slots, rows, last, cache)
        x, at, kept = _gather(x, positions, keep & valid, rows)
        x, now = self._run(self._short, x, at, _causal(kept), cache), positions[:, -1:]
        said: list[list[int]] = [[] for _ in rows]
        for _ in range(limit):
            ids = say(self.norm(x[:, -1]))
            for text, token in zip(said, ids.tolist(), strict=True):
                if not (text and text[-1] in ends):
                    text.append(token)
            if all(text[-1] in ends for text in said):
                break
            now, one = now + 1, torch.ones_like(valid[:, :1])
            valid, kept = torch.cat([valid, one], 1), torch.cat([kept, one], 1)
            x = self._run(self._full, embed(ids[:, None]), now, valid[:, None], cache)
            x = self._run(self._short, x, now, kept[:, None], cache)
        return said

    def _first(
        self,
        x: Tensor,
        positions: Tensor,
        sees: Tensor,
        slots: Tensor,
        rows: Tensor,
        asking: Tensor,
        cache: DynamicCache | None = None,
    ) -> tuple[Tensor, Tensor]:
        """States after the full layers, and what each sequence keeps ``[sequences, T]``."""
        x = self._run(self._full[:-1], x, positions, sees, cache)
        layer = self._full[-1]
        attention = attended(layer, x, self._rotary(x, positions), sees[rows, asking], rows, asking)
        x = self._run([layer], x, positions, sees, cache)
        order = attention.masked_fill(~slots, -1.0).argsort(dim=1, descending=True, stable=True)
        count = ((1 - self._ratio) * slots.sum(1)).round().clamp(min=1)
        return x, ~slots | (order.argsort(dim=1) < count[:, None])

    def _run(
        self, layers: Any, x: Tensor, positions: Tensor, sees: Tensor, cache: DynamicCache | None = None
    ) -> Tensor:
        mask = torch.zeros_like(sees[:, None], dtype=x.dtype)
        mask.masked_fill_(~sees[:, None], torch.finfo(x.dtype).min)
        turned = self._rotary(x, positions)
        for layer in layers:
            x = layer(
                x,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
                position_embeddings=turned,
            )
        return x


def attended(
    layer: Any, x: Tensor, turned: tuple[Tensor, Tensor], sees: Tensor, rows: Tensor, asking: Tensor
) -> Tensor:
    """``[sequences, T]``: the mean attention over heads of token ``asking`` of each row, in a layer that ``x`` enters.

    Queries and keys are computed again, as no fast attention gives its weights away.
    """
    part, entering = layer.self_attn, layer.input_layernorm(x)
    shape = (*x.shape[:2], -1, part.head_dim)
    q, k = (project(entering).view(shape).transpose(1, 2) for project in (part.q_proj, part.k_proj))
    q, k = apply_rotary_pos_emb(q, k, *turned)
    q, k = q[rows, :, asking], k.repeat_interleave(part.num_key_value_groups, dim=1)[rows]
    logits = torch.einsum("jhd,jhtd->jht", q, k) * part.scaling
    return logits.masked_fill(~sees[:, None], -torch.inf).softmax(-1).mean(1)


def _gather(x: Tensor, positions: Tensor, keep: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What each sequence keeps of its row, in order, padded on the left: states, positions, which are real."""
    width = int(keep.sum(1).max())
    index = keep.to(torch.uint8).argsort(dim=1, stable=True)[:, -width:]
    return x[rows[:, None], index], positions[rows[:, None], index], keep.gather(1, index)


def _causal(valid: Tensor) -> Tensor:
    """Who sees whom ``[B, T, T]``: earlier real tokens; padding sees itself alone."""
    square = torch.ones(valid.shape[1], valid.shape[1], dtype=torch.bool, device=valid.device)
    return (square.tril() & valid[:, None, :]) | torch.eye(len(square), dtype=torch.bool, device=valid.device)
