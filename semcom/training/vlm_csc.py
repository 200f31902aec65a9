"""Recipe of the text codec of VLM-CSC: captions over AWGN and Rayleigh fading, every row at an SNR of its own.

The paper trains in three stages, whose first has no formula; here all parts are trained together, with the cross
entropy of the words alone. The decoder is not told any word of the sentence, so what is measured is what is received.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

import channels
from semcom import pretrained, stats
from semcom.data import language
from semcom.systems.semantic.text_jscc import PAD, SPECIAL, TextJSCC, split
from semcom.training import common, loop
from semcom.training.caption_model import captions

STEPS, BATCH, RATE, SEED = 1600, 64, 2e-3, 1
SNR_DB = (-6.0, 16.0)
FEEDBACK = 0.5  # share of the rows whose transmitter knows the SNR; the others' expects a random one
CAPTIONS, PICTURES, FRESH = 50_000, 4096, 200  # sentences; pictures that another model describes
CONTENT = frozenset((*language.COLORS, *language.SHAPES, *language.POSITIONS))


def train(
    out: Path | None = None, device: str = "cpu", steps: int | None = None, vlm: str = "embedded"
) -> Path:
    """Train into ``out``; ``vlm`` is the model whose captions are sent."""
    folder, steps = out or common.WEIGHTS / "vlm-csc", steps or STEPS
    sentences, fresh = corpus(vlm, device)
    config: dict[str, Any] = {"words": vocabulary(sentences), "length": 40, "symbols": 1, "width": 64}
    config |= {"layers": 2, "heads": 4}
    torch.manual_seed(SEED)
    codec = TextJSCC(**config)
    minutes = fit(folder, codec.to(device), numbers(codec, sentences), steps)
    recipe = {
        "command": "semcom train vlm-csc" + ("" if vlm == "embedded" else f" --vlm {vlm}"),
        "data": f"{len(sentences)} captions"
        + (" of scenes/train" if vlm == "embedded" else f" by {vlm} of scenes/train"),
        "channel": f"awgn and rayleigh (coherence 1) in turn, {SNR_DB[0]:g} to {SNR_DB[1]:g} dB a row",
        "steps": steps,
        "batch": BATCH,
        "seed": SEED,
        "minutes": round(minutes, 1),
    }
    return loop.finish(folder, codec, config, recipe, lambda: scores(folder, fresh))


def corpus(vlm: str, device: str = "cpu") -> tuple[list[str], list[str]]:
    """Captions to learn from and fresh ones: the standard ones of scenes, or what another model says of them."""
    if vlm == "embedded":
        return captions("train", CAPTIONS), captions("test", 1000)
    from semcom.data.scenes import draw_scenes, render
    from semcom.types import Recovered
    from semcom.vlm import load_generative

    model = load_generative(vlm, device)

    def described(split: str, count: int) -> list[str]:
        pictures = render(draw_scenes(split, np.arange(count)))
        return model.caption([Recovered(image=picture) for picture in pictures])

    return described("train", PICTURES), described("test", FRESH)


def vocabulary(sentences: Sequence[str]) -> list[str]:
    """All words, in alphabetical order."""
    return sorted({word for sentence in sentences for word in split(sentence)})


def numbers(codec: TextJSCC, sentences: Sequence[str]) -> Tensor:
    """Word numbers, [n, length] int64."""
    return torch.tensor([codec.vocabulary.ids(sentence, codec.length) for sentence in sentences])


def fit(
    folder: Path,
    codec: TextJSCC,
    ids: Tensor,
    steps: int,
    snr_db: tuple[float, float] = SNR_DB,
    over: Sequence[str] = ("awgn", "rayleigh"),
    feedback: float = FEEDBACK,
    batch: int = BATCH,
    rate: float = RATE,
    seed: int = SEED,
) -> float:
    """Train ``codec`` on sentences ``ids`` [n, length] over the channels ``over`` in turn; returns the minutes."""
    device = next(codec.parameters()).device

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = ids[torch.from_numpy(rng.integers(len(ids), size=batch))].to(device)
        snr = rng.uniform(*snr_db, batch)
        expected = np.where(rng.random(batch) < feedback, snr, rng.uniform(*snr_db, batch))
        name = over[step % len(over)]
        logits = through(codec, rows, name, snr, expected, rng.integers(2**63, size=batch).tolist())
        value = cross_entropy(logits, rows)
        return value, {"loss": value.item()}

    return loop.learn(folder, codec, loss, steps, rate, seed)


def cross_entropy(logits: Tensor, ids: Tensor) -> Tensor:
    """Of the words of each sentence and the first PAD after them."""
    counted = torch.cat([torch.ones_like(ids[:, :1], dtype=torch.bool), ids[:, :-1] != PAD], 1)
    return F.cross_entropy(logits[counted], ids[counted])


def through(
    codec: TextJSCC,
    ids: Tensor,
    channel: str,
    snr_db: NDArray[np.float64],
    expected_db: NDArray[np.float64],
    seeds: Sequence[int],
) -> Tensor:
    """Logits of what is received, [batch, length, numbers]; the transmitter expects the SNRs ``expected_db``."""
    air = channels.create(channel, **({"coherence": 1} if channel == "rayleigh" else {}))
    sent = codec.encode(ids, torch.from_numpy(expected_db).float().to(ids.device)[:, None])
    received, noise_var = air(sent, snr_db, list(seeds), power="trust")
    return codec.decode(received, noise_var.to(ids.device))


@torch.no_grad()
def right(
    codec: TextJSCC,
    ids: Tensor,
    channel: str,
    snr_db: float,
    expected_db: float | None = None,
    seed: int = 0,
    words: frozenset[str] = CONTENT,
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether each content word of the sentences is received in its place, and which sentence each one is of.

    :param expected_db: what the transmitter expects; ``snr_db`` when left out.
    :param words: the content words.
    """
    snr = np.full(len(ids), float(snr_db))
    expected = np.full(len(ids), float(snr_db if expected_db is None else expected_db))
    seeds = [seed * 1_000_003 + i for i in range(len(ids))]
    read = through(codec, ids, channel, snr, expected, seeds).argmax(2)
    content = torch.tensor([False, False, *(word in words for word in codec.vocabulary.words)])
    counted = content[ids]
    return (read == ids)[counted].numpy(), counted.nonzero()[:, 0].numpy()


def scores(folder: Path, sentences: Sequence[str]) -> dict[str, Any]:
    """Shares of words that are received, with 95 % intervals; the transmitter expects 5 dB, as the system's does."""
    codec = pretrained.load(folder, lambda config: TextJSCC(**config))
    ids, known = numbers(codec, sentences), codec.vocabulary.words
    said = frozenset(known[i - SPECIAL] for i in ids.unique().tolist() if i >= SPECIAL)
    if not said:  # another VLM may stay silent
        return {"captions": len(sentences), "words": "none"}
    words = CONTENT & said or said
    kind = "colours, shapes and positions" if CONTENT & said else "all"
    result: dict[str, Any] = {"captions": len(sentences), "words": kind}
    for channel in ("awgn", "rayleigh"):
        for snr_db in (-5, 0, 5, 10):
            hits, sentence = right(codec, ids, channel, snr_db, expected_db=5, words=words)
            mean, low, high = stats.interval(hits, sentence.tolist(), binary=True)
            result[f"{channel} {snr_db} dB"] = {
                "score": round(mean, 4),
                "95 % interval": [round(low, 4), round(high, 4)],
                "n": len(hits),
            }
    return result
