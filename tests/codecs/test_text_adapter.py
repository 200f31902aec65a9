"""The text adapter against a naive attention, and its identity before training."""

from __future__ import annotations

import math
import secrets

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from semcom.codecs.text_adapter import Extractor, Injector, TextAdapter

SEED = secrets.randbelow(2**32)
WIDTH, TEXT, HEADS = 12, 20, 4


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(SEED)


def stages() -> nn.ModuleList:
    """A transform of three stages; the last two share a width."""
    return nn.ModuleList(
        nn.Sequential(nn.Conv2d(i, o, 5, 2, 2), nn.Tanh()) for i, o in ((3, 8), (8, WIDTH), (WIDTH, WIDTH))
    )


def shaken(module: nn.Module) -> nn.Module:
    """All parameters at random."""
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn_like(p) * 0.5)
    return module.eval()


def naive(attention: nn.MultiheadAttention, q: Tensor, k: Tensor, kept: Tensor) -> Tensor:
    """Scaled dot-product attention of one row, head by head and token by token."""
    width = q.shape[-1]
    part = width // HEADS
    (wq, wk, wv), (bq, bk, bv) = attention.in_proj_weight.split(width), attention.in_proj_bias.split(width)
    heads = []
    for h in range(HEADS):
        at = slice(h * part, (h + 1) * part)
        rows = []
        for token in q:
            query = wq[at] @ token + bq[at]
            scores = [(query @ (wk[at] @ other + bk[at])) / math.sqrt(part) for other in k]
            weights = torch.stack([s.exp() if keep else s * 0 for s, keep in zip(scores, kept, strict=True)])
            values = torch.stack([wv[at] @ other + bv[at] for other in k])
            rows.append((weights / weights.sum()) @ values)
        heads.append(torch.stack(rows))
    return torch.cat(heads, 1) @ attention.out_proj.weight.T + attention.out_proj.bias


def norm(of: nn.LayerNorm, x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:], of.weight, of.bias)


def test_the_injector_is_attention_from_image_to_text() -> None:
    injector = shaken(Injector(WIDTH, TEXT, HEADS))
    image, text = torch.randn(3, WIDTH, 2, 4), torch.randn(3, 5, TEXT)
    padding = torch.arange(5) >= torch.tensor([[5], [2], [1]])
    got = injector(image, text, padding)
    for row in range(3):
        tokens = image[row].reshape(WIDTH, -1).T
        known = norm(injector.text_norm, text[row] @ injector.project.weight.T + injector.project.bias)
        found = naive(injector.attention, norm(injector.image_norm, tokens), known, ~padding[row])
        want = (tokens + 16 * injector.gamma * found).T.reshape(WIDTH, 2, 4)
        assert torch.allclose(got[row], want, atol=2e-3), SEED


def test_the_extractor_is_attention_from_text_to_image() -> None:
    extractor = shaken(Extractor(WIDTH, TEXT, HEADS))
    image, text = torch.randn(2, WIDTH, 2, 3), torch.randn(2, 4, TEXT)
    got = extractor(image, text)
    for row in range(2):
        seen = image[row].reshape(WIDTH, -1).T @ extractor.project.weight.T + extractor.project.bias
        asked = norm(extractor.text_norm, text[row])
        found = naive(
            extractor.attention, asked, norm(extractor.image_norm, seen), torch.ones(6, dtype=torch.bool)
        )
        assert torch.allclose(got[row], text[row] + found, atol=2e-4), SEED


def test_before_training_the_text_changes_no_bit() -> None:
    adapter, transform = TextAdapter((WIDTH, WIDTH), TEXT, HEADS), stages()
    image, text = torch.rand(2, 3, 32, 32), torch.randn(2, 7, TEXT)
    latent = image
    for stage in transform:
        latent = stage(latent)
    assert torch.equal(adapter(transform, image, text), latent), SEED
    shaken(adapter)
    assert not torch.allclose(adapter(transform, image, text), latent), SEED
    assert not torch.allclose(adapter(transform, image, text), adapter(transform, image, text.flip(0))), SEED


def test_padding_is_not_looked_at() -> None:
    adapter, transform = shaken(TextAdapter((WIDTH, WIDTH), TEXT, HEADS)), stages()
    image, text = torch.rand(1, 3, 32, 32), torch.randn(1, 4, TEXT)
    longer = torch.cat([text, 100 * torch.randn(1, 3, TEXT)], 1)
    padding = torch.arange(7)[None] >= 4
    assert torch.allclose(
        adapter(transform, image, longer, padding), adapter(transform, image, text), atol=1e-4
    ), SEED
