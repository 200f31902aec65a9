"""Entropy models against closed forms, and their range coding against the information content."""

from __future__ import annotations

import secrets

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.nn import functional as F

from semcom.codecs.entropy import Exact, Factorised, Gaussian, Tables, noisy, rounded
from semcom.codecs.entropy.coder import TOTAL, frequencies


def fresh() -> tuple[int, np.random.Generator]:
    seed = secrets.randbelow(2**32)
    torch.manual_seed(seed)
    return seed, np.random.default_rng(seed)


def some_tables(rng: np.random.Generator, rows: int, reach: int = 20) -> Tables:
    return Tables(frequencies(rng.dirichlet(np.full(2 * reach + 1, rng.choice([0.05, 1.0])), rows)))


def test_frequencies_keep_the_sum_and_the_order_of_magnitude() -> None:
    seed, rng = fresh()
    mass = rng.dirichlet(np.full(41, 0.3), 50)
    counts = frequencies(mass)
    assert (counts.sum(1) == TOTAL).all() and counts.min() >= 1, seed
    assert np.abs(counts / TOTAL - mass).max() < 41 / TOTAL + 1e-3, seed


def test_what_was_coded_is_decoded_within_a_byte_of_its_information() -> None:
    seed, rng = fresh()
    for n in (0, 1, 2, 7, 50, 400):
        for _ in range(10):
            m = int(rng.integers(1, 12))
            tables = some_tables(rng, m)
            rows = rng.integers(0, m, n)
            values = np.array([rng.choice(41, p=tables.counts[r] / TOTAL) for r in rows], np.int64) - 20
            code = tables.encode(values, rows)
            decoded = tables.decode(code, rows)
            assert decoded is not None and np.array_equal(decoded, values), seed
            assert 8 * len(code) <= max(8, tables.bits(values, rows) + 9), seed
            again = Tables(tables.counts.astype(np.int32)).encode(values, rows)
            assert again == code


def test_values_beyond_the_reach_are_clipped() -> None:
    _, rng = fresh()
    tables = some_tables(rng, 1, 3)
    decoded = tables.decode(tables.encode([-99, 99, 1], [0, 0, 0]), [0, 0, 0])
    assert decoded is not None and decoded.tolist() == [-3, 3, 1]


def test_any_bytes_decode_to_values_or_nothing() -> None:
    seed, rng = fresh()
    for _ in range(2000):
        m = int(rng.integers(1, 6))
        tables = some_tables(rng, m, int(rng.integers(1, 9)))
        n = int(rng.integers(0, 200))
        decoded = tables.decode(rng.bytes(int(rng.integers(0, 40))), rng.integers(0, m, n))
        assert decoded is None or (
            decoded.shape == (n,) and np.abs(decoded).max(initial=0) <= tables.reach
        ), seed


@pytest.mark.parametrize("counts", [[[1, 2]], [[0, TOTAL, 0]], [[5, 5, 5]], [1, 2, 3]])
def test_tables_refuse_what_cannot_be_coded(counts: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="counts"):
        Tables(counts)


def test_factorised_learns_the_entropy_of_its_source() -> None:
    """Integers of two discretised Gaussians: the cross-entropy after training is their entropy within 4 %."""
    seed, _ = fresh()
    model = Factorised(2, reach=20)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    sigma = torch.tensor([0.7, 3.0])[None, :, None]
    for _ in range(400):
        y = torch.randn(64, 2, 16) * sigma
        loss = model.bits(noisy(y)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.freeze()
    values = (torch.randn(400, 2, 16) * sigma).round()
    grid = np.arange(-40, 41)
    entropy = 0.0
    for s in (0.7, 3.0):
        p = norm.cdf((grid + 0.5) / s) - norm.cdf((grid - 0.5) / s)
        entropy -= 16 * float((p * np.log2(np.maximum(p, 1e-300))).sum())
    tables, rows = model.tables(), model.rows(16)
    bits = np.mean([tables.bits(v.numpy(), rows) for v in values])
    estimate = model.bits(values).mean().item()
    assert bits == pytest.approx(entropy, rel=0.04), seed
    assert estimate == pytest.approx(bits, rel=0.01), seed
    sizes = [8 * len(tables.encode(v.numpy(), rows)) for v in values[:100]]
    assert np.mean(sizes) == pytest.approx(
        np.mean([tables.bits(v.numpy(), rows) for v in values[:100]]), rel=0.1
    )


def test_factorised_masses_sum_to_one() -> None:
    seed, _ = fresh()
    model = Factorised(3, reach=60, spread=4.0)
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    grid = torch.arange(-3000.0, 3001.0).expand(3, 1, -1)
    assert torch.allclose(model._mass(grid).sum(-1), torch.ones(3, 1), atol=1e-3), seed


def test_gaussian_bits_are_those_of_the_normal_distribution() -> None:
    seed, rng = fresh()
    model = Gaussian(reach=30, levels=10, smallest=0.2, largest=5.0)
    level = torch.from_numpy(rng.integers(0, 10, 200)).float()
    deviation = 0.2 * (5 / 0.2) ** (level.numpy() / 9)
    v = np.round(rng.normal(0, deviation))
    mass = norm.cdf((v + 0.5) / deviation) - norm.cdf((v - 0.5) / deviation)
    ideal = -np.log2(np.maximum(mass, 1e-9)).sum()
    assert float(model.bits(torch.from_numpy(v)[None], level[None])) == pytest.approx(ideal, rel=1e-3), seed
    assert model.tables().bits(v, model.rows(level)) == pytest.approx(ideal, rel=0.02), seed


def test_exact_network_equals_whole_number_arithmetic() -> None:
    """An independent route: the same network on int64, with numpy loops; equal bit for bit."""
    seed, rng = fresh()
    net = Exact((3, 5, 4), (2, 1)).eval()
    z = torch.from_numpy(rng.integers(-9, 10, (2, 3, 3, 3))).float()
    with torch.no_grad():
        out = net(z)
        again = net(z.flip(0)).flip(0)
    assert torch.equal(out, again) and out.dtype == torch.float64, seed

    def whole(parameter: torch.Tensor) -> np.ndarray:
        return np.clip(np.rint(parameter.detach().numpy() * 256), -2047, 2047).astype(np.int64)

    x = z.numpy().astype(np.int64)
    first, second = net.layers
    weight, bias = whole(first.weight), whole(first.bias)
    wide = np.zeros((2, 5, 8, 8), np.int64)  # transposed convolution, to be cropped by 1
    for i in range(3):
        for j in range(3):
            wide[:, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum(
                "bc,cokl->bokl", x[:, :, i, j], weight
            )
    hidden = wide[:, :, 1:7, 1:7] + bias[None, :, None, None]  # in units of 2^-8
    hidden = np.rint(np.clip(hidden, 0, 4096 * 256) / 16).astype(np.int64)  # in units of 2^-4
    weight, bias = whole(second.weight), whole(second.bias)
    padded = np.pad(hidden, ((0, 0), (0, 0), (1, 1), (1, 1)))
    want = np.zeros((2, 4, 6, 6), np.int64)
    for i in range(6):
        for j in range(6):
            want[:, :, i, j] = np.einsum("bckl,ockl->bo", padded[:, :, i : i + 3, j : j + 3], weight)
    want += 16 * bias[None, :, None, None]  # in units of 2^-12
    assert np.array_equal(out.numpy() * 4096, want), seed


def test_exact_network_trains_on_what_it_will_compute() -> None:
    seed, rng = fresh()
    net = Exact((3, 6, 2), (2, 2))
    z = torch.from_numpy(rng.integers(-5, 6, (2, 3, 2, 2))).float()
    trained = net.train()(z)
    assert torch.allclose(trained.double(), net.eval()(z), atol=0.1), seed
    F.mse_loss(net.train()(z), torch.ones(2, 2, 8, 8)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters()), seed
    fixed = {k: (v * 256).round() / 256 for k, v in net.state_dict().items()}
    other = Exact((3, 6, 2), (2, 2)).eval()
    other.load_state_dict({k: v.half().float() for k, v in fixed.items()})
    reference = Exact((3, 6, 2), (2, 2)).eval()
    reference.load_state_dict(fixed)
    assert torch.equal(other(z), reference(z)), seed


def test_rounding() -> None:
    y = torch.linspace(-3, 3, 50, requires_grad=True)
    rounded(y).sum().backward()
    assert torch.equal(y.grad, torch.ones(50)) and torch.equal(rounded(y).detach(), y.detach().round())  # type: ignore[arg-type]
    noise = noisy(torch.zeros(100_000))
    assert noise.abs().max() <= 0.5 and float(noise.var()) == pytest.approx(1 / 12, rel=0.03)
