"""LLaVA: a vision tower, a projector and a language model that reads projected visual tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from semcom.types import Image, Kind, Recovered
from semcom.vlm.base import Array
from semcom.vlm.fastv import FastV
from semcom.vlm.generative import Generative
from semcom.vlm.likelihood import Job
from semcom.vlm.packing import Row, batches, layout, pack
from semcom.vlm.pixels import Pixels
from semcom.vlm.trunk import Trunk
from semcom.vlm.words import Ids

LARGEST = 1e6  # visual tokens are clamped to this, so that squares of noise stay finite in float32


class Llava(Generative):
    """``LlavaForConditionalGeneration`` with a CLIP or SigLIP vision tower.

    Visual tokens are the hidden states of ``vision_feature_layer`` (several layers: side by side), without
    the class token where ``vision_feature_select_strategy`` is ``default``. Any number of them is projected
    and put in the place of the one image placeholder of the prompt. Views with ``prune`` are answered with
    :class:`FastV`.

    :param token_mean: ``[token_dim]``, takes the place of non-finite received values
    :param token_scale: ``[token_dim]``
    :param batch_tokens: padded tokens in one forward pass of the language model
    """

    understands: frozenset[Kind] = frozenset({"image", "tokens", "text", "nothing"})
    questions_per_row = 8  # packing more gains little and attention grows with the square

    def __init__(
        self,
        model: Any,
        processor: Any,
        name: str,
        fingerprint: str,
        token_mean: Array | None = None,
        token_scale: Array | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        super().__init__(model, processor, name, fingerprint)
        # small batches stay in a CPU's cache: 2,048 tokens are 10 % faster than 4,096 and 50 % than 8,192
        self.batch_tokens = batch_tokens or (2048 if model.device.type == "cpu" else 16384)
        self.pixels = Pixels(processor.image_processor)
        self.token_dim = int(model.model.multi_modal_projector.linear_1.in_features)
        self.token_mean = np.zeros(self.token_dim, np.float32) if token_mean is None else token_mean
        self.token_scale = np.ones(self.token_dim, np.float32) if token_scale is None else token_scale
        self._image_id = int(model.config.image_token_id)
        self.trunk = Trunk(model, self.pixels)
        self._room = int(getattr(model.config.text_config, "max_position_embeddings", 2048))
        self._pad = int(model.generation_config.pad_token_id or 0)
        ends = model.generation_config.eos_token_id
        self._ends = {int(end) for end in (ends if isinstance(ends, list) else [ends]) if end is not None}

    @torch.inference_mode()
    def visual_tokens(self, images: Sequence[Image]) -> list[Array]:
        """``[k, token_dim]`` float32 for each image, in raster order, before the projector."""
        return [tokens.cpu().numpy() for tokens in self._features(images)]

    def _features(self, images: Sequence[Image], batch: int = 32) -> list[torch.Tensor]:
        config = self.model.config
        layers = config.vision_feature_layer
        tokens: list[torch.Tensor] = []
        for start in range(0, len(images), batch):
            pixels = self.pixels(images[start : start + batch]).to(self.model.device)
            hidden = self.model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
            chosen = torch.cat([hidden[i] for i in ([layers] if isinstance(layers, int) else layers)], dim=-1)
            tokens += chosen[:, 1:] if config.vision_feature_select_strategy == "default" else chosen
        return tokens

    def _projected(self, views: Sequence[Recovered]) -> list[torch.Tensor | None]:
        """``[k, hidden]`` for each view with an image or tokens."""
        features: list[torch.Tensor | None] = [None] * len(views)
        pictures = [i for i, view in enumerate(views) if view.kind == "image"]
        images = [image for i in pictures if (image := views[i].image) is not None]
        for i, tokens in zip(pictures, self._features(images), strict=True):
            features[i] = tokens
        for i, view in enumerate(views):
            if view.kind == "tokens" and view.tokens is not None:
                whole = np.where(np.isfinite(view.tokens), view.tokens, self.token_mean)
                clipped = np.clip(whole, -LARGEST, LARGEST).astype(np.float32)
                features[i] = torch.from_numpy(clipped).to(self.model.device)
        held = [tokens for tokens in features if tokens is not None]
        if not held:
            return features
        projected = iter(
            self.model.model.multi_modal_projector(torch.cat(held)).split([len(t) for t in held])
        )
        return [None if tokens is None else next(projected) for tokens in features]

    def _sequence(self, prompt: str, visual: torch.Tensor | None, reserve: int) -> Ids:
        """The prompt's ids with its image placeholder repeated for each visual token."""
        count = 0 if visual is None else len(visual)
        room = max(self._room - count - reserve, 32)
        ids = self.words.fitted(prompt, visual is not None, room)
        if visual is None:
            return ids
        place = ids.index(self._image_id)
        return ids[:place] + (self._image_id,) * count + ids[place + 1 :]

    def _embed(self, ids: torch.Tensor, visual: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """Input embeddings ``[B, T, hidden]``, image slots filled in order from each row's visual tokens."""
        embeddings = self.model.get_input_embeddings()(ids)
        for row, tokens in enumerate(visual):
            if tokens is not None:
                slots = ids[row] == self._image_id
                embeddings[row, slots] = tokens.repeat(int(slots.sum()) // len(tokens), 1)
        return embeddings

    def _log_probs(self, views: Sequence[Recovered], jobs: Sequence[Job]) -> Iterator[tuple[int, Array]]:
        visual = self._projected(views)
        prompts: dict[tuple[int, str], Ids] = {}
        members: dict[int, list[tuple[int, Ids]]] = {}
        for i, job in enumerate(jobs):
            key = (job.view, job.prompt)
            if key not in prompts:
                prompts[key] = self._sequence(job.prompt, visual[job.view], reserve=32)
            members.setdefault(job.view, []).append((i, prompts[key] + job.context))
        for prune, rows in self._batches(views, members, self.questions_per_row):
            ids, positions, sees = (part.to(self.model.device) for part in layout(rows, self._pad))
            embeddings = self._embed(ids, [visual[row.view] for row in rows])
            wanted = [
                (i, b, row.last(number, len(jobs[i].context) + 1))
                for b, row in enumerate(rows)
                for number, i in enumerate(row.jobs)
            ]
            if prune is not None:
                fastv, slots = FastV(self.model.model.language_model, *prune), ids == self._image_id
                places = [(b, at) for _, b, at in wanted]
                states = torch.cat(fastv.states(embeddings, positions, sees[:, 0], slots, places))
            else:
                mask = torch.zeros(sees.shape, dtype=embeddings.dtype, device=embeddings.device)
                mask.masked_fill_(~sees, torch.finfo(embeddings.dtype).min)
                hidden = self.model.model.language_model(
                    inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False
                ).last_hidden_state
                states = torch.cat([hidden[b, at] for _, b, at in wanted])
            log_probs = self.model.lm_head(states).float().log_softmax(-1).cpu().numpy()
            ends = np.cumsum([len(at) for _, _, at in wanted])[:-1]
            for (i, _, _), part in zip(wanted, np.split(log_probs, ends), strict=True):
                yield i, part

    def _generate(
        self, views: Sequence[Recovered], prompts: Sequence[tuple[int, str]], limit: int
    ) -> list[str]:
        visual = self._projected(views)
        asked = [views[view] for view, _ in prompts]
        members = {
            i: [(i, self._sequence(text, visual[view], reserve=limit))]
            for i, (view, text) in enumerate(prompts)
        }
        texts = [""] * len(prompts)
        for prune, rows in self._batches(asked, members, 1):
            width = max(map(len, rows))
            ids, mask = torch.full((len(rows), width), self._pad), torch.zeros(len(rows), width).long()
            for b, row in enumerate(rows):  # generation continues at the right, so the padding is on the left
                ids[b, width - len(row) :], mask[b, width - len(row) :] = torch.tensor(row.ids), 1
            ids, mask = ids.to(self.model.device), mask.to(self.model.device)
            embeddings = self._embed(ids, [visual[prompts[row.view][0]] for row in rows])
            if prune is not None:
                fastv, slots = FastV(self.model.model.language_model, *prune), ids == self._image_id
                words = self.model.get_input_embeddings()
                out = fastv.generate(embeddings, mask > 0, slots, self._say_next, words, self._ends, limit)
            else:
                out = self.model.generate(
                    inputs_embeds=embeddings,
                    attention_mask=mask,
                    max_new_tokens=limit,
                    pad_token_id=self._pad,
                    **self._greedy,
                )
            for row, new in zip(rows, out, strict=True):
                texts[row.view] = self.words.decode(new)
        return texts

    def _say_next(self, states: torch.Tensor) -> torch.Tensor:
        """The most likely token after each state; no answer opens an image slot."""
        logits = self.model.lm_head(states).float()
        logits[:, self._image_id] = -torch.inf
        return logits.argmax(-1)

    def _batches(
        self, views: Sequence[Recovered], members: Mapping[int, Sequence[tuple[int, Ids]]], per_row: int
    ) -> Iterator[tuple[tuple[int, float] | None, list[Row]]]:
        """Batches of rows that prune alike."""
        for prune in dict.fromkeys(views[i].prune for i in members):
            alike = {i: texts for i, texts in members.items() if views[i].prune == prune}
            for rows in batches(pack(alike, per_row), self.batch_tokens):
                yield prune, rows
