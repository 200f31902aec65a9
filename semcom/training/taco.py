"""Recipe of TACO's encoder: the image codec's analysis transform with a text adapter; all else of the codec is frozen.

Half of the images come with a caption, half with a question about them. A caption of everything tells a good encoder
nothing that the image does not; a question does, and teaches it to listen.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate, normalize

from semcom import tasks
from semcom.codecs.hyperprior import Hyperprior
from semcom.codecs.hyperprior import load as load_codec
from semcom.codecs.learned import Encodings
from semcom.data import language
from semcom.data.language import COLORS, SHAPES
from semcom.data.scenes import SceneBatch, Scenes, truth
from semcom.systems.base import Models
from semcom.systems.vlm_guided.encoder import TextGuidedEncoder, text_width, token_states
from semcom.systems.vlm_guided.taco import codec_mark, load
from semcom.training import common, dense, evaluate, loop
from semcom.training.image_codec import LAGRANGE, lagrange
from semcom.types import Image, Recovered
from semcom.vlm.load import load_dual_encoder

STEPS, BATCH, RATE = 600, 24, 7e-4
PIXELS, FEATURES, NAMED, JOINT = 0.5, 0.5, 3.0, 0.02  # weights of the losses beside the rate
GROUND = 1.0  # of the throw-away heads
BUDGETS = (64, 96, 144)  # bytes, of the card
CONTRAST, PULL = (
    14.3,
    40.0,
)  # logit scale e^2.6592 of the contrastive loss; weight of the distance of embeddings
Floats = NDArray[np.float64]
GRID = 8  # the losses look at the image in so many rows and columns


class Eyes:
    """The frozen vision tower of a dual encoder, for gradients with respect to pixels."""

    def __init__(self, dual: Any) -> None:
        self.model = copy.deepcopy(dual.model).requires_grad_(False).eval()
        self.model.set_attn_implementation("eager")  # under bfloat16 twice as fast here as the fused kernel
        self.size = int(self.model.config.vision_config.image_size)
        of = dual.processor.image_processor
        self.mean, self.std = (
            torch.tensor(v, device=self.model.device).view(3, 1, 1) for v in (of.image_mean, of.image_std)
        )

    def __call__(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Patch features of all layers, ``[B, width, rows, columns]`` each, and unit-norm embeddings [B, dim]."""
        if images.shape[-1] != self.size or images.shape[-2] != self.size:
            images = interpolate(images, (self.size, self.size), mode="bicubic", antialias=True)
        with torch.autocast(images.device.type, torch.bfloat16):
            seen = self.model.get_image_features(
                pixel_values=(images - self.mean) / self.std, output_hidden_states=True
            )
        side = self.size // int(self.model.config.vision_config.patch_size)
        features = [
            h[:, -side * side :].float().mT.unflatten(2, (side, side)) for h in seen.hidden_states[1:]
        ]
        return features, normalize(seen.pooler_output.float(), dim=-1)


def said(scenes: SceneBatch, rows: Sequence[int], rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """For each scene the text that guides, a caption or a question of a random type, and a caption."""
    texts, captions = [], []
    for row in rows:
        scene = truth(scenes, row)
        captions.append(language.caption(scene, int(rng.integers(len(language.PHRASINGS)))))
        asked = language.questions(scene, rng)
        question = asked[int(rng.integers(len(asked)))].text
        texts.append(captions[-1] if rng.random() < 0.5 else question)
    return texts, captions


def named(scenes: SceneBatch, owners: NDArray[np.int64], rows: Sequence[int], texts: Sequence[str]) -> Tensor:
    """Which patches show what a text is about, ``[B, GRID, GRID]`` of 0 and 1.

    Objects whose colour or shape it names; every object where it names none ("how many objects ..."); and what shows
    no object where it names the background. ``owners``: of all scenes (:func:`semcom.training.dense.owners`).
    """
    found = np.zeros((len(rows), GRID * GRID), np.float32)
    for i, (row, text) in enumerate(zip(rows, texts, strict=True)):
        words, all_ = set(text.split()), range(int(scenes.count[row]))
        about = [
            j for j in all_ if COLORS[scenes.color[row, j]] in words or SHAPES[scenes.shape[row, j]] in words
        ]
        found[i] = owners[row] < 0 if "background" in words else np.isin(owners[row], about or list(all_))
    return torch.from_numpy(found.reshape(-1, GRID, GRID))


def distance(seen: Sequence[Tensor], true: Sequence[Tensor]) -> Tensor:
    """``[B, GRID, GRID]``: squared differences over their channel's variance, mean of channels and layers."""
    maps = []
    for a, b in zip(seen, true, strict=True):
        error = ((a - b).square() / b.var((0, 2, 3), keepdim=True)).mean(1, keepdim=True)
        maps.append(torch.nn.functional.adaptive_avg_pool2d(error, GRID)[:, 0])
    return torch.stack(maps).mean(0)


class Trainee(torch.nn.Module):
    """The encoder, and throw-away heads that say from what each injector found in the text whether it names a place.

    Without them the text stays unheard: gamma starts at 0, so that the attention learns nothing until gamma moves,
    which it does not while the attention finds nothing.
    """

    def __init__(self, encoder: TextGuidedEncoder) -> None:
        super().__init__()
        self.encoder, self.found = encoder, dict[str, Tensor]()
        injectors = {"first": encoder.adapter.first, "second": encoder.adapter.second}
        self.heads = torch.nn.ModuleDict({k: torch.nn.Linear(len(i.gamma), 1) for k, i in injectors.items()})
        self.hooks = [i.attention.register_forward_hook(partial(self._keep, k)) for k, i in injectors.items()]

    def _keep(self, name: str, module: torch.nn.Module, given: Any, out: Any) -> None:
        self.found[name] = out[0]

    def grounding(self, mask: Tensor, shape: tuple[int, int]) -> Tensor:
        """Cross-entropy of the heads against ``mask`` ``[B, GRID, GRID]``, for latents of ``shape``."""
        losses = []
        for name, factor in (("first", 2), ("second", 1)):
            logit = self.heads[name](self.found[name].float())[..., 0].unflatten(
                1, [factor * n for n in shape]
            )
            logit = torch.nn.functional.adaptive_avg_pool2d(logit, GRID)
            losses.append(torch.nn.functional.binary_cross_entropy_with_logits(logit, mask))
        return torch.stack(losses).sum()


def guide(
    folder: Path, codec: Hyperprior, dual: Any, steps: int, seed: int = 1, text: bool = True
) -> tuple[TextGuidedEncoder, float]:
    """A trained encoder and the minutes it took.

    :param text: false for the control: same networks, images and losses, but the encoder is given empty texts
    """
    device, eyes = codec.log_gain.device, Eyes(dual)
    torch.manual_seed(seed)
    encoder = TextGuidedEncoder(codec, text_width(dual)).to(device)
    trainee = Trainee(encoder).to(device)
    codec = copy.deepcopy(codec).train().requires_grad_(False)
    scenes, images = loop.pool()
    owners = dense.owners(scenes, GRID)

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = rng.integers(0, len(images), BATCH).tolist()
        texts, captions = said(scenes, rows, rng)
        mask = named(scenes, owners, rows, texts).to(device)
        x = torch.from_numpy(images[rows]).to(device).permute(0, 3, 1, 2).float() / 255
        rate = torch.from_numpy((codec.rates * rng.random(BATCH) ** 2).astype(np.int64)).to(device)
        states, padding = token_states(dual, texts if text else [""] * BATCH)
        with torch.no_grad():
            true, embedding = eyes(x)
            words = torch.from_numpy(dual.embed_texts(captions)).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            gain = codec.gain(rate)
            y, bits = codec.round(encoder(x, states, padding) * gain, rate)
            decoded = codec.synthesise(y / gain)
        weight = lagrange(rate, codec.rates)
        mse = 255**2 * (decoded - x).square().mean((1, 2, 3))
        cost = bits / (x.shape[2] * x.shape[3]) + PIXELS * weight * mse
        fidelity = (  # as the codec was trained: all rates weigh alike
            cost * (LAGRANGE[1] / weight).sqrt()
        ).mean()
        seen, shown = eyes(decoded)
        error_map = distance(seen, true)
        about = (error_map * mask).sum((1, 2)) / mask.sum((1, 2)).clamp_min(1)
        similar = CONTRAST * shown @ words.T
        here = torch.arange(BATCH, device=device)
        contrast = (cross_entropy(similar, here) + cross_entropy(similar.T, here)) / 2
        joint = contrast + PULL * (shown - embedding).norm(dim=1).mean()
        total = fidelity + FEATURES * error_map.mean() + NAMED * about.mean() + JOINT * joint
        ground = trainee.grounding(mask, (y.shape[2], y.shape[3]))
        total = total + GROUND * ground
        return total, {
            "rd": fidelity.item(),
            "bytes": bits.mean().item() / 8,
            "mse": mse.mean().item(),
            "map": error_map.mean().item(),
            "named": about.mean().item(),
            "joint": joint.item(),
            "ground": ground.item(),
            "gamma": encoder.adapter.first.gamma.detach().abs().mean().item(),
        }

    minutes = loop.learn(folder, trainee, loss, steps, RATE, seed)
    for hook in trainee.hooks:
        hook.remove()
    return encoder, minutes


def train(
    out: Path | None = None, device: str = "cpu", steps: int | None = None, vlm: str = "embedded"
) -> Path:
    """Train for the dual encoder ``vlm``, on the shipped image codec, into ``out``."""
    folder, steps = out or common.WEIGHTS / "taco", steps or STEPS
    torch.set_num_threads(1)
    dual, codec = load_dual_encoder(vlm, device), load_codec().to(device)
    encoder, minutes = guide(folder, codec, dual, steps)
    recipe = {
        "command": "semcom train taco" + (f" --vlm {vlm}" if vlm != "embedded" else ""),
        "data": f"scenes/train, the first {len(loop.pool()[1])}, half with a caption, half with a question",
        "steps": steps,
        "batch": BATCH,
        "rate": RATE,
        "seed": 1,
        "weights of losses": {
            "pixels": PIXELS,
            "features": FEATURES,
            "of what is named": NAMED,
            "joint": JOINT,
        },
        "minutes": round(minutes, 1),
    }
    return loop.finish(
        folder, encoder, config(codec, dual), recipe, lambda: scores(folder, codec.cpu(), dual)
    )


def config(codec: Hyperprior, dual: Any) -> dict[str, Any]:
    """What the weights belong to."""
    return {"dual": dual.fingerprint, "codec": codec_mark(codec)}


@dataclass(frozen=True, eq=False)
class Seen:
    """What a receiver has of some images under one budget."""

    recovered: list[Recovered]
    sizes: Floats  # bytes of each; 0 for an outage
    psnr: Floats  # dB; NaN for an outage


def receive(codec: Hyperprior, encodings: Sequence[Encodings], images: Sequence[Image], room: int) -> Seen:
    """The best of each image's ``encodings`` in ``room`` bytes, decoded."""
    recovered, sizes, psnr = [], [], []
    for one, image in zip(encodings, images, strict=True):
        code = one.best(room) or b""
        shown = codec.decompress([code], (image.shape[0], image.shape[1]))[0] if code else None
        recovered.append(Recovered(image=shown))
        sizes.append(len(code))
        error = np.nan if shown is None else ((image.astype(float) - shown) ** 2).mean()
        psnr.append(20 * np.log10(255) - 10 * np.log10(max(error, 1e-9)))
    return Seen(recovered, np.array(sizes, float), np.array(psnr))


def guided(
    codec: Hyperprior, encoder: TextGuidedEncoder, dual: Any, images: Sequence[Image], texts: Sequence[str]
) -> list[Encodings]:
    """The encodings of images under one text each."""
    states = (token_states(dual, [text])[0] for text in texts)
    return [Encodings(codec, encoder.latent_of(i, s)) for i, s in zip(images, states, strict=True)]


def scores(folder: Path, codec: Hyperprior, dual: Any, count: int = 300) -> dict[str, Any]:
    """At some budgets, against the codec without text: bytes, PSNR, and VQA accuracy of what captions name."""
    models = Models(dual=dual)
    data = Scenes("test", count)
    drawn = data.batch(0, count)
    images, captions = [s.image for s in drawn], models.describe([s.image for s in drawn])
    encoder, task = load(str(folder), codec, dual), tasks.create("vqa", models, data)
    rows = {
        "image-codec": [Encodings(codec, codec.latent_of(image)) for image in images],
        "taco": guided(codec, encoder, dual, images, captions),
        "taco, captions of other images": guided(codec, encoder, dual, images, captions[1:] + captions[:1]),
        "taco, empty captions": guided(codec, encoder, dual, images, [""] * count),
    }
    named_ = {(s.id, q.text) for s in drawn for q in s.questions if q.in_caption}
    card: dict[str, Any] = {}
    for room in BUDGETS:
        for name, encodings in rows.items():
            seen = receive(codec, encodings, images, room)
            row = evaluate.score_seen(task, drawn, seen.recovered, named_)
            row |= {
                "mean bytes": round(float(seen.sizes.mean()), 1),
                "psnr_db": round(float(np.nanmean(seen.psnr)), 2),
            }
            card.setdefault(f"{room} bytes", {})[name] = row
    return card
