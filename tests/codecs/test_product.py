"""Product quantisation against brute force and against scalar quantisation."""

from __future__ import annotations

import secrets

import numpy as np
import pytest

from channels.errors import InputError
from semcom.codecs.product import ProductQuantiser, balanced
from semcom.codecs.quantise import AffineQuantiser

SEED = secrets.randbelow(2**32)


def correlated(n: int, d: int, rng: np.random.Generator, rho: float = 0.9) -> np.ndarray:
    """First-order autoregressive rows of unit variance."""
    x = rng.standard_normal((n, d))
    for i in range(1, d):
        x[:, i] = rho * x[:, i - 1] + (1 - rho**2) ** 0.5 * x[:, i]
    return x.astype(np.float32)


@pytest.mark.parametrize("bits", [1, 3, 5, 8])
def test_each_part_gets_its_nearest_codeword(bits: int) -> None:
    rng = np.random.default_rng(SEED)
    parts, width, n = int(rng.integers(1, 6)), int(rng.integers(1, 5)), 57
    quantiser = ProductQuantiser(rng.normal(size=(parts, 1 << bits, width)))
    vectors = rng.normal(size=(n, parts * width)).astype(np.float32)
    data = quantiser.encode(vectors)
    assert len(data) == quantiser.bytes_for(n) == -(-n * parts * bits // 8)
    decoded = quantiser.decode(data)[:n]
    for vector, row in zip(vectors.astype(np.float64), decoded, strict=True):
        for part in range(parts):
            mine = slice(part * width, (part + 1) * width)
            distances = [float(((vector[mine] - word) ** 2).sum()) for word in quantiser.codebooks[part]]
            assert float(((vector[mine] - row[mine]) ** 2).sum()) == pytest.approx(
                min(distances), rel=1e-6
            ), SEED


def test_codewords_come_back_and_any_bytes_are_valid() -> None:
    rng = np.random.default_rng(SEED)
    quantiser = ProductQuantiser(rng.normal(size=(3, 16, 2)))
    data = rng.bytes(12)  # 8 vectors of 12 bits
    vectors = quantiser.decode(data)
    assert vectors.shape == (8, 6) and vectors.dtype == np.float32
    assert quantiser.encode(vectors) == data, SEED
    assert quantiser.decode(b"").shape == (0, 6)
    for length in range(20):
        assert len(quantiser.decode(rng.bytes(length))) == quantiser.vectors_in(length) == 8 * length // 12
    odd = np.full((1, 6), np.nan, np.float32)
    assert np.array_equal(quantiser.codes(odd), quantiser.codes(np.zeros((1, 6), np.float32)))


@pytest.mark.parametrize(("parts", "bits", "scalar"), [(4, 8, 4), (2, 8, 2), (4, 4, 2)])
def test_no_more_distortion_than_scalar_quantisation_of_the_same_rate(
    parts: int, bits: int, scalar: int
) -> None:
    rng = np.random.default_rng(SEED)
    train, test = correlated(6000, 8, rng), correlated(3000, 8, rng)
    product = ProductQuantiser.fit(train, parts, bits, seed=SEED, rounds=15)
    affine = AffineQuantiser(np.zeros(8), np.ones(8), scalar)
    assert product.bytes_for(10) == affine.bytes_for(10)
    errors = [float(((q.decode(q.encode(test)) - test) ** 2).mean()) for q in (product, affine)]
    assert errors[0] < errors[1], (SEED, errors)


def test_lloyds_fixed_point() -> None:
    """At the end each codeword is about the mean of the training vectors that are nearest to it."""
    rng = np.random.default_rng(SEED)
    centres = 40 * rng.permutation(8)[:, None] * np.ones(3)
    vectors = np.repeat(centres, 50, 0) + rng.normal(size=(400, 3))
    quantiser = ProductQuantiser.fit(vectors, 1, 3, seed=SEED)
    codes = quantiser.codes(vectors.astype(np.float32))[:, 0]
    for code in np.unique(codes):
        assert quantiser.codebooks[0, code] == pytest.approx(vectors[codes == code].mean(0), abs=0.2), SEED


def test_mean_and_scale_are_those_of_the_vectors() -> None:
    rng = np.random.default_rng(SEED)
    books, mean = rng.normal(size=(3, 16, 2)), rng.normal(size=6).astype(np.float32)
    scale = np.append(rng.uniform(0.1, 10, 5), 0).astype(np.float32)  # the last dimension never varies
    vectors = rng.normal(size=(20, 6)).astype(np.float32)
    plain, scaled = ProductQuantiser(books), ProductQuantiser(books, mean, scale)
    vectors[:, 5] = 0
    assert np.array_equal(scaled.codes(mean + scale * vectors), plain.codes(vectors))
    decoded = scaled.decode(scaled.encode(mean + scale * vectors))
    np.testing.assert_allclose(decoded, mean + scale * plain.decode(plain.encode(vectors)), rtol=1e-5)
    assert (decoded[:, 5] == mean[5]).all()
    with pytest.raises(InputError, match="vectors of 6 numbers"):
        ProductQuantiser(books, mean[:4], scale[:4])


def test_a_balanced_rotation_has_uncorrelated_parts_and_less_distortion() -> None:
    rng = np.random.default_rng(SEED)
    train, test = correlated(4000, 8, rng, 0.7), correlated(2000, 8, rng, 0.7)
    mixed = rng.normal(size=(8, 8))
    train, test = (x * 2.0 ** -np.arange(8) @ mixed for x in (train, test))  # very unequal variances
    turned = balanced(train, 4)
    np.testing.assert_allclose(turned @ turned.T, np.eye(8), atol=1e-9)
    covariance = np.cov(train @ turned, rowvar=False)
    variances = np.diag(covariance).copy()
    assert np.abs(covariance - np.diag(variances)).max() < 1e-9 * variances.max()
    products = np.sort(np.log(variances.reshape(4, 2)).sum(1))
    ordered = np.sort(np.log(variances))
    assert np.ptp(products) < ordered[-1] - ordered[0]
    assert products[-1] <= ordered[-1] + ordered[3]  # the largest four are in different parts
    errors = []
    for rotate in (True, False):
        quantiser = ProductQuantiser.fit(train, 4, 4, seed=SEED, rounds=15, rotate=rotate)
        errors.append(float(((quantiser.decode(quantiser.encode(test)) - test) ** 2).sum(1).mean()))
    assert errors[0] < errors[1], (SEED, errors)
    with pytest.raises(InputError, match="rotation"):
        ProductQuantiser(np.ones((2, 2, 2)), rotation=np.eye(3))


@pytest.mark.parametrize(
    ("vectors", "parts", "bits", "word"),
    [
        (np.ones((40, 6)), 4, 2, "parts"),
        (np.ones((40, 6)), 3, 9, "bits"),
        (np.ones((3, 6)), 3, 2, "fewer"),
        (np.full((40, 6), np.nan), 3, 2, "finite"),
        (np.ones(6), 3, 2, "table"),
    ],
)
def test_bad_input(vectors: np.ndarray, parts: int, bits: int, word: str) -> None:
    with pytest.raises(InputError, match=word):
        ProductQuantiser.fit(vectors, parts, bits)


def test_bad_codebooks() -> None:
    for books in (np.ones((2, 3, 2)), np.ones((2, 4)), np.full((1, 2, 1), np.inf), np.full((1, 2, 1), 1e6)):
        with pytest.raises(InputError, match="codebooks"):
            ProductQuantiser(books)
