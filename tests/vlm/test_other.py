"""Models whose inside is not known, against their own forward pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from channels.errors import InputError
from semcom.types import Recovered
from semcom.vlm.load import load_generative
from semcom.vlm.other import GREY, ImageTextModel
from semcom.vlm.prompts import CAPTION, chat, in_context
from tests.vlm import tiny

QUESTION = "what color is the circle ?"
CANDIDATES = ["red", "blue", "dark green", "dark blue"]


def oracle(model: ImageTextModel, item: Recovered, question: str, answer: list[int]) -> torch.Tensor:
    """Logits before each answer token and after the last, with inputs put together by hand."""
    text = in_context(item.text, question) if item.text is not None else question
    tokenizer, processor = model.processor.tokenizer, model.processor
    if model.model.config.model_type == "blip":
        pixels = processor.image_processor([GREY if item.image is None else item.image], return_tensors="pt")
        ids = [2, *tokenizer(text, add_special_tokens=False).input_ids]
        inputs = {"pixel_values": pixels["pixel_values"]}
    else:
        prompt = processor.apply_chat_template(
            chat(text, item.image is not None), add_generation_prompt=True, tokenize=False
        )
        inputs, ids = {}, tokenizer(prompt.replace("<image>", "<image>" * 16)).input_ids
        if item.image is not None:
            inputs["pixel_values"] = processor.image_processor([item.image], return_tensors="pt")[
                "pixel_values"
            ]
    with torch.no_grad():
        logits = model.model(input_ids=torch.tensor([ids + answer]), **inputs).logits
    return logits[0, len(ids) - 1 :]


@pytest.mark.parametrize("family", ["vipllava", "blip"])
def test_likelihood_and_generation(family: str, folders: dict[str, Path], rng: np.random.Generator) -> None:
    model = load_generative(str(folders[family]))
    assert isinstance(model, ImageTextModel)
    seen = [Recovered(image=tiny.picture(rng)), Recovered(text="a red circle"), Recovered()]
    scores = model.scores(seen, [QUESTION] * 3, [CANDIDATES] * 3)
    for item, values in zip(seen, scores, strict=True):
        for value, candidate in zip(values, CANDIDATES, strict=True):
            answer = model.processor.tokenizer(candidate, add_special_tokens=False).input_ids
            log_probs = oracle(model, item, QUESTION, answer).log_softmax(-1)
            assert value == pytest.approx(sum(float(log_probs[t, a]) for t, a in enumerate(answer)), abs=1e-4)
    answers = model.answer(seen, [QUESTION] * 3, [CANDIDATES] * 3)
    assert answers == [CANDIDATES[int(v.argmax())] for v in scores]
    for item, caption in zip(seen, model.caption(seen, max_new_tokens=5), strict=True):
        said: list[int] = []
        while len(said) < 5 and (not said or said[-1] != 3):
            logits = oracle(model, item, CAPTION, said)[-1]
            if family == "vipllava":
                logits[4] = -torch.inf  # <image> is never said
            said.append(int(logits.argmax()))
        assert caption == " ".join(model.processor.tokenizer.decode(said, skip_special_tokens=True).split())


def test_no_visual_tokens(folders: dict[str, Path], rng: np.random.Generator) -> None:
    model = load_generative(str(folders["vipllava"]))
    with pytest.raises(InputError, match="no visual tokens"):
        model.visual_tokens([tiny.picture(rng)])
    with pytest.raises(InputError, match="cannot be asked"):
        model.answer([Recovered(tokens=np.zeros((2, 32), np.float32))], [QUESTION], [CANDIDATES])
