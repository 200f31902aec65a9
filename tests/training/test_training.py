"""The recipes' exact parts: packing equals asking one by one, gradients are averaged, a killed run goes on."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import numpy as np
import pytest
import torch

from semcom.data import language
from semcom.data.scenes import draw_scenes, truth
from semcom.training import common, dense, dual_encoder, evaluate, generative, packing


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An untrained dual encoder and a generative model on its tower."""
    from semcom.vlm.build import new_dual_encoder

    root = tmp_path_factory.mktemp("weights")
    new_dual_encoder(root / "dual", language.words(), hidden=32, layers=2, heads=2, text_hidden=32, seed=3)
    (root / "generative").mkdir()
    generative.prepare(root / "generative", root / "dual")
    return root / "dual", root / "generative"


def test_patches_are_owned_by_what_they_show() -> None:
    scenes = draw_scenes("val", secrets.randbelow(10**6) + np.arange(200))
    owner, pitch = dense.owners(scenes, 8), 8.0
    for i in range(200):
        for j in range(scenes.count[i]):
            patch = int(scenes.y[i, j] // pitch) * 8 + int(scenes.x[i, j] // pitch)
            assert (
                owner[i, patch] == j
            )  # cells are farther apart than any radius, so centres are never covered
        shown = {int(k) for k in owner[i]} - {-1}
        assert shown == set(range(scenes.count[i]))


def test_packed_questions_equal_single_questions(folders: tuple[Path, Path]) -> None:
    """The block mask: each answer's logits are those of the question asked alone, also when tokens were dropped."""
    trainer = generative.Trainer(folders[1], "cpu", 0, 1)
    trainer.model.eval()
    rng = np.random.default_rng(seed := secrets.randbelow(10**6))
    scenes = draw_scenes("train", np.arange(seed, seed + 3))
    graphs = [truth(scenes, i) for i in range(3)]
    rows = [
        [packing.question_segment(q, g, trainer.vocabulary) for q in trainer.ask(g, rng)]
        + [packing.caption_segment(language.caption(g), trainer.vocabulary)]
        for g in graphs
    ]
    prefix = [trainer.vocabulary["<bos>"]] + [trainer.vocabulary["<image>"]] * 64
    packed = packing.pack([prefix] * 3, rows, generative.KINDS)
    tokens = torch.from_numpy(rng.standard_normal((3, 64, 32), dtype=np.float32))
    kept = torch.from_numpy(rng.random((3, 64)) < 0.5)
    kept[:, 5] = True
    with torch.inference_mode():
        together, _, projected = trainer.forward(packed, tokens, kept)
        assert projected is not None
        n = 0
        for b, row in enumerate(rows):
            for segment in row:
                # The plain way: only the kept tokens, no mask, positions counted from zero.
                ids = torch.tensor(segment.ids)[None]
                embed = trainer.model.model.language_model.embed_tokens
                x = torch.cat(
                    [embed(torch.tensor([[prefix[0]]])), projected[b : b + 1, kept[b]], embed(ids)], dim=1
                )
                alone = trainer.model(inputs_embeds=x).logits[0]
                for position, _, _ in segment.learn:
                    expected = alone[1 + int(kept[b].sum()) + position]
                    torch.testing.assert_close(together[n], expected, atol=2e-4, rtol=1e-3)
                    n += 1
        assert n == len(together)


def test_attention_is_taught_the_objects_that_words_name() -> None:
    scene = {"texture": "plain", "objects": []}
    for color, shape, cell in (("red", "circle", 0), ("blue", "star", 4), ("red", "star", 8)):
        scene["objects"].append({"color": color, "shape": shape, "cell": cell})
    vocabulary = {w: i for i, w in enumerate([*language.words(), "<eos>"])}

    def looks(text: str, answer: str, kind: str) -> list[tuple[str, int, list[int]]]:
        from semcom.types import Question

        words = [*text.split(), "answer", ":"]
        segment = packing.question_segment(Question(text, answer, kind), scene, vocabulary)
        return [(words[i], group, objects) for i, group, objects in segment.looks]

    assert looks("how many red objects are there ?", "2", "count") == [("red", 0, [0, 2])]
    assert looks("how many objects are there ?", "3", "count") == [("objects", 0, [0, 1, 2])]
    assert looks("what color is the circle ?", "red", "color") == [("circle", 0, [0]), (":", 1, [0])]
    assert looks("is the red star below the blue star ?", "yes", "relation") == [
        ("star", 0, [2]),
        ("star", 0, [1]),
    ]
    hop = looks("what shape is the object right of the blue star ?", "star", "two-hop")
    assert hop == [("star", 0, [1]), (":", 2, [2])]
    assert looks("is there a green dome ?", "no", "existence") == []


def test_impairments_keep_clean_rows_clean() -> None:
    rng = np.random.default_rng(secrets.randbelow(10**6))
    tokens = torch.from_numpy(rng.standard_normal((200, 64, 8), dtype=np.float32))
    out, kept = generative.impair(tokens, rng)
    assert out.isfinite().all() and kept.any(1).all()
    clean = (out == tokens).all(2).all(1) & kept.all(1)
    # 60 % of the rows are whole, half of them without noise or quantisation; within 5 standard deviations
    assert abs(clean.float().mean() - 0.3) < 5 * (0.3 * 0.7 / 200) ** 0.5


def _two_workers(rank: int, workers: int, path: Path) -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.full((3,), float(rank + 1))
    common.average_gradients([parameter])
    (path / f"{rank}").write_text(str(parameter.grad.tolist()))


def test_gradients_are_averaged_over_workers(tmp_path: Path) -> None:
    common.launch(_two_workers, 2, tmp_path)
    assert [(tmp_path / f"{r}").read_text() for r in (0, 1)] == ["[1.5, 1.5, 1.5]"] * 2


def test_recipe_trains_resumes_and_writes_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "SAMPLES", 100)
    monkeypatch.setattr(dual_encoder, "BATCH", 16)
    straight = dual_encoder.train(tmp_path / "straight", steps=4, workers=1)
    card = json.loads((straight / "card.json").read_text())
    assert card["recipe"]["steps"] == 4 and card["scores"]["retrieval"]["test"]["n"] == 100
    assert not (straight / "checkpoint.pt").exists()

    from semcom.vlm.build import new_dual_encoder

    resumed = tmp_path / "resumed"
    new_dual_encoder(resumed, language.words(), seed=1)

    class Killed(Exception):
        pass

    schedule = common.cosine

    def dies(step: int, steps: int) -> float:
        if step == 2:
            raise Killed
        return schedule(step, steps)

    monkeypatch.setattr(dual_encoder, "SAVE_EVERY", 2)
    monkeypatch.setattr(common, "cosine", dies)
    with pytest.raises(Killed):
        dual_encoder._train(0, 1, resumed, "cpu", 4)
    monkeypatch.setattr(common, "cosine", schedule)
    dual_encoder.train(resumed, steps=4, workers=1)
    assert (resumed / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()


def test_generative_recipe_writes_a_loadable_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semcom.vlm.load import load_generative

    monkeypatch.setattr(evaluate, "SAMPLES", 6)
    monkeypatch.setattr(generative, "BATCH", 6)
    folder = generative.train(tmp_path / "generative", steps=2, workers=1)
    scores = json.loads((folder / "card.json").read_text())["scores"]
    assert set(scores["vqa"]) == set(evaluate.SPLITS) and 0 <= scores["vqa"]["test"]["score"] <= 1
    assert load_generative(str(folder)).caption([evaluate.nothing(None)])  # type: ignore[arg-type]
