"""FastV against transformers' own attention weights (eager) and against masking instead of gathering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlavaForConditionalGeneration

from channels.errors import InputError
from semcom.types import Recovered
from semcom.vlm.fastv import FastV
from semcom.vlm.llava import Llava
from semcom.vlm.load import load_generative
from semcom.vlm.prompts import CAPTION
from semcom.vlm.quiet import quiet
from tests.vlm import tiny

QUESTIONS = ["what color is the circle ?", "how many ?", "what shape is the large red image at top-left ?"]
CLOSED = [tiny.COLORS, ["zero", "one", "two"], ["small circle", "small square", "large red circle", "yes"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.siglip_llava(tmp_path_factory.mktemp("fastv") / "llava", seed=3)


@pytest.fixture(scope="module")
def model(folder: Path) -> Llava:
    loaded = load_generative(str(folder))
    assert isinstance(loaded, Llava)
    return loaded


@pytest.fixture(scope="module")
def eager(folder: Path) -> Any:
    with quiet():
        return LlavaForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()


class Oracle:
    """FastV by brute force: all attention weights of the model, and masks where FastV gathers."""

    def __init__(self, eager: Any, model: Llava, layer: int, ratio: float) -> None:
        self.eager, self.model, self.layer, self.ratio = eager, model, layer, ratio

    @torch.no_grad()
    def logits(self, tokens: np.ndarray, question: str, said: list[int]) -> tuple[torch.Tensor, set[int]]:
        """Logits after the prompt and after each said token, and which visual tokens are kept."""
        n = len(tokens)
        ids = list(self.model.words.fitted(question, True, 100))
        place = ids.index(self.eager.config.image_token_id)
        ids = ids[:place] + [4] * n + ids[place + 1 :]
        prompt = len(ids)
        embeddings = self.eager.get_input_embeddings()(torch.tensor([ids + said])).clone()
        embeddings[0, place : place + n] = self.eager.model.multi_modal_projector(torch.from_numpy(tokens))
        language = self.eager.model.language_model
        weights = language(inputs_embeds=embeddings, output_attentions=True, use_cache=False).attentions
        scores = weights[self.layer - 1][0, :, prompt - 1, place : place + n].mean(0)
        count = max(1, int(np.round((1 - self.ratio) * n)))
        kept = set(scores.argsort(descending=True)[:count].tolist())
        mask = torch.full((len(ids + said),) * 2, -torch.inf).triu(1)
        dropped = [place + i for i in range(n) if i not in kept]
        masked = mask.clone()
        masked[:, dropped] = -torch.inf
        masked[dropped, dropped] = 0.0  # a dropped token sees something, so that softmax is defined
        hooks = [
            block.register_forward_pre_hook(
                lambda _, args, kwargs, m=m: (args, {**kwargs, "attention_mask": m[None, None]}),
                with_kwargs=True,
            )
            for i, block in enumerate(language.layers)
            for m in [masked if i >= self.layer else mask]
        ]
        hidden = language(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        for hook in hooks:
            hook.remove()
        return self.eager.lm_head(hidden[0, prompt - 1 :]), kept

    def score(self, tokens: np.ndarray, question: str, candidate: str) -> float:
        answer = list(self.model.words.candidate(candidate))
        log_probs = self.logits(tokens, question, answer[:-1])[0].log_softmax(-1)
        return float(sum(log_probs[i, token] for i, token in enumerate(answer)))

    def text(self, tokens: np.ndarray, question: str, limit: int) -> str:
        said: list[int] = []
        while len(said) < limit:
            logits = self.logits(tokens, question, said)[0][-1]
            logits[4] = -torch.inf
            if (token := int(logits.argmax())) == 3:
                break
            said.append(token)
        return self.model.words.decode(said)


def tokens_of(rng: np.random.Generator, *counts: int) -> list[np.ndarray]:
    return [rng.normal(size=(n, 32)).astype(np.float32) for n in counts]


def test_scores_equal_brute_force(model: Llava, eager: Any, rng: np.random.Generator) -> None:
    """Packed questions, several token counts and settings in one call; masking equals gathering."""
    seen, questions, candidates, truth = [], [], [], []
    for layer, ratio in ((1, 0.5), (2, 0.75), (2, 0.9)):
        oracle = Oracle(eager, model, layer, ratio)
        for tokens in tokens_of(rng, 16, 5, 1):
            view = Recovered(tokens=tokens, prune=(layer, ratio))
            for question, options in zip(QUESTIONS, CLOSED, strict=True):
                seen.append(view), questions.append(question), candidates.append(options)
                truth.append([oracle.score(tokens, question, option) for option in options])
    everything = [
        Recovered(tokens=view.tokens) for view in seen
    ]  # the same views unpruned, in the same batch
    results = model.scores([*seen, *everything], questions * 2, candidates * 2)
    for values, expected in zip(results[: len(seen)], truth, strict=True):
        np.testing.assert_allclose(values, expected, atol=2e-4)
    changed = [np.abs(a - b).max() for a, b in zip(results, results[len(seen) :], strict=False)]
    assert max(changed) > 0.01  # or pruning would have done nothing
    alone = model.scores(everything, questions, candidates)
    for a, b in zip(results[len(seen) :], alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_each_question_keeps_its_own(model: Llava, eager: Any, rng: np.random.Generator) -> None:
    """The kept set is the one of eager attention; questions differ in it."""
    sets = []
    for tokens in tokens_of(rng, 16, 16, 16, 16):
        for question in QUESTIONS:
            _, kept = Oracle(eager, model, 2, 0.75).logits(tokens, question, [])
            ids = torch.tensor([model._sequence(question, torch.from_numpy(tokens), 32)])
            with torch.no_grad():
                embeddings = model._embed(ids, model._projected([Recovered(tokens=tokens)]))
                fastv = FastV(model.model.model.language_model, 2, 0.75)
                n, slots = ids.shape[1], ids == 4
                _, keep = fastv._first(
                    embeddings,
                    torch.arange(n)[None],
                    torch.ones(1, n, n, dtype=torch.bool).tril(),
                    slots,
                    torch.tensor([0]),
                    torch.tensor([n - 1]),
                )
            assert set((keep & slots)[0, slots[0]].nonzero()[:, 0].tolist()) == kept and len(kept) == 4
            assert bool(keep[~slots].all())
            sets.append(frozenset(kept))
    assert len(set(sets)) > 4


def test_generation_equals_brute_force(model: Llava, eager: Any, rng: np.random.Generator) -> None:
    views, truth = [], []
    for layer, ratio in ((1, 0.5), (2, 0.8)):
        for tokens in tokens_of(rng, 16, 3):
            views.append(Recovered(tokens=tokens, prune=(layer, ratio)))
            truth.append(Oracle(eager, model, layer, ratio).text(tokens, CAPTION, 7))
    assert model.caption(views, max_new_tokens=7) == truth
    free = model.answer(views, QUESTIONS[:1] * 4, [()] * 4, max_new_tokens=3)
    oracles = [Oracle(eager, model, *v.prune) for v in views if v.prune]
    assert free == [
        o.text(v.tokens, QUESTIONS[0], 3) for o, v in zip(oracles, views, strict=True) if v.tokens is not None
    ]


def test_nothing_dropped_is_no_pruning(model: Llava, rng: np.random.Generator) -> None:
    image = tiny.picture(rng)
    for plain in (
        Recovered(image=image),
        *(Recovered(tokens=t) for t in tokens_of(rng, 16, 2)),
        Recovered(text="a red circle ."),
        Recovered(),
    ):
        pruned = Recovered(image=plain.image, tokens=plain.tokens, text=plain.text, prune=(2, 0.0))
        a = model.scores([plain] * 3, QUESTIONS, CLOSED)
        b = model.scores([pruned] * 3, QUESTIONS, CLOSED)
        for left, right in zip(a, b, strict=True):
            np.testing.assert_allclose(left, right, atol=1e-4)
        assert model.caption([plain], max_new_tokens=12) == model.caption([pruned], max_new_tokens=12)


def test_impossible_layers_are_named(model: Llava) -> None:
    view = Recovered(tokens=np.zeros((3, 32), np.float32), prune=(3, 0.5))
    with pytest.raises(InputError, match="layer: 3 is not from 1 to 2"):
        model.answer([view], QUESTIONS[:1], CLOSED[:1])
    with pytest.raises(InputError, match="3 layers"):
        model.caption([view])
