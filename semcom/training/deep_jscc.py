"""DeepJSCC on the scenes: one codec for each training SNR, for any number of groups."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semcom import stats, systems
from semcom.codecs.jscc import JSCC, STRIDE
from semcom.data.scenes import Scenes
from semcom.link import Link
from semcom.pretrained import WEIGHTS
from semcom.systems.base import System
from semcom.systems.baselines.deep_jscc import bank
from semcom.training import loop
from semcom.training.air import Air, draw_snr

TRAIN_SNR_DB = (0, 10, 20)
SHAPE = {"width": 48, "groups": 32}
STEPS = 1000  # for each codec
BATCH = 32
RATE = 2e-3
SIZE = 64  # of the pictures, in pixels
GRID = SIZE // STRIDE, SIZE // STRIDE
SCORED = 200  # pictures of the test split


def tensor(images: NDArray[np.uint8]) -> Tensor:
    """[batch, height, width, 3] bytes as [batch, 3, height, width] from 0 to 1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def objective(
    codec: JSCC, snr_db: tuple[float, float], matched: float = 1.0, device: str = "cpu"
) -> loop.Loss:
    """Mean squared error over AWGN, each row at its own SNR (uniform) and with its own number of groups (log-uniform).

    :param matched: the share of the rows whose transmitter knows the SNR; the others' assume an independent one.
    """
    _, images = loop.pool()
    air = Air()

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        x = tensor(images[rng.integers(0, len(images), BATCH)]).to(device)
        kept = torch.from_numpy(np.exp(rng.uniform(0, np.log(codec.groups + 1), BATCH)).astype(np.int64)).to(
            device
        )
        actual, other = (draw_snr(rng, BATCH, *snr_db).to(device) for _ in range(2))
        told = torch.where(torch.from_numpy(rng.random(BATCH) < matched).to(device), actual, other)
        values, noise_var = air(codec.encode(x, told), actual, rng, kept * GRID[0] * GRID[1])
        errors = (codec.decode(values, noise_var, kept, GRID) - x).square().mean((1, 2, 3))
        return errors.mean(), {"PSNR [dB]": float(-10 * errors.detach().log10().mean())}

    return loss


def fit(
    folder: Path,
    codec: JSCC,
    snr_db: tuple[float, float],
    steps: int,
    seed: int = 1,
    matched: float = 1.0,
    device: str = "cpu",
) -> float:
    """Train a codec from the best linear code at the middle of the SNRs; returns the minutes."""
    codec.start(tensor(loop.pool()[1][:2048]), sum(snr_db) / 2)
    codec.to(device)
    minutes = loop.learn(folder, codec, objective(codec, snr_db, matched, device), steps, RATE, seed)
    codec.cpu()
    return minutes


def psnr(
    system: System, link: Link, snr_db: float, channel_uses: int, images: Sequence[NDArray[np.uint8]]
) -> NDArray[np.float64]:
    """PSNR in dB of each image after the link, as its receiver sees it: 8 bits; grey in an outage."""
    messages = system.transmit(images, link.budget(channel_uses))
    receptions = link.send(messages, snr_db, list(range(len(images))))
    sizes = [(i.shape[0], i.shape[1]) for i in images]
    seen = [r.image for r in system.receive(receptions, sizes)]
    shown = [np.full_like(i, 128) if s is None else s for s, i in zip(seen, images, strict=True)]
    error = [np.mean((s / 255.0 - i / 255.0) ** 2) for s, i in zip(shown, images, strict=True)]
    return -10 * np.log10(np.maximum(error, 1e-10))


def mean_psnr(values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean of PSNRs with its 95 % interval, for a card."""
    mean, low, high = stats.interval(values / 100, range(len(values)), binary=False)
    return {
        "score": round(100 * mean, 2),
        "95 % interval": [round(100 * v, 2) for v in (low, high)],
        "n": len(values),
    }


def score(name: str, folder: Path, settings: Sequence[dict[str, float]]) -> dict[str, Any]:
    """For the card: PSNR of the shipped form of a system, and of its other settings at three SNRs."""
    data, link = Scenes("test", SCORED), Link("awgn")
    images = [data[i].image for i in range(SCORED)]

    def measure(options: dict[str, float], snr_db: float, uses: int) -> dict[str, Any]:
        system = systems.create(name, None, weights=str(folder.resolve()), **options)
        return mean_psnr(psnr(system, link, snr_db, uses, images))

    scores = {f"PSNR [dB], 10 dB, {uses} uses": measure({}, 10, uses) for uses in (128, 256, 1024, 2048)}
    for options in settings:
        label = ", ".join(f"{key} {value:g}" for key, value in options.items())
        scores |= {
            f"PSNR [dB], {snr:g} dB, 1024 uses, {label}": measure(options, snr, 1024)
            for snr in (-5, 0, 10, 20)
        }
    return scores


def recipe(name: str, steps: int, minutes: float, snr: str) -> dict[str, Any]:
    """For the card."""
    return {
        "command": f"semcom train {name}",
        "data": "scenes/train, the first 16384 images",
        "channel": f"AWGN, {snr}; number of groups log-uniform",
        "steps": steps,
        "batch": BATCH,
        "seed": 1,
        "minutes": round(minutes, 1),
    }


def train(out: Path | None = None, device: str = "cpu", steps: int | None = None) -> Path:
    """Train the codec of each SNR; ``steps`` for each."""
    torch.set_num_threads(1)
    folder, steps = out or WEIGHTS / "deep-jscc", steps or STEPS
    config = {**SHAPE, "train_snr_db": TRAIN_SNR_DB}
    torch.manual_seed(1)
    codecs, minutes = bank(config), 0.0
    parts = [folder / f"{snr}-dB" for snr in TRAIN_SNR_DB]
    for codec, snr, part in zip(codecs.values(), TRAIN_SNR_DB, parts, strict=True):
        assert isinstance(codec, JSCC)
        minutes += fit(part, codec, (snr, snr), steps, device=device)
    card = recipe("deep-jscc", 3 * steps, minutes, "0, 10 or 20 dB, a codec each")
    settings = [{"train_snr_db": float(snr)} for snr in TRAIN_SNR_DB]
    loop.finish(folder, codecs, config, card, lambda: score("deep-jscc", folder, settings))
    for part in parts:
        shutil.rmtree(part)
    return folder
