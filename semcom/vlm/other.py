"""Any other image-text-to-text model of transformers, asked through its processor alone."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from channels.errors import InputError
from semcom.types import Image, Recovered
from semcom.vlm.base import Array
from semcom.vlm.generative import Generative
from semcom.vlm.likelihood import Job

GREY = np.full((64, 64, 3), 128, dtype=np.uint8)


class ImageTextModel(Generative):
    """An ``AutoModelForImageTextToText`` whose inside is not known: SmolVLM, PaliGemma, BLIP, Qwen-VL, ...

    Serves images, texts and nothing; visual tokens are :class:`InputError`. One forward pass for each
    question and distinct beginning of its candidates. A model that cannot go without an image sees a uniform
    grey one instead.
    """

    def __init__(self, model: Any, processor: Any, name: str, fingerprint: str) -> None:
        super().__init__(model, processor, name, fingerprint)
        self._blank: Image | None = GREY if self._insists_on_image() else None

    def visual_tokens(self, images: Sequence[Image]) -> list[Array]:
        """Not available: :class:`InputError`."""
        raise InputError(
            f"{self.name} ({type(self.model).__name__}) gives no visual tokens; use a LLaVA model with a CLIP "
            "or SigLIP vision tower, for example 'embedded', or a system that sends pictures or text."
        )

    def _insists_on_image(self) -> bool:
        pixels = inspect.signature(self.model.forward).parameters.get("pixel_values")
        if pixels is not None and pixels.default is inspect.Parameter.empty:
            return True
        try:
            self._processed("hello", None)
        except (ValueError, TypeError, AttributeError):
            return True
        return False

    def _processed(self, text: str, image: Image | None) -> dict[str, Any]:
        prompt = self.words.prompt(text, image is not None)
        begun = bool(self.words.tokenizer.bos_token) and prompt.startswith(self.words.tokenizer.bos_token)
        inputs: dict[str, Any] = {"text": [prompt], "add_special_tokens": not begun, "return_tensors": "pt"}
        if image is not None:
            inputs["images"] = [image]
        return dict(self.processor(**inputs).to(self.model.device))

    def _inputs(self, view: Recovered, text: str) -> dict[str, Any]:
        return self._processed(text, view.image if view.kind == "image" else self._blank)

    def _continued(self, inputs: dict[str, Any], context: Sequence[int]) -> dict[str, Any]:
        """The model's inputs with answer tokens after the prompt."""
        tail = torch.tensor([list(context)], dtype=torch.long, device=self.model.device)
        if self.model.config.is_encoder_decoder:
            start = self.model.generation_config.decoder_start_token_id
            first = torch.tensor([[start]], dtype=torch.long, device=self.model.device)
            return {**inputs, "decoder_input_ids": torch.cat([first, tail], dim=1)}
        ids, length = inputs["input_ids"], inputs["input_ids"].shape[1]
        closes = {self.words.tokenizer.eos_token_id, self.words.tokenizer.sep_token_id}
        kept = length - int(int(ids[0, -1]) in closes)  # BERT's tokeniser ends the text; the answer goes on
        # PaliGemma marks by 1 what is causal (the answer); elsewhere token types mark images, and 0 is text
        fill = {"attention_mask": 1, "token_type_ids": int(self.model.config.model_type == "paligemma")}
        if (
            self.model.config.model_type == "blip"
        ):  # its generate() swaps the first token for the decoder's own
            ids = ids.clone()
            ids[:, 0] = self.model.config.text_config.bos_token_id
        continued = {**inputs, "input_ids": torch.cat([ids[:, :kept], tail], dim=1)}
        for key, value in inputs.items():
            if key != "input_ids" and torch.is_tensor(value) and value.shape == ids.shape:
                filler = torch.full_like(tail, fill.get(key, 0), dtype=value.dtype)
                continued[key] = torch.cat([value[:, :kept], filler], dim=1)
        return continued

    def _log_probs(self, views: Sequence[Recovered], jobs: Sequence[Job]) -> Iterator[tuple[int, Array]]:
        for i, job in enumerate(jobs):
            inputs = self._continued(self._inputs(views[job.view], job.prompt), job.context)
            inputs.pop("labels", None)  # some processors add them for training
            logits = self.model(**inputs).logits[0, -len(job.context) - 1 :]
            yield i, logits.float().log_softmax(-1).cpu().numpy()

    def _generate(
        self, views: Sequence[Recovered], prompts: Sequence[tuple[int, str]], limit: int
    ) -> list[str]:
        texts = []
        for view, text in prompts:
            inputs = self._inputs(views[view], text)
            inputs.pop("labels", None)
            prompt = inputs["input_ids"][0].tolist() if not self.model.config.is_encoder_decoder else []
            out = self.model.generate(**inputs, max_new_tokens=limit, **self._greedy)[0].tolist()
            # the prompt comes back in front of the answer; BLIP swaps its first token and drops its last
            same = 1
            while same < min(len(prompt), len(out)) and out[same] == prompt[same]:
                same += 1
            texts.append(self.words.decode(out[same:] if prompt else out))
        return texts
