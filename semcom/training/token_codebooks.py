"""Codebooks for the visual tokens of a vision-language model: k-means on the tokens of training scenes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semcom import systems, tasks
from semcom.codecs.product import ProductQuantiser
from semcom.codecs.quantise import standardise
from semcom.data.scenes import Scenes
from semcom.link import Link
from semcom.systems.base import Models
from semcom.systems.token_compression.codebooks import Codebooks
from semcom.training import common, evaluate, loop
from semcom.vlm.base import GenerativeVLM
from semcom.vlm.load import load_generative

PARTS, BITS = 8, 8
IMAGES, TOKENS, ROUNDS = 2000, 20_000, 25
SCORED, USES = 300, (256, 512, 1024, 2048, 4096)  # images and channel uses of the card
MCS: dict[str, Any] = {"modulation": "qpsk", "code_rate": 0.5}
SNR_DB = 20.0  # every packet arrives


def train(
    out: Path | None = None, device: str = "cpu", steps: int | None = None, vlm: str = "embedded"
) -> Path:
    """Codebooks for the generative model ``vlm`` into ``out``; ``steps`` are rounds of Lloyd's algorithm."""
    torch.set_num_threads(1)
    folder, rounds = out or common.WEIGHTS / "token-codebooks", steps or ROUNDS
    model, started = load_generative(vlm, device), time.time()
    quantiser = fit(model, rounds)
    codebooks = Codebooks(PARTS, BITS, model.token_dim)
    codebooks.words, codebooks.rotation = map(torch.from_numpy, (quantiser.codebooks, quantiser.rotation))
    recipe = {
        "command": " ".join(
            ["semcom train token-codebooks", *([f"--vlm {vlm}"] if vlm != "embedded" else [])]
        ),
        "data": f"{TOKENS} visual tokens of the first {IMAGES} images of scenes/train",
        "rounds of Lloyd's algorithm": rounds,
        "seed": 1,
        "minutes": round((time.time() - started) / 60, 1),
    }
    config = {"vlm": model.fingerprint, "parts": PARTS, "bits": BITS}
    return loop.finish(folder, codebooks, config, recipe, lambda: scores(folder, model))


def fit(model: GenerativeVLM, rounds: int) -> ProductQuantiser:
    """For the standardised visual tokens of training scenes."""
    tokens = np.concatenate(model.visual_tokens(list(loop.pool()[1][:IMAGES])))
    some = tokens[np.random.default_rng(1).permutation(len(tokens))[:TOKENS]]
    units = standardise(some, model.token_mean, model.token_scale)
    return ProductQuantiser.fit(units, PARTS, BITS, seed=1, rounds=rounds, rotate=True)


def scores(folder: Path, model: GenerativeVLM) -> dict[str, Any]:
    """VQA accuracy on test scenes of the tokens that fit into some channel uses: codewords, and one bit a number."""
    data, link, models = Scenes("test", SCORED), Link("awgn", **MCS), Models(generative=model)
    drawn, task = data.batch(0, SCORED), tasks.create("vqa", models, data)
    images = [s.image for s in drawn]
    card: dict[str, Any] = {}
    for uses in USES:
        for name, options in (
            ("codewords", {"weights": str(folder.absolute())}),
            ("1 bit a number", {"bits": 1}),
        ):
            system = systems.create("visual-tokens", models, **options)
            received = link.send(system.transmit(images, link.budget(uses)), SNR_DB, list(range(SCORED)))
            seen = system.receive(received, [(i.shape[0], i.shape[1]) for i in images])
            card[f"vqa, {uses} uses, {name}"] = evaluate.score_seen(task, drawn, seen)
    return card
