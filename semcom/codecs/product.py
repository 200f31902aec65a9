"""Product quantisation (Jegou, Douze and Schmid, IEEE TPAMI 2011): each part of a vector as its nearest codeword."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.cluster.vq import kmeans2, vq

from channels.errors import InputError
from semcom.codecs.quantise import Array, Codes, pack, unpack


class ProductQuantiser:
    """Vectors [n, d] to bytes and back: m parts of d/m numbers each, and a codebook of 2^bits codewords for each part.

    A vector costs ``m * bits`` bits; several in one call share the last byte. Codewords are rounded to float16, as
    they are stored, so that both ends agree on them.

    :param codebooks: [m, 2^bits, d/m], bits from 1 to 8
    """

    def __init__(self, codebooks: ArrayLike) -> None:
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

    @classmethod
    def fit(
        cls, vectors: ArrayLike, parts: int, bits: int, seed: int = 0, rounds: int = 25
    ) -> ProductQuantiser:
        """Codebooks by k-means (Lloyd's algorithm from k-means++ seeds) on training ``vectors`` [n, d].

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
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # a codeword that no vector is nearest to stays where it is
            books = [
                kmeans2(part, 1 << bits, iter=rounds, minit="++", rng=rng)[0]
                for part in np.split(data, parts, axis=1)
            ]
        return cls(np.stack(books))

    def bytes_for(self, vectors: int) -> int:
        """How many bytes that many vectors take."""
        return -(-vectors * self.parts * self.bits // 8)

    def vectors_in(self, data_bytes: int) -> int:
        """How many whole vectors fit in that many bytes."""
        return 8 * data_bytes // (self.parts * self.bits)

    def codes(self, vectors: Array) -> Codes:
        """Index of the nearest codeword of each part, [n, m]; values that are not finite count as 0."""
        clean = np.nan_to_num(np.asarray(vectors, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
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
        return self.codebooks[np.arange(self.parts), codes].reshape(n, self.dim)

    def save(self, path: Path) -> None:
        """Write the codebooks as a safetensors file, float16."""
        save_file({"codebooks": self.codebooks.astype(np.float16)}, path)

    @classmethod
    def load(cls, path: Path) -> ProductQuantiser:
        """Read what :meth:`save` wrote.

        :raises InputError: there is no such file, or it holds something else
        """
        try:
            return cls(load_file(path)["codebooks"])
        except (OSError, KeyError, SafetensorError) as error:
            raise InputError(f"codebooks: {str(path)!r} holds none ({error})") from error
