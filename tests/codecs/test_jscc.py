"""The layers of deep joint source-channel coding against their formulas."""

from __future__ import annotations

import secrets

import numpy as np
import pytest
import torch

from semcom.codecs.gdn import GDN
from semcom.codecs.jscc import JSCC, AttentionFeature

SEED = secrets.randbelow(2**32)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(SEED)


def randomised(codec: JSCC) -> JSCC:
    """A codec none of whose parameters is 0."""
    with torch.no_grad():
        for parameter in codec.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return codec.eval().requires_grad_(False)


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_is_its_formula(inverse: bool) -> None:
    layer, x = GDN(3, inverse), torch.randn(2, 3, 4, 5)
    with torch.no_grad():
        layer.beta.uniform_(0.5, 2)
        layer.gamma.uniform_(0, 1)
    beta, gamma = layer.beta.detach().double() ** 2, layer.gamma.detach().double() ** 2
    expected = torch.empty_like(x, dtype=torch.double)
    for i in range(3):
        norm = beta[i] + sum(gamma[i, j] * x[:, j].double() ** 2 for j in range(3))
        expected[:, i] = x[:, i] * norm ** (0.5 if inverse else -0.5)
    assert torch.allclose(layer(x).double(), expected, rtol=1e-5, atol=1e-6), SEED


def test_gdn_stays_a_division_by_something_positive_and_can_come_back() -> None:
    layer, x = GDN(2), torch.randn(4, 2, 3, 3)
    with torch.no_grad():
        layer.beta.fill_(-1)
        layer.gamma.fill_(-1)
    y = layer(x)
    assert torch.isfinite(y).all() and torch.allclose(y, x * 1e3, rtol=1e-3), SEED  # beta is 1e-6 then
    (-y.abs().sum()).backward()  # smaller parameters would be better: there is no such way
    assert not layer.beta.grad.any() and not layer.gamma.grad.any()  # type: ignore[union-attr]
    layer(x).abs().sum().backward()  # larger ones would
    assert (layer.beta.grad < 0).all() and (layer.gamma.grad < 0).all()  # type: ignore[union-attr, operator]


def test_attention_scales_channels_by_a_small_network_of_their_means_and_the_snr() -> None:
    layer, x, snr = AttentionFeature(8), torch.randn(3, 8, 4, 4), torch.tensor([0.0, 7.0, 99.0])
    assert torch.allclose(layer(x, snr), x / (1 + np.exp(-3)), atol=1e-6)  # at the start
    torch.nn.init.normal_(layer.second.weight)
    told = torch.cat(
        [x.mean((2, 3)), torch.tensor([[-1.0], [-0.3], [2.0]])], 1
    )  # SNR / 10 - 1, clamped at 30 dB
    hidden = (told @ layer.first.weight.T + layer.first.bias).clamp_min(0)
    factor = 1 / (1 + torch.exp(-(hidden @ layer.second.weight.T + layer.second.bias)))
    assert torch.allclose(layer(x, snr), x * factor[:, :, None, None], atol=1e-6), SEED


def test_latents_are_groups_of_one_symbol_a_cell() -> None:
    codec = randomised(JSCC(8, 3))
    raw: list[torch.Tensor] = []
    codec.sent.register_forward_hook(lambda _, __, z: raw.append(z))
    latent = codec.encode(torch.rand(2, 3, 24, 16)).detach()
    assert latent.shape == (2, 3 * 3 * 2 * 2)
    for g in range(3):
        for cell in range(6):
            pair = latent[:, (g * 6 + cell) * 2 : (g * 6 + cell) * 2 + 2]
            assert torch.equal(pair, raw[0][:, 2 * g : 2 * g + 2, cell // 2, cell % 2])


def test_the_decoder_sees_mmse_estimates_of_the_kept_groups_and_the_snr() -> None:
    codec, grid = randomised(JSCC(8, 4, adaptive=True)), (2, 3)
    rng = np.random.default_rng(SEED)
    kept = torch.tensor([1, 4, 2])
    values = torch.randn(3, 4 * 6 * 2)
    noise = torch.from_numpy(10 ** rng.uniform(-2, 1, (3, 1))).float()
    seen: dict[str, torch.Tensor] = {}
    codec.received.register_forward_pre_hook(lambda _, a: seen.update(x=a[0], snr=a[1]))
    image = codec.decode(values, noise.expand_as(values), kept, grid)
    assert image.shape == (3, 3, 16, 24)
    assert torch.allclose(seen["snr"], -10 * torch.log10(noise[:, 0]), atol=1e-3), SEED
    for row in range(3):
        n = int(kept[row])
        sent = seen["x"][row, : 2 * n].unflatten(0, (n, 2)).permute(0, 2, 3, 1).flatten()
        factor = codec.factor[n - 1] / (1 + noise[row])
        assert torch.allclose(sent, values[row, : len(sent)] * factor, atol=1e-6)
        assert not seen["x"][row, 2 * n :].any()
    values[0, 12:], values[2, 24:] = torch.nan, torch.inf  # beyond what is kept
    again = codec.decode(values, noise.expand_as(values), kept, grid)
    assert torch.equal(image, again), SEED


def test_uneven_noise_counts_by_the_error_it_leaves() -> None:
    codec = JSCC(8, 4, adaptive=True).eval()
    seen: list[torch.Tensor] = []
    codec.received.register_forward_pre_hook(lambda _, a: seen.append(a[1]))
    noise = torch.tensor([[0.1] * 4 + [1e12] * 4])  # half of the symbols are lost
    codec.decode(torch.randn(1, 32), noise.repeat(1, 4), torch.tensor([1]), (2, 2))
    error = (0.1 / 1.1 + 1) / 2
    assert float(seen[0]) == pytest.approx(10 * np.log10((1 - error) / error), abs=1e-3)


def test_an_adaptive_codec_uses_the_snr_and_a_plain_one_does_not() -> None:
    x = torch.rand(2, 3, 16, 16)
    plain, adaptive = randomised(JSCC(8, 2)), randomised(JSCC(8, 2, adaptive=True))
    low, high = torch.zeros(2), torch.full((2,), 20.0)
    assert torch.equal(plain.encode(x, low), plain.encode(x)), SEED
    changed = (adaptive.encode(x, low) - adaptive.encode(x, high)).abs().amax(1)
    assert (changed > 1e-6).all(), SEED
    one = adaptive.encode(x, torch.tensor([0.0, 20.0]))
    assert torch.allclose(one[0], adaptive.encode(x, low)[0], atol=1e-6)
    assert torch.allclose(one[1], adaptive.encode(x, high)[1], atol=1e-6)


def test_the_start_is_the_optimal_linear_code() -> None:
    """On Gaussian blocks of known covariance the error is the one in closed form, sent at the power it asks for."""
    rng, groups, snr_db = np.random.default_rng(SEED), 4, 5.0
    basis = np.linalg.qr(rng.normal(size=(192, 192)))[0]
    deviation = np.sort(10 ** rng.uniform(-2, -0.5, 192))[::-1]
    blocks = rng.normal(size=(40 * 64, 192)) * deviation @ basis.T
    images = torch.from_numpy(
        blocks.reshape(40, 8, 8, 3, 8, 8).transpose(0, 3, 1, 4, 2, 5).reshape(40, 3, 64, 64)
    )
    images = images.float() + 0.5
    codec = JSCC(8, groups)
    codec.start(images, snr_db)
    with torch.no_grad():
        latent = codec.encode(images)
        power = latent.square().mean()  # of all images: Gaussian blocks all have nearly the same
        noise = 10 ** (-snr_db / 10)
        sent = latent / power.sqrt()
        received = sent + noise**0.5 * torch.randn_like(sent)
        decoded = codec.decode(received, torch.full_like(sent, noise), torch.full((40,), groups), (8, 8))
        measured = float((decoded - images).square().mean()) * 192
    kept, rest = deviation[: 2 * groups], deviation[2 * groups :]
    expected = float((kept**2 * noise / (kept / kept.mean() + noise)).sum() + (rest**2).sum())
    assert measured == pytest.approx(expected, rel=0.1), SEED
    assert float(codec.factor[-1].detach()) == pytest.approx(float(power.sqrt()), rel=0.02)
