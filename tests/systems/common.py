"""Every system in several settings, over fake models, and ways to damage a reception."""

from __future__ import annotations

from typing import Any

import numpy as np

from semcom import systems
from semcom.codecs import CaptionModel
from semcom.types import Message, Query, ReceivedPacket, Reception
from tests.fakes import NAMES, FakeDual, FakeVLM

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("jpeg", {}),
    ("jpeg", {"headers": "full"}),
    ("jpeg", {"shrink": 4}),
    ("webp", {}),
    ("avif", {}),
    ("hevc-intra", {}),
    ("hevc-intra", {"headers": "full", "shrink": 3}),
    ("learned-codec", {}),
    ("learned-codec", {"packets": "resilient"}),
    ("latent-input", {}),
    ("latent-input", {"packets": "resilient"}),
    ("caption-text", {}),
    ("embedding", {"bits": 8}),
    ("embedding", {"bits": 1}),
    ("embedding", {"analog": True}),
    ("visual-tokens", {}),
    ("visual-tokens", {"select": "none", "bits": 8}),
    ("visual-tokens", {"select": "average-pool", "bits": 2, "tokens_per_packet": 3}),
    ("visual-tokens", {"select": "random", "bits": 1, "keep": 5}),
    ("visual-tokens", {"select": "uniform", "analog": True}),
    ("divprune", {"bits": 1}),
    ("visionzip", {"bits": 2}),
    ("tome", {"keep": 9}),
    ("fastv", {"bits": 1, "layer": 1, "ratio": 0.75}),
    ("rgb-no-more", {}),
    ("rgb-no-more", {"embedding": "pull-back"}),
    ("entropic-student", {}),
    ("entropic-student", {"packets": "resilient"}),
    ("entropic-student", {"packets": "quadrants"}),
    ("vlm-csc-text", {}),
    ("vlm-csc", {"design_snr_db": 0.0}),
    ("deep-jscc", {}),
    ("deep-jscc", {"train_snr_db": 0, "shrink": 2}),
    ("adjscc", {}),
    ("adjscc", {"design_snr_db": 3.5}),
    ("taco", {}),
    ("taco", {"packets": "resilient"}),
    ("taco-question", {}),
    ("decide-at-transmitter", {}),
    ("ceiling", {}),
    ("blind", {}),
]
IDS = [name + "".join(f"-{k}={v}" for k, v in options.items()) for name, options in SETTINGS]


# systems that need the embedded models: shipped weights belong to them, or they open the vision tower
REAL: frozenset[str] = frozenset(
    {
        "taco",
        "taco-question",
        "entropic-student",
        "vlm-csc",
        "vlm-csc-text",
        "latent-input",
        "rgb-no-more",
        "visionzip",
        "tome",
    }
)


def models_for(name: str) -> systems.Models:
    """What the system can work with: fakes, or the embedded models."""
    return systems.Models() if name in REAL else models()


def models() -> systems.Models:
    """Fakes, and a caption model that knows what they say."""
    texts = [f"a mostly {name} picture of {name} things ." for name in NAMES]
    return systems.Models(FakeDual(), FakeVLM(), CaptionModel.fit(texts * 20))


def queries(count: int) -> list[Query]:
    """Closed and open questions in turn."""
    closed = Query("vqa", "0", "which channel ?", candidates=NAMES)
    return [closed if i % 2 == 0 else Query("captioning", "0", "what is it ?") for i in range(count)]


def perfect(message: Message) -> Reception:
    """A reception without any error or noise."""
    noise = None if message.symbols is None else np.zeros(len(message.symbols), np.float32)
    packets = tuple(ReceivedPacket(p.payload, True) for p in message.packets)
    return Reception(packets, message.symbols, noise)


def damage(reception: Reception, rng: np.random.Generator) -> Reception:
    """Flip, cut, lengthen, repeat, drop or invent; every packet still claims to be right."""

    def packet(p: ReceivedPacket) -> ReceivedPacket:
        data = bytearray(p.payload)
        kind = int(rng.integers(6))
        if kind == 0:
            data = bytearray(rng.bytes(int(rng.integers(0, 300))))
        elif kind == 1:
            data = data[: int(rng.integers(0, len(data) + 1))]
        elif kind == 2:
            data += rng.bytes(int(rng.integers(1, 40)))
        elif data:
            for position in rng.integers(0, len(data), int(rng.integers(1, 9))):
                data[position] ^= 1 << int(rng.integers(8))
        return ReceivedPacket(bytes(data), bool(rng.random() < 0.9))

    packets = [packet(p) for p in reception.packets] * int(rng.choice([1, 1, 1, 2, 0]))
    if rng.random() < 0.2:
        packets.append(ReceivedPacket(rng.bytes(int(rng.integers(0, 50))), True))
    symbols, noise = reception.symbols, reception.noise_var
    if rng.random() < 0.2:
        symbols, noise = np.ones(int(rng.integers(0, 100)), np.complex64), None
    if symbols is not None and len(symbols):
        symbols = symbols[: int(rng.integers(0, len(symbols) + 1))].copy()
        noise = rng.exponential(1, int(rng.integers(0, 200))).astype(np.float32)
        for array in (symbols, noise):
            if len(array):
                array[rng.integers(0, len(array), 3)] = rng.choice(
                    np.array([np.nan, np.inf, -1, 0, 1e30, 1e-30]), 3
                )
    return Reception(tuple(packets), symbols, noise)
