"""The link that recipes train through: its SNR, its power, its gradients."""

from __future__ import annotations

import secrets

import numpy as np
import pytest
import torch

from channels.errors import InputError
from semcom.codecs import analog
from semcom.training.air import Air, draw_snr

SEED = secrets.randbelow(2**32)
BATCH, N = 12, 8192


def draw(batch: int = BATCH, n: int = N) -> tuple[torch.Tensor, torch.Tensor, np.random.Generator]:
    """Latents of different scales, SNRs and a generator; all from ``SEED``."""
    rng = np.random.default_rng(SEED)
    latents = rng.normal(size=(batch, n)) * 10 ** rng.uniform(-3, 3, (batch, 1))
    return torch.from_numpy(latents).float(), draw_snr(rng, batch, -5, 25), rng


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_each_row_has_unit_power_and_the_noise_of_its_own_snr(kind: str) -> None:
    latents, snr_db, rng = draw()
    x = latents if kind == "real" else torch.view_as_complex(latents.unflatten(1, (-1, 2)).contiguous())
    values, noise_var = Air()(x, snr_db, rng)
    assert values.shape == noise_var.shape == x.shape and values.dtype == x.dtype
    sent = x / x.abs().square().mean(1, keepdim=True).sqrt()  # the oracle: the row over its root mean square
    no = 10 ** (-snr_db / 10)
    assert torch.allclose(noise_var, no[:, None].expand_as(noise_var), rtol=1e-5)
    squares = (values - sent).abs().square() / no[
        :, None
    ]  # chi-square with as many degrees as there are reals
    z = (squares.sum(1) - x.shape[1]) / (x.shape[1] * (2 if kind == "real" else 1)) ** 0.5
    assert z.abs().max() < 5, (SEED, z)


def test_it_sends_what_an_analog_message_sends() -> None:
    latents, _, rng = draw(3, 64)
    values, _ = Air()(latents, torch.full((3,), 120.0), rng)
    for row, received in zip(latents.numpy(), values.numpy(), strict=True):
        block = analog.unit_power(analog.to_symbols(row))
        assert np.allclose(received, analog.to_reals(block, 64), atol=2e-5), SEED


def test_only_the_kept_symbols_are_sent_and_have_the_power() -> None:
    latents, _, rng = draw()
    kept = torch.from_numpy(rng.integers(1, N // 2 + 1, BATCH))
    values, _ = Air()(latents, torch.full((BATCH,), 120.0), rng, kept)
    for row, count in zip(values, kept.tolist(), strict=True):
        assert row[: 2 * count].square().mean() == pytest.approx(1, abs=1e-4) and not row[2 * count :].any()


def test_rows_meet_their_own_fading() -> None:
    latents, _, rng = draw(2000, 8)
    _, noise_var = Air("rayleigh")(latents, torch.zeros(2000), rng)
    power = 1 / noise_var[:, 0].double()  # |h|^2, exponential: mean 1, variance 1
    assert abs(float(power.mean()) - 1) < 5 / 2000**0.5, SEED
    assert (noise_var == noise_var[:, :1]).all()


@pytest.mark.parametrize("channel", ["awgn", "rayleigh"])
def test_gradients_equal_finite_differences(channel: str) -> None:
    latents, snr_db, rng = draw(4, 12)
    latents = latents / latents.norm(dim=1, keepdim=True)
    kept, weights = torch.tensor([6, 1, 3, 5]), torch.from_numpy(rng.normal(size=(4, 12))).float()

    def loss(x: torch.Tensor) -> torch.Tensor:
        values, _ = Air(channel)(x, snr_db, np.random.default_rng(SEED), kept)
        return (values * weights).double().sum()

    x = latents.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x), x)
    direction = torch.from_numpy(rng.normal(size=(4, 12))).float()
    step = 1e-3
    measured = float(loss(latents + step * direction) - loss(latents - step * direction)) / (2 * step)
    expected = float((gradient * direction).sum())
    assert measured == pytest.approx(expected, rel=0.02, abs=0.02 * float(gradient.norm())), SEED
    assert gradient[:, :2].abs().sum() > 0 and not gradient[1, 2:].any()  # what is not kept has no gradient


def test_what_cannot_be_trained_through_is_refused() -> None:
    with pytest.raises(InputError, match="analog"):
        Air("bsc")
    with pytest.raises(InputError, match="do not pair"):
        Air()(torch.ones(2, 3), torch.zeros(2), np.random.default_rng(0))
