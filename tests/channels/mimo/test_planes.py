"""Inverses of small Hermitian matrices against numpy, at any scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from channels.mimo.planes import inverse, log2_det


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_inverse_and_determinant(size: int, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((7, 2 * size, size)) + 1j * rng.standard_normal((7, 2 * size, size))
    a = scale * np.swapaxes(h.conj(), 1, 2) @ h
    parts = tuple(torch.from_numpy(np.moveaxis(p, 0, -1).copy()) for p in (a.real, a.imag))
    real, imag = inverse(parts)  # type: ignore[arg-type]
    expected = np.moveaxis(np.linalg.inv(a), 0, -1)
    assert np.allclose(
        real.numpy() + 1j * imag.numpy(), expected, rtol=0, atol=1e-10 * np.abs(expected).max()
    )
    assert np.allclose(log2_det(parts).numpy(), np.linalg.slogdet(a)[1] / np.log(2))  # type: ignore[arg-type]


@pytest.mark.parametrize("snr_db", [60.0, 80.0, 100.0])
@pytest.mark.parametrize("name", ["mimo", "massive-uplink", "massive-downlink"])
def test_noise_is_known_at_high_snr(name: str, snr_db: float, seed: int) -> None:
    import channels

    channel = channels.create(name, csi="estimated")
    signs = np.random.default_rng(seed).choice([-1, 1], (300, 40, 2)).astype(np.float32)
    x = torch.from_numpy(signs.view(np.complex64)[..., 0] / np.float32(2**0.5))
    y, no = channel(x, snr_db, seed)
    if snr_db > 70:  # y itself is a float32: its rounding is no noise of the channel
        assert float(no.max()) < 1e-3
        return
    ratio = ((y - x).abs().square() / no).double().mean(dim=1)
    assert float(ratio.mean()) == pytest.approx(1, abs=5 * float(ratio.std()) / 300**0.5)
