"""Recipe of the embedded generative VLM: a small Llama on the dual encoder's frozen vision tower.

Three things make it learn in minutes: several questions share one image (``packing``); the attention at content words
is taught, early on, to look at the patches of the objects they name; and question types that are still weak are asked
more often. Visual tokens are dropped, pooled, quantised or made noisy, texts replace images, and some questions come
with nothing at all, so that every kind of reception is in distribution.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from semcom.data import language
from semcom.data.language import COLORS, POSITIONS, QUESTION_TYPES, SHAPES
from semcom.data.scenes import draw_scenes, render, truth
from semcom.training import common, dense
from semcom.training.packing import Pack, Segment, caption_segment, pack, question_segment, said_of
from semcom.types import Question

BATCH = 96
TEXT_SHARE = 0.35  # rows of text (or nothing) for each row with an image
RATE = 1.5e-3
STEPS = 3250
DEGRADED = 0.3
QUESTIONS = 6
GRID = 8
SAVE_EVERY = 100
KINDS = (*QUESTION_TYPES, "class")
LOOKING_HEADS = 2
# For content words; for the word where the answer is read; for that word when it must know another object first.
LOOKING_LAYERS = ((0, 1), (2, 3), (3,))


def train(out: Path | None = None, device: str = "cpu", steps: int | None = None, workers: int = 2) -> Path:
    """Train into ``out``, on the shipped dual encoder; a checkpoint there lets a killed run go on."""
    from semcom.training.evaluate import score_generative

    dual = common.WEIGHTS / "dual-encoder"
    return common.run_recipe(
        "generative",
        out,
        prepare=lambda folder: prepare(folder, dual),
        train=_train,
        score=lambda folder: score_generative(folder, dual),
        device=device,
        steps=steps or STEPS,
        workers=workers,
        batch=BATCH,
        data=f"{DEGRADED:.0%} degraded, {QUESTIONS} questions each",
    )


def prepare(folder: Path, dual: Path) -> None:
    """Write the untrained model on the dual encoder's tower, and the statistics of its visual tokens."""
    from semcom.vlm.build import new_generative

    new_generative(folder, dual, language.words(), seed=1)
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    images = render(draw_scenes("train", np.arange(10**6, 10**6 + 1024)))
    with torch.inference_mode():
        tokens = _tower(model, common.pixels(images, *common.normalisation(folder))).flatten(0, 1)
    save_file({"mean": tokens.mean(0), "scale": tokens.std(0)}, folder / "token_stats.safetensors")


def _tower(model: LlavaForConditionalGeneration, x: torch.Tensor) -> torch.Tensor:
    """Visual tokens before the projector, ``[B, 64, d]``."""
    return model.model.vision_tower(x).last_hidden_state[:, 1:].float()


def impair(tokens: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised visual tokens ``[B, n, d]`` as a link would leave them, and which of the ``n`` slots are filled."""
    b, n, _ = tokens.shape
    tokens = tokens.clone()
    kept = torch.ones(b, n, dtype=torch.bool)
    for i in range(b):
        choice = rng.random()
        if 0.35 < choice <= 0.65:  # pruned, at random or evenly
            k = int(rng.choice([2, 4, 8, 12, 16, 24, 32, 48]))
            chosen = (
                rng.permutation(n)[:k]
                if rng.random() < 0.6
                else (np.arange(k) * n // k + rng.integers(n)) % n
            )
            kept[i] = False
            kept[i, torch.from_numpy(chosen)] = True
        elif 0.65 < choice <= 0.75:  # neighbours averaged
            rows, columns = ((8, 4), (4, 4), (2, 4), (2, 2))[int(rng.integers(4))]
            grid = tokens[i].T.reshape(-1, GRID, GRID)
            pooled = F.adaptive_avg_pool2d(grid, (rows, columns)).flatten(1).T
            tokens[i, : len(pooled)] = pooled
            kept[i, len(pooled) :] = False
        choice = rng.random()
        if choice < 0.3:  # analog noise
            sigma = 10 ** (-rng.uniform(-6, 20) / 20)
            noise = torch.from_numpy(rng.standard_normal(tokens[i].shape, dtype=np.float32)) * sigma
            # The receiver's LMMSE factor, as the analog link applies it.
            tokens[i] = (tokens[i] + noise) / (1 + sigma**2)
        elif choice < 0.5:  # coarse quantisation
            step = float(rng.choice([0.1, 0.35, 1.0, 1.6]))
            tokens[i] = ((tokens[i] / step).floor() + 0.5).clamp(-3 / step, 3 / step) * step
    return tokens, kept


class Trainer:
    """One worker: model, data stream and losses."""

    def __init__(self, folder: Path, device: str, rank: int, workers: int) -> None:
        from safetensors.torch import load_file

        torch.manual_seed(1)
        # Eager attention returns the weights that the supervision needs, and is faster here in bfloat16.
        self.model = LlavaForConditionalGeneration.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32
        ).to(device)
        self.model.model.vision_tower.requires_grad_(False)
        self.vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
        stats = load_file(folder / "token_stats.safetensors")
        self.mean, self.scale = stats["mean"].to(device), stats["scale"].to(device)
        self.normalisation = common.normalisation(folder)
        self.device, self.rank, self.workers = device, rank, workers
        self.accuracy = np.full(len(KINDS), 0.3)

    def ask(self, scene: language.Scene, rng: np.random.Generator, of_text: bool = False) -> list[Question]:
        """Questions of distinct texts: of images, weak types more often; of a text, what it determines."""
        main = scene["objects"][0]
        label = Question(language.LABEL_QUESTION, f"{main['color']} {main['shape']}", "class")
        pool = {q.text: q for q in [label, *language.questions(scene, rng), *language.questions(scene, rng)]}
        asked = list(pool.values())
        if of_text:
            weight = np.array([0.25 if q.type in language.NOT_IN_CAPTION else 1.0 for q in asked])
        else:
            weight = np.array([(1.05 - self.accuracy[KINDS.index(q.type)]) ** 1.5 for q in asked])
        chosen = rng.choice(len(asked), min(QUESTIONS, len(asked)), replace=False, p=weight / weight.sum())
        return [asked[i] for i in chosen]

    def batch(
        self, index: int, rows: int, rng: np.random.Generator
    ) -> tuple[Pack, Pack, torch.Tensor, dict[str, NDArray]]:
        """Rows with images, rows of text, visual tokens, and what each patch shows."""
        count = rows + int(rows * TEXT_SHARE)
        scenes = draw_scenes("train", index * count + np.arange(count))
        graphs = [truth(scenes, i) for i in range(count)]
        # ``truth`` sorts the objects into caption order; patches are owned by the drawing order.
        order = [
            [0, *(1 + np.argsort(scenes.cell[i, 1 : scenes.count[i]], kind="stable"))] for i in range(count)
        ]
        pictured: list[list[Segment]] = []
        for graph in graphs[:rows]:
            segments = [question_segment(q, graph, self.vocabulary) for q in self.ask(graph, rng)]
            pictured.append([*segments, caption_segment(language.caption(graph), self.vocabulary)])
        slots = [self.vocabulary["<bos>"]] + [self.vocabulary["<image>"]] * GRID**2
        texts, prefixes = [], []
        for graph in graphs[rows:]:
            said = language.caption(graph, int(rng.choice(4, p=[0.7, 0.1, 0.1, 0.1]))).split()
            u = rng.random()
            if u < 0.15:
                said = []  # a blind guess
            elif u < 0.3:
                said = said[: int(rng.integers(1, len(said) + 1))]  # a caption cut short by its budget
            prefixes.append([self.vocabulary[w] for w in ["<bos>", *said]])
            row = [question_segment(q, graph, self.vocabulary) for q in self.ask(graph, rng, bool(said))]
            if not said:
                row.append(caption_segment(language.caption(graph), self.vocabulary))
            texts.append(row)
        with_images = pack([slots] * rows, pictured, KINDS)
        with_texts = pack(prefixes, texts, KINDS)
        images = common.degrade(render(_head(scenes, rows)), rng, DEGRADED)
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16):
            tokens = _tower(self.model, common.pixels(images, *self.normalisation).to(self.device))
        owner = dense.owners(scenes, GRID)[:rows]
        place = {i: {int(j): k for k, j in enumerate(order[i])} for i in range(rows)}
        owner = np.array([[place[i].get(int(j), -1) for j in owner[i]] for i in range(rows)])
        words = {number: word for word, number in self.vocabulary.items()}
        spoken = said_of([[words[i] for i in prefix[1:]] for prefix in prefixes])
        about = {"owner": owner, "scene": np.array(graphs[:rows], dtype=object), "spoken": spoken}
        about["told"] = np.array(graphs[rows:], dtype=object)
        return with_images, with_texts, tokens, about

    def forward(
        self, p: Pack, tokens: torch.Tensor | None, kept: torch.Tensor | None
    ) -> tuple[torch.Tensor, Any, torch.Tensor | None]:
        """Logits at the learnt positions, the language model's output, and projected visual tokens."""
        llama = self.model.model.language_model
        x = llama.embed_tokens(p.ids.to(self.device))
        allowed, position, projected = p.allowed, p.position, None
        if tokens is not None and kept is not None:
            n = kept.shape[1]
            projected = self.model.model.multi_modal_projector(tokens)
            x = torch.cat([x[:, :1], projected.to(x.dtype), x[:, 1 + n :]], dim=1)
            columns = torch.ones_like(p.ids, dtype=torch.bool)
            columns[:, 1 : 1 + n] = kept
            eye = torch.eye(p.ids.shape[1], dtype=torch.bool)
            allowed = (allowed & columns[:, None, :]) | eye
            # Kept tokens are renumbered without gaps, as the receiver does.
            position = position.clone()
            position[:, 1 : 1 + n] = kept.cumsum(1).clamp(min=1)
            position[:, 1 + n :] -= (~kept).sum(1, keepdim=True) * p.segment_start[:, 1 + n :]
        mask = (
            torch.zeros(allowed.shape)
            .masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None]
            .to(self.device)
        )
        out = llama(
            inputs_embeds=x,
            attention_mask=mask,
            position_ids=position.to(self.device),
            output_attentions=True,
            output_hidden_states=True,
            use_cache=False,
        )
        at = p.learn.to(self.device)
        logits = self.model.lm_head(out.last_hidden_state[at[:, 0], at[:, 1]]).float()
        return logits, out, projected

    def step(self, number: int, rows: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss of one batch."""
        rng = np.random.Generator(np.random.Philox(key=[12, number * self.workers + self.rank]))
        pictured, written, tokens, about = self.batch(number * self.workers + self.rank, rows, rng)
        kept = torch.ones(rows, GRID**2, dtype=torch.bool)
        if progress > 0.15:
            standard, kept = impair(((tokens - self.mean) / self.scale).cpu(), rng)
            tokens = standard.to(self.device) * self.scale + self.mean
        with torch.autocast(self.device, torch.bfloat16):
            logits, out, projected = self.forward(pictured, tokens, kept)
            text_logits, text_out, _ = self.forward(written, None, None)
        loss_image, right = self._cross_entropy(logits, pictured)
        loss_text, _ = self._cross_entropy(text_logits, written)
        self._follow(right, pictured)
        whole = torch.from_numpy(about["owner"])
        clean = kept.all(1)
        assert projected is not None
        align = self._align(projected.float(), whole, about["scene"], clean)
        spoken = torch.from_numpy(about["spoken"])
        look = self._look(out.attentions, pictured, whole, kept)
        look = look + 0.5 * self._look(
            text_out.attentions, written, spoken, torch.ones_like(spoken, dtype=torch.bool)
        )
        place = self._place(out.hidden_states, pictured, whole, about["scene"])
        place = place + 0.5 * self._place(text_out.hidden_states, written, spoken, about["told"])
        fade = float(np.clip((0.95 - progress) / 0.4, 0, 1))
        loss = loss_image + 0.8 * loss_text + 0.3 * align + 0.2 * fade * look + 0.15 * place
        shown = {
            "image": loss_image.item(),
            "text": loss_text.item(),
            "align": align.item(),
            "look": look.item(),
            "place": place.item(),
        }
        return loss, shown

    def _cross_entropy(self, logits: torch.Tensor, p: Pack) -> tuple[torch.Tensor, torch.Tensor]:
        target, weight = p.learn[:, 2].to(self.device), p.weight.to(self.device)
        loss = (F.cross_entropy(logits, target, reduction="none") * weight).sum() / weight.sum()
        return loss, (logits.argmax(1) == target).cpu()

    def _follow(self, right: torch.Tensor, p: Pack) -> None:
        """Running accuracy of each question type on the training stream."""
        kinds = p.learn[:, 3]
        for kind in range(len(KINDS)):
            chosen = kinds == kind
            if chosen.any():
                self.accuracy[kind] += 0.03 * (right[chosen].float().mean().item() - self.accuracy[kind])

    def _align(
        self, projected: torch.Tensor, owner: torch.Tensor, graphs: NDArray, clean: torch.Tensor
    ) -> torch.Tensor:
        """A projected patch should resemble the words for what it shows: cross-entropy against word embeddings."""
        rows, patches = torch.nonzero((owner >= 0) & clean[:, None], as_tuple=True)
        if len(rows) == 0:
            return projected.sum() * 0
        objects = [
            graphs[r]["objects"][j] for r, j in zip(rows.tolist(), owner[rows, patches].tolist(), strict=True)
        ]
        features = projected[rows.to(self.device), patches.to(self.device)]
        losses = []
        for field, names in (("color", COLORS), ("shape", SHAPES), ("position", POSITIONS)):
            table = self.model.model.language_model.embed_tokens.weight[[self.vocabulary[n] for n in names]]
            target = torch.tensor([names.index(o[field]) for o in objects], device=self.device)
            similar = F.normalize(features, dim=-1) @ F.normalize(table, dim=-1).T
            losses.append(F.cross_entropy(12 * similar, target))
        return torch.stack(losses).mean()

    def _place(self, hidden: Any, p: Pack, owner: torch.Tensor, graphs: NDArray) -> torch.Tensor:
        """Where is it? After the looking layers, the word for an object should resemble the word for its place."""
        known = [
            (b, i, POSITIONS.index(graphs[b]["objects"][objects[0]]["position"]))
            for b, i, group, objects in p.looks
            if group == 0 and len(objects) == 1 and bool((owner[b] == objects[0]).any())
        ]
        if not known:
            return torch.zeros((), device=self.device)
        b, i, target = torch.tensor(known).T.to(self.device)
        table = self.model.model.language_model.embed_tokens.weight[[self.vocabulary[n] for n in POSITIONS]]
        losses = []
        for layer in LOOKING_LAYERS[0]:
            features = F.normalize(hidden[layer + 1][b, i].float(), dim=-1)
            losses.append(F.cross_entropy(12 * features @ F.normalize(table, dim=-1).T, target))
        return torch.stack(losses).mean()

    def _look(self, attentions: Any, p: Pack, owner: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """-log of the attention mass on the prefix columns (patches, caption words) that a word is about."""
        losses = []
        for group, layers in enumerate(LOOKING_LAYERS):
            looks = [look for look in p.looks if look[2] == group]
            masks = [torch.isin(owner[b], torch.tensor(o)) & kept[b] for b, _, _, o in looks]
            usable = torch.tensor([bool(mask.any()) for mask in masks], dtype=torch.bool)
            if not usable.any():
                continue
            b = torch.tensor([look[0] for look in looks])[usable].to(self.device)
            i = torch.tensor([look[1] for look in looks])[usable].to(self.device)
            visible = torch.stack(masks)[usable].to(self.device)
            for layer in layers:
                mass = attentions[layer][b, :LOOKING_HEADS, i, 1 : 1 + kept.shape[1]].float()
                losses.append(-(mass * visible[:, None]).sum(-1).clamp(min=1e-6).log().mean())
        return torch.stack(losses).mean() if losses else torch.zeros((), device=self.device)


def _head(scenes: dense.SceneBatch, rows: int) -> dense.SceneBatch:
    """The first ``rows`` scenes of a batch."""
    fields = {name: value if name == "size" else value[:rows] for name, value in vars(scenes).items()}
    return dense.SceneBatch(**fields)


def _train(rank: int, workers: int, folder: Path, device: str, steps: int) -> None:
    trainer = Trainer(folder, device, rank, workers)
    model = trainer.model
    learnt = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learnt if p.ndim > 1], "weight_decay": 0.02},
        {"params": [p for p in learnt if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98))
    first = common.load_checkpoint(folder / "checkpoint.pt", model, optimizer)
    started = time.time()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * common.cosine(step, steps)
        loss, shown = trainer.step(step, BATCH // workers, step / steps)
        optimizer.zero_grad()
        loss.backward()
        common.average_gradients(learnt)
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        if rank == 0 and (step % 25 == 0 or step == steps - 1):
            speed = (step - first + 1) * BATCH / (time.time() - started)
            types = " ".join(f"{t} {a:.2f}" for t, a in zip(KINDS, trainer.accuracy, strict=True))
            losses = " ".join(f"{k} {v:.3f}" for k, v in shown.items())
            print(f"step {step} {losses} | {types} | {speed:.0f} images/s", flush=True)
        if rank == 0 and step % SAVE_EVERY == SAVE_EVERY - 1:
            common.save_checkpoint(folder / "checkpoint.pt", step + 1, model, optimizer)
    if rank == 0:
        common.save_checkpoint(folder / "checkpoint.pt", steps, model, optimizer)
        model.save_pretrained(folder)
