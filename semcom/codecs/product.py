"""Product quantisation (Jegou, Douze and Schmid, IEEE TPAMI 2011): each part of a vector as its nearest codeword."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import kmeans2, vq

from channels.errors import InputError
from semcom.codecs.quantise import Array, Codes, pack, standardise, unpack


class ProductQuantiser:
    """Vectors [n, d] to bytes and back: m parts of d/m numbers each, and a codebook of 2^bits codewords for each part.

    A vector costs ``m * bits`` bits; several in one call share the last byte. Codewords are rounded to float16, as
    they are stored, so that both ends agree on them.

    :param codebooks: [m, 2^bits, d/m], bits from 1 to 8; in standardised units
    :param mean: [d] or one number, the middle of each dimension
    :param scale: [d] or one number, the unit of each dimension; 0 marks a dimension that never varies
    :param rotation: [d, d], orthogonal: the parts are of ``units @ rotation``; none when left out
    """

    def __init__(
        self,
        codebooks: ArrayLike,
        mean: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
        rotation: ArrayLike | None = None,
    ) -> None:
        books = np.asarray(codebooks, np.float32)
        if books.ndim != 3 or not books.size or books.shape[1] not in (1 << np.arange(1, 9)):
            raise InputError(
                f"codebooks: {list(books.shape)} is not [parts, 2^bits, numbers], bits from 1 to 8"
            )
        largest = float(np.finfo(np.float16).max)
        if not bool((np.abs(books) <= largest).all()):
            raise InputError(f"codebooks: codewords must be finite and within {largest:g}")
        self.codebooks = books.astype(np.float16).astype(np.float32)
        self.parts, self.bits = books.shape[0], int(books.shape[1]).bit_length() - 1
        self.dim = self.parts * books.shape[2]
        try:
            self.mean, self.scale = (
                np.broadcast_to(np.asarray(x, np.float32), self.dim) for x in (mean, scale)
            )
        except ValueError:
            raise InputError(
                f"codebooks: of vectors of {self.dim} numbers, but mean or scale has {np.size(mean)}"
            ) from None
        self.rotation = np.asarray(np.eye(self.dim) if rotation is None else rotation, np.float32)
        if self.rotation.shape != (self.dim, self.dim) or not np.isfinite(self.rotation).all():
            raise InputError(
                f"rotation: {list(self.rotation.shape)} is not a finite [{self.dim}, {self.dim}]"
            )

    @classmethod
    def fit(
        cls, vectors: ArrayLike, parts: int, bits: int, seed: int = 0, rounds: int = 25, rotate: bool = False
    ) -> ProductQuantiser:
        """Codebooks by k-means (Lloyd's algorithm from k-means++ seeds) on training ``vectors`` [n, d].

        :param rotate: turn the vectors first, so that parts are uncorrelated and equally hard (:func:`balanced`)
        :raises InputError: d is no multiple of ``parts``, or there are fewer vectors than codewords
        """
        data = np.asarray(vectors, np.float64)
        if data.ndim != 2 or not np.isfinite(data).all():
            raise InputError(f"vectors: {list(data.shape)} is not a table [n, d] of finite numbers")
        if parts < 1 or data.shape[1] % parts:
            raise InputError(f"parts: {data.shape[1]} numbers do not divide into {parts} equal parts")
        if not 1 <= bits <= 8:
            raise InputError(f"bits: {bits} is not from 1 to 8")
        if len(data) < 1 << bits:
            raise InputError(f"vectors: {len(data)} are fewer than 2^{bits} codewords")
        rng = np.random.default_rng(seed)
        rotation = balanced(data, parts) if rotate else np.eye(data.shape[1])
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # a codeword that no vector is nearest to stays where it is
            books = [
                kmeans2(part, 1 << bits, iter=rounds, minit="++", rng=rng)[0]
                for part in np.split(data @ rotation, parts, axis=1)
            ]
        return cls(np.stack(books), rotation=rotation)

    def bytes_for(self, vectors: int) -> int:
        """How many bytes that many vectors take."""
        return -(-vectors * self.parts * self.bits // 8)

    def vectors_in(self, data_bytes: int) -> int:
        """How many whole vectors fit in that many bytes."""
        return 8 * data_bytes // (self.parts * self.bits)

    def codes(self, vectors: Array) -> Codes:
        """Index of the nearest codeword of each part, [n, m]; values that are not finite count as the mean."""
        units = standardise(np.asarray(vectors, np.float32), self.mean, self.scale)
        clean = np.nan_to_num(units.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0) @ self.rotation
        pairs = zip(np.split(clean, self.parts, axis=1), self.codebooks.astype(np.float64), strict=True)
        return np.stack([vq(part, book, check_finite=False)[0] for part, book in pairs], axis=1).astype(
            np.uint8
        )

    def encode(self, vectors: Array) -> bytes:
        """Pack ``vectors`` [n, d]."""
        return pack(self.codes(vectors), self.bits)

    def decode(self, data: bytes) -> Array:
        """The whole vectors in ``data``, [n, d]; any bytes are valid."""
        n = self.vectors_in(len(data))
        codes = unpack(data, self.bits, n * self.parts).reshape(n, self.parts)
        units = self.codebooks[np.arange(self.parts), codes].reshape(n, self.dim) @ self.rotation.T
        return self.mean + self.scale * units


def balanced(vectors: NDArray[np.float64], parts: int) -> NDArray[np.float64]:
    """The orthogonal matrix [d, d] whose columns are the principal axes of ``vectors``, dealt out to the parts.

    The largest variance goes to the part with the smallest product of variances so far, and so on, until each part
    has d / parts axes.   [the parametric solution of Ge, He, Ke and Sun, "Optimized product quantization for
    approximate nearest neighbor search", CVPR 2013, which is optimal for some Gaussian vectors]
    """
    variances, axes = np.linalg.eigh(np.cov(vectors, rowvar=False).reshape(vectors.shape[1], -1))
    variances = np.maximum(variances, 1e-12 * max(float(variances[-1]), 1e-300))
    shares: list[list[int]] = [[] for _ in range(parts)]
    logs = np.zeros(parts)
    for axis in range(len(variances) - 1, -1, -1):
        free = [part for part in range(parts) if len(shares[part]) < len(variances) // parts]
        part = min(free, key=lambda part: logs[part])
        shares[part].append(axis)
        logs[part] += np.log(variances[axis] / variances[0])  # in the least variance: products only grow
    turned: NDArray[np.float64] = axes[:, [axis for share in shares for axis in share]]
    return turned
