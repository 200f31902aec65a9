"""Textbook formulas in double precision, one matrix at a time."""

from __future__ import annotations

import numpy as np
import torch


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """CN(0, 1)."""
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / 2**0.5).astype(np.complex64)


def qpsk(batch: int, n: int, seed: int) -> torch.Tensor:
    signs = np.random.default_rng(seed).choice([-1, 1], (batch, n, 2)).astype(np.float32)
    return torch.from_numpy(signs.view(np.complex64)[..., 0] / np.float32(2**0.5))


def linear_filter(h: np.ndarray, no: float, detector: str) -> np.ndarray:
    """[K, M] receive filters of unit gain for H [M, K] and white noise."""
    h = h.astype(np.complex128)
    eye = np.eye(h.shape[1])
    w = {
        "lmmse": lambda: np.linalg.inv(h.conj().T @ h + no * eye) @ h.conj().T,
        "zf": lambda: np.linalg.pinv(h),
        "mrc": lambda: h.conj().T,
    }[detector]()
    return w / np.diag(w @ h)[:, None]


def left_over(w: np.ndarray, h: np.ndarray, no: float) -> np.ndarray:
    """[K] variance of noise and of the other streams after filters w [K, M]."""
    through = np.abs(w @ h.astype(np.complex128)) ** 2
    return through.sum(axis=1) - np.diag(through) + no * (np.abs(w) ** 2).sum(axis=1)
