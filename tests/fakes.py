"""Small deterministic stand-ins: images, vision-language models, a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage

from semcom.types import Image, Message, Recovered
from semcom.vlm.base import Array

NAMES = ("red", "green", "blue")


def smooth_image(rng: np.random.Generator, size: tuple[int, int] = (64, 64), grain: float = 3.0) -> Image:
    """A random smooth picture with a little noise."""
    knots = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    blown = PillowImage.fromarray(knots).resize((size[1], size[0]), PillowImage.Resampling.BICUBIC)
    noisy = np.asarray(blown, np.float64) + rng.normal(0, grain, (*size, 3))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def psnr(a: Image, b: Image) -> float:
    """In dB."""
    error = float(np.mean((a.astype(float) - b) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


class FakeDual:
    """Embeds an image as a fixed random projection of its 4 x 4 thumbnail."""

    name = fingerprint = "fake"

    def __init__(self, dim: int = 32) -> None:
        self.dim = dim
        self.calls = 0
        self._matrix = np.random.default_rng(0).normal(size=(48, dim))

    def embed_images(self, images: Sequence[Image]) -> Array:
        self.calls += 1
        small = [PillowImage.fromarray(i).resize((4, 4), PillowImage.Resampling.BOX) for i in images]
        x = np.stack([np.asarray(s, np.float64).ravel() - 128 for s in small]) @ self._matrix
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    def embed_texts(self, texts: Sequence[str]) -> Array:
        x = np.stack([np.random.default_rng(len(t)).normal(size=self.dim) for t in texts])
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


class FakeVLM:
    """Sees the mean colour: visual tokens are a random map of the image's grid of cells, captions name a channel."""

    name = fingerprint = "fake"

    def __init__(self, dim: int = 16, grid: int = 4) -> None:
        self.token_dim, self.grid = dim, grid
        self.calls = 0
        rng = np.random.default_rng(1)
        self.token_mean = rng.normal(0, 2, dim).astype(np.float32)
        self.token_scale = rng.uniform(0.5, 3, dim).astype(np.float32)
        self._matrix = rng.normal(size=(3, dim)) / np.sqrt(3)

    def visual_tokens(self, images: Sequence[Image]) -> list[Array]:
        self.calls += 1
        size = (self.grid, self.grid)
        cells = [PillowImage.fromarray(i).resize(size, PillowImage.Resampling.BOX) for i in images]
        unit = [(np.asarray(c, np.float64).reshape(-1, 3) - 128) / 40 for c in cells]
        return [(self.token_mean + self.token_scale * (u @ self._matrix)).astype(np.float32) for u in unit]

    def caption(self, seen: Sequence[Recovered]) -> list[str]:
        return [f"a mostly {self._name(s)} picture of {self._name(s)} things ." for s in seen]

    def answer(
        self, seen: Sequence[Recovered], questions: Sequence[str], candidates: Sequence[Sequence[str]]
    ) -> list[str]:
        named = [self._name(s) for s in seen]
        return [n if n in c or not c else c[0] for n, c in zip(named, candidates, strict=True)]

    @staticmethod
    def _name(seen: Recovered) -> str:
        return NAMES[0 if seen.image is None else int(np.argmax(seen.image.mean((0, 1))))]


def weight(protection: str) -> int:
    """How many times more a class of packets costs."""
    return 1 if protection == "payload" else int(protection.partition("1/")[2] or 4)


@dataclass(frozen=True)
class FakeBudget:
    """A link: a packet costs ``overhead`` uses, then one for ``bits`` bits; robust packets several times more."""

    channel_uses: int
    overhead: int = 12
    bits: int = 1

    def packet_bytes(self, packets: int = 1, protection: str = "payload", beside: int = 0) -> int:
        spent = self.overhead + -(-8 * beside // self.bits) * weight(protection) if beside else 0
        share = (self.channel_uses - spent) // packets - self.overhead
        return max(0, share // weight(protection) * self.bits // 8)

    def symbols(self) -> int:
        return self.channel_uses

    def cost(self, message: Message) -> int:
        """Channel uses of a message."""
        digital = [
            self.overhead + -(-8 * len(p.payload) // self.bits) * weight(p.protection)
            for p in message.packets
        ]
        return sum(digital) + (0 if message.symbols is None else len(message.symbols))
