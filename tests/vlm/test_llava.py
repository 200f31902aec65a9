"""LLaVA: answers and captions against transformers' own forward pass and a greedy loop written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from channels.errors import InputError
from semcom.types import Recovered
from semcom.vlm.llava import Llava
from semcom.vlm.load import load_generative
from semcom.vlm.prompts import CAPTION, chat, in_context
from semcom.vlm.quiet import quiet
from tests.vlm import tiny

QUESTIONS = [
    "what color is the circle ?",
    "where is the small square ?",
    "how many ?",
    "what shape is the large red image at top-left ?",
]
CLOSED = [
    tiny.COLORS,
    tiny.PLACES,
    ["zero", "one", "two"],
    ["small circle", "small square", "large red circle", "yes"],
]


def oracle_logits(model: Llava, item: Recovered, question: str, answer: list[int]) -> torch.Tensor:
    """Logits before each of the answer's tokens and after the last, by the model's own forward pass."""
    text = in_context(item.text, question) if item.text is not None else question
    held = item.image is not None or item.tokens is not None
    rendered = model.processor.apply_chat_template(
        chat(text, held), add_generation_prompt=True, tokenize=False
    )
    if item.image is not None:
        inputs = dict(model.processor(images=[item.image], text=[rendered], return_tensors="pt"))
    else:
        count = len(item.tokens) if item.tokens is not None else 0
        inputs = dict(
            model.processor.tokenizer(rendered.replace("<image>", "<image>" * count), return_tensors="pt")
        )
    prompt = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([answer], dtype=torch.long)], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if item.tokens is not None:
        embeddings = model.model.get_input_embeddings()(inputs.pop("input_ids"))
        with torch.no_grad():
            embeddings[0, 1 : 1 + len(item.tokens)] = model.model.model.multi_modal_projector(
                torch.from_numpy(item.tokens)
            )
        inputs["inputs_embeds"] = embeddings
    with torch.no_grad():
        return model.model(**inputs).logits[0, prompt - 1 :]


def oracle_score(model: Llava, item: Recovered, question: str, candidate: str, end: bool = False) -> float:
    answer = model.processor.tokenizer(candidate).input_ids + [3] * end
    log_probs = oracle_logits(model, item, question, answer).log_softmax(-1)
    return float(sum(log_probs[t, token] for t, token in enumerate(answer)))


def oracle_text(model: Llava, item: Recovered, question: str, limit: int) -> str:
    said: list[int] = []
    while len(said) < limit:
        logits = oracle_logits(model, item, question, said)[-1]
        logits[4] = -torch.inf  # <image> is never said
        token = int(logits.argmax())
        if token == 3:
            break
        said.append(token)
    return " ".join(model.processor.tokenizer.decode(said, skip_special_tokens=True).split())


def everything(model: Llava, rng: np.random.Generator) -> list[Recovered]:
    """Each kind that is understood, images of two sizes, tokens of several counts."""
    tokens = rng.normal(size=(16, model.token_dim)).astype(np.float32)
    return [
        Recovered(image=tiny.picture(rng)),
        Recovered(image=tiny.picture(rng, 40, 25)),
        *(Recovered(tokens=tokens[:k]) for k in (1, 5, 16)),
        Recovered(text="a red circle at top-left , a small square ."),
        Recovered(text=""),
        Recovered(),
    ]


def test_scores_equal_one_by_one(llava: Llava, rng: np.random.Generator) -> None:
    """Everything at once, packed and padded, equals transformers' forward pass for each candidate alone."""
    seen, questions, candidates = [], [], []
    for item in everything(llava, rng):
        for question, options in zip(QUESTIONS, CLOSED, strict=True):
            seen.append(item), questions.append(question), candidates.append(options)
    for order in (range(len(seen)), rng.permutation(len(seen))):
        results = llava.scores(
            [seen[i] for i in order], [questions[i] for i in order], [candidates[i] for i in order]
        )
        for i, values in zip(order, results, strict=True):
            truth = [oracle_score(llava, seen[i], questions[i], c) for c in candidates[i]]
            np.testing.assert_allclose(values, truth, atol=1e-4)
    answers = llava.answer(seen, questions, candidates)
    scores = llava.scores(seen, questions, candidates)
    assert answers == [options[int(v.argmax())] for options, v in zip(candidates, scores, strict=True)]
    # what is seen matters to this random model, or the comparison above would show little
    assert np.ptp([scores[i] for i in range(0, len(seen), 4)], axis=0).max() > 0.3


def test_a_batch_equals_one_at_a_time(llava: Llava, rng: np.random.Generator) -> None:
    things = everything(llava, rng)
    seen = [things[i] for i in rng.integers(0, len(things), 32)]
    picks = rng.integers(0, len(QUESTIONS), 32)
    questions, candidates = [QUESTIONS[i] for i in picks], [CLOSED[i] for i in picks]
    together = llava.scores(seen, questions, candidates)
    for i in range(32):
        [alone] = llava.scores(seen[i : i + 1], questions[i : i + 1], candidates[i : i + 1])
        np.testing.assert_allclose(together[i], alone, atol=1e-4)


def test_a_candidate_that_begins_another_can_lose(llava: Llava, rng: np.random.Generator) -> None:
    item = Recovered(image=tiny.picture(rng))
    options = ["red", "red circle", "blue"]
    [values] = llava.scores([item], QUESTIONS[:1], [options])
    truth = [oracle_score(llava, item, QUESTIONS[0], option, end=True) for option in options]
    np.testing.assert_allclose(values, truth, atol=1e-4)


def test_generation_equals_a_greedy_loop(llava: Llava, rng: np.random.Generator) -> None:
    seen = everything(llava, rng)
    assert llava.caption(seen, max_new_tokens=6) == [oracle_text(llava, item, CAPTION, 6) for item in seen]
    questions = [QUESTIONS[i % 4] for i in range(len(seen))]
    free = llava.answer(seen, questions, [()] * len(seen), max_new_tokens=4)
    assert free == [oracle_text(llava, item, q, 4) for item, q in zip(seen, questions, strict=True)]


def test_open_and_closed_questions_together(llava: Llava, rng: np.random.Generator) -> None:
    item = Recovered(image=tiny.picture(rng))
    mixed = llava.answer([item] * 3, QUESTIONS[:3], [tiny.COLORS, [], CLOSED[2]], max_new_tokens=3)
    assert mixed[0] in tiny.COLORS and mixed[2] in CLOSED[2]
    assert mixed[1] == llava.answer([item], QUESTIONS[1:2], [[]], max_new_tokens=3)[0]
    assert llava.answer([], [], []) == llava.caption([]) == []


def test_visual_tokens_are_the_towers_and_lead_to_the_same_answer(
    llava: Llava, folders: dict[str, Path], rng: np.random.Generator
) -> None:
    images = [tiny.picture(rng), tiny.picture(rng, 50, 20)]
    with quiet(), torch.no_grad():
        model = LlavaForConditionalGeneration.from_pretrained(folders["llava"])
        pixels = AutoProcessor.from_pretrained(folders["llava"]).image_processor(images, return_tensors="pt")
        truth = model.model.vision_tower(**pixels, output_hidden_states=True).hidden_states[-1][:, 1:]
    tokens = llava.visual_tokens(images)
    assert llava.token_dim == 32 and [t.shape for t in tokens] == [(16, 32)] * 2
    np.testing.assert_allclose(np.stack(tokens), truth.numpy(), atol=1e-4)
    for image, token in zip(images, tokens, strict=True):
        [a] = llava.scores([Recovered(image=image)], QUESTIONS[:1], CLOSED[:1])
        [b] = llava.scores([Recovered(tokens=token)], QUESTIONS[:1], CLOSED[:1])
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_noise_that_is_not_a_number_becomes_the_mean(llava: Llava, rng: np.random.Generator) -> None:
    tokens = rng.normal(size=(4, 32)).astype(np.float32)
    broken, repaired = tokens.copy(), tokens.copy()
    broken[0], broken[1, 3], broken[2, 5] = np.nan, np.inf, -np.inf
    repaired[0], repaired[1, 3], repaired[2, 5] = llava.token_mean, llava.token_mean[3], llava.token_mean[5]
    a, b, wild, double = llava.scores(
        [
            Recovered(tokens=broken),
            Recovered(tokens=repaired),
            Recovered(tokens=np.full((2, 32), 3e38, np.float32)),
            Recovered(tokens=np.full((2, 32), 1e300)),
        ],
        QUESTIONS[:1] * 4,
        CLOSED[:1] * 4,
    )
    np.testing.assert_allclose(a, b, atol=1e-5)
    assert np.isfinite(wild).all() and np.isfinite(double).all()


def test_no_tokens_are_nothing(llava: Llava) -> None:
    none = Recovered(tokens=np.zeros((0, 32), np.float32))
    a, b = llava.scores([none, Recovered()], QUESTIONS[:1] * 2, CLOSED[:1] * 2)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "item",
    [
        Recovered(embedding=np.zeros(16, np.float32)),
        Recovered(answer="red"),
        Recovered(tokens=np.zeros((3, 31), np.float32)),
        Recovered(tokens=np.zeros(32, np.float32)),
        Recovered(image=np.zeros((4, 4), np.uint8)),
    ],
)
def test_what_cannot_be_asked_is_named(llava: Llava, item: Recovered) -> None:
    with pytest.raises(InputError):
        llava.answer([item], QUESTIONS[:1], CLOSED[:1])
    with pytest.raises(InputError):
        llava.caption([item])


def test_unusable_questions_are_named(llava: Llava) -> None:
    with pytest.raises(InputError, match="candidate"):
        llava.answer([Recovered()], ["how many ?"], [["one", " "]])
    with pytest.raises(InputError, match="equally many"):
        llava.answer([Recovered()], ["how many ?"] * 2, [["one"]])


@pytest.mark.parametrize(
    "attack", ["<image>", "<eos>", "<IMAGE>", "<im<image>age>", "<bos> <pad>", "<image>" * 600]
)
def test_received_text_cannot_inject_special_tokens(llava: Llava, attack: str) -> None:
    text = f"a red {attack} circle"
    words = llava.words
    for image in (False, True):
        ids = words.fitted(in_context(text, QUESTIONS[0]), image, 400)
        assert ids.count(words.tokenizer.convert_tokens_to_ids("<image>")) == image
        assert 3 not in ids and ids.count(2) <= 1 and 0 not in ids
    a, b = llava.scores(
        [Recovered(text=text), Recovered(text="a red circle")], QUESTIONS[:1] * 2, CLOSED[:1] * 2
    )
    if attack != "<im<image>age>":  # this one leaves its halves behind as words
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert llava.answer([Recovered()], [f"{attack} {QUESTIONS[0]}"], CLOSED[:1])[0] in CLOSED[0]
    assert llava.scores([Recovered()], QUESTIONS[:1], [[f"{attack} red"]])[0].shape == (1,)


def test_received_text_may_be_anything(llava: Llava, rng: np.random.Generator) -> None:
    """Random bytes, lone surrogates and a megabyte end in an answer; the question survives the cut."""
    junk = bytes(rng.integers(0, 256, 3000, dtype=np.uint8)).decode("utf-8", "surrogateescape")
    seen = [Recovered(text=t) for t in (junk, "\ud800\x00", "red " * 250_000, "." * 1_000_000)]
    assert set(llava.answer(seen, QUESTIONS[:1] * 4, CLOSED[:1] * 4)) <= set(CLOSED[0])
    assert len(llava.caption(seen, max_new_tokens=2)) == 4
    tail = llava.words.ids(llava.words.prompt(QUESTIONS[0], image=False))[1:]
    cut = llava.words.fitted(in_context("red " * 250_000, QUESTIONS[0]), False, 100)
    assert 50 < len(cut) <= 100 and cut[-len(tail) :] == tail


def test_equal_things_are_computed_once(
    llava: Llava, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tiny.picture(rng)
    counted: list[int] = []
    original = Llava._features
    monkeypatch.setattr(
        Llava, "_features", lambda self, images: counted.append(len(images)) or original(self, images)
    )
    seen = [Recovered(image=image), Recovered(image=image.copy())] * 3
    first = llava.answer(seen, QUESTIONS[:3] * 2, CLOSED[:3] * 2)
    assert counted == [1] and first[:3] == first[3:]


def test_multi_layer_and_full_features_are_served(
    folders: dict[str, Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    """vision_feature_layer as a list, and strategy 'full' (class token kept), as in some checkpoints."""
    with quiet():
        base = LlavaForConditionalGeneration.from_pretrained(folders["llava"])
        config = base.config
        config.vision_feature_layer, config.vision_feature_select_strategy = [-2, -1], "full"
        torch.manual_seed(int(rng.integers(2**31)))
        LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
        processor = AutoProcessor.from_pretrained(folders["llava"])
        processor.vision_feature_select_strategy = "full"
        processor.save_pretrained(tmp_path)
    model = load_generative(str(tmp_path))
    assert isinstance(model, Llava) and model.token_dim == 64
    item = Recovered(image=tiny.picture(rng))
    assert model.visual_tokens([item.image])[0].shape == (17, 64)
    [values] = model.scores([item], QUESTIONS[:1], CLOSED[:1])
    np.testing.assert_allclose(
        values, [oracle_score(model, item, QUESTIONS[0], c) for c in CLOSED[0]], atol=1e-4
    )
