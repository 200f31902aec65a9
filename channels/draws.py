"""Randomness as a value: every draw comes from the seed of its own row, never from global state."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

from channels.errors import InputError

Seed = int | Sequence[int]

_SIONNA = threading.RLock()  # its configuration belongs to the whole process
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: spreads the rows of one integer seed


class _Key(ISeedSequence):
    """Hands Philox its key; ``Philox(key=...)`` asks the system for entropy first, which takes longer."""

    def __init__(self, *words: int) -> None:
        self.words = np.array(words, np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[Any]:
        return self.words


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A counter-based generator for one row and one purpose ("noise", "fading", ...)."""
    key: Any = _Key(seed % 2**64, int.from_bytes(purpose.encode()[:8], "little"))
    return np.random.Generator(np.random.Philox(key))


def complex_normal(rng: np.random.Generator, n: int) -> NDArray[np.complex64]:
    """[n] draws of CN(0, 1); the first of them do not depend on n."""
    draws = rng.standard_normal(2 * n, np.float32)
    draws *= np.float32(np.sqrt(0.5))  # in place: a megabyte's symbols are not held twice
    return draws.view(np.complex64)


def row_seeds(seed: Seed, batch: int) -> list[int]:
    """One seed a row: those given, or ``seed`` + i * golden ratio mod 2^64 (row 0 has ``seed`` itself)."""
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool):
        return [(int(seed) + i * _GOLDEN) % 2**64 for i in range(batch)]
    try:
        seeds = [int(s) for s in seed if not isinstance(s, str | bytes | float)]  # type: ignore[union-attr]
    except TypeError:
        raise InputError(f"seed must be an integer or one integer a row, not {seed!r}") from None
    if len(seeds) != batch:
        raise InputError(
            f"seed has {len(seeds)} integers for {batch} rows; give one a row, or a single integer"
        )
    return seeds


@contextmanager
def sionna_draws(seed: int, purpose: str) -> Iterator[None]:
    """Let Sionna's blocks draw from one row's seed inside the block, and leave its own generators as they were.

    Sionna's blocks take no generator; they ask its process-wide ``config`` for one. What is drawn depends on the
    batch size, so draw for one row at a time.
    """
    import random

    import torch
    from sionna.phy import config

    rng = generator(seed, purpose)
    with _SIONNA:
        saved = config._torch_rngs, config._np_rng, config._py_rng
        config._torch_rngs = {
            device: torch.Generator(device).manual_seed(int(rng.integers(2**63))) for device in saved[0]
        }
        config._np_rng, config._py_rng = rng, random.Random(int(rng.integers(2**63)))
        try:
            yield
        finally:
            config._torch_rngs, config._np_rng, config._py_rng = saved
