"""Recipe of the learned image codec: one network for all rates, each row of a batch at its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semcom.codecs.hyperprior import Hyperprior, load
from semcom.data.scenes import draw_scenes, render
from semcom.training import common, loop

STEPS, BATCH, RATE = 5000, 32, 1e-3
CONFIG = {"width": 48, "latent": 48, "hyper": 8, "knots": 8}
LAGRANGE = (1.2e-4, 2e-2)  # of the lowest and the highest rate: distortion in bits a pixel


def lagrange(rate: Tensor, rates: int) -> Tensor:
    """What a unit of mean square error (pixels 0 to 255) costs at each rate, in bits a pixel."""
    low, high = LAGRANGE
    return low * (high / low) ** (rate / (rates - 1))


def batch(images: NDArray[np.uint8], rng: np.random.Generator, device: str) -> Tensor:
    """``[BATCH, 3, H, W]``, values 0 to 1, of random images and orientations."""
    chosen = images[rng.integers(0, len(images), BATCH)]
    chosen = chosen[:, :, ::-1] if rng.random() < 0.5 else chosen
    chosen = chosen.transpose(0, 2, 1, 3) if rng.random() < 0.5 else chosen
    x = torch.from_numpy(np.ascontiguousarray(chosen)).to(device).permute(0, 3, 1, 2).float() / 255
    return x.contiguous(memory_format=torch.channels_last)


def rate_distortion(codec: Hyperprior, images: Tensor, rate: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The loss of one batch, and what to show of it.

    Rate + lambda distortion, each row divided by the square root of its lambda: all rates weigh about the same.
    """
    with torch.autocast(images.device.type, torch.bfloat16):
        decoded, bits = codec(images, rate)
    error = 255**2 * (decoded - images).square().mean((1, 2, 3))
    weight = lagrange(rate, codec.rates)
    pixels = images.shape[2] * images.shape[3]
    loss = ((bits / pixels + weight * error) * (LAGRANGE[1] / weight).sqrt()).mean()
    return loss, {"loss": loss.item(), "bytes": bits.mean().item() / 8, "mse": error.mean().item()}


def train(out: Path | None = None, device: str = "cpu", steps: int | None = None) -> Path:
    """Train on scenes into ``out``."""
    folder, steps = out or common.WEIGHTS / "image-codec", steps or STEPS
    torch.manual_seed(1)
    codec = Hyperprior(**CONFIG).to(device)
    codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = loop.pool()[1]

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        rate = torch.from_numpy(rng.integers(0, codec.rates, BATCH)).to(device)
        return rate_distortion(codec, batch(images, rng, device), rate)

    minutes = loop.learn(folder, codec, loss, steps, RATE)
    codec.freeze()
    recipe = {
        "command": "semcom train image-codec",
        "data": f"scenes/train, {steps * BATCH} of {len(images)} images, flipped and turned",
        "steps": steps,
        "batch": BATCH,
        "seed": 1,
        "lambda": list(LAGRANGE),
        "minutes": round(minutes, 1),
    }
    return loop.finish(folder, codec, CONFIG, recipe, lambda: scores(folder))


def scores(folder: Path, count: int = 300) -> dict[str, Any]:
    """At every fourth rate: bytes of real codes, the model's own estimate of them, and PSNR, over test scenes."""
    codec = load(str(folder))
    images = render(draw_scenes("test", np.arange(count)))
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    found: dict[str, Any] = {"n": count}
    for rate in [*range(0, codec.rates, 4), codec.rates - 1]:
        with torch.inference_mode():
            bits = torch.cat([codec(part, torch.full((len(part),), rate))[1] for part in x.split(50)])
        codes = codec.compress(list(images), rate)
        decoded = codec.decompress(codes, (images.shape[1], images.shape[2]))
        sizes = np.array([len(code) for code in codes])
        psnr = [_psnr(a, b) for a, b in zip(images, decoded, strict=True) if b is not None]
        half = 1.96 * float(np.std(psnr, ddof=1)) / len(psnr) ** 0.5
        found[f"rate {rate}"] = {
            "bytes": round(float(sizes.mean()), 1),
            "estimated bytes": round(float(bits.mean()) / 8, 1),
            "psnr_db": round(float(np.mean(psnr)), 2),
            "interval": [round(float(np.mean(psnr)) - half, 2), round(float(np.mean(psnr)) + half, 2)],
        }
    return found


def _psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(20 * np.log10(255) - 10 * np.log10(((a.astype(float) - b) ** 2).mean()))
