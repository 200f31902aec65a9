"""JPEG's discrete cosine transform: exact algebra on blocks of coefficients, and the coefficients of a JPEG.

A plane of coefficients is ``[..., rows, columns, n, n]``: the orthonormal n x n DCT-II of each n x n block, which
for n = 8 is what a JPEG stores. All maps here are linear and exact; nothing is rounded.
"""

from __future__ import annotations

import math
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from semcom.codecs.base import Size
from semcom.codecs.jpeg import Jpeg

Floats = NDArray[np.floating[Any]]
BLOCK = 8
LARGEST = 1023  # magnitude of any quantised coefficient that an 8-bit picture can have
# JFIF: RGB - 128 from (Y - 128, Cb - 128, Cr - 128)
RGB_OF_YCC = np.array([[1, 0, 1.402], [1, -0.344136286, -0.714136286], [1, 1.772, 0]])


class Planes(NamedTuple):
    """Dequantised coefficients of a 4:2:0 picture, float32, of sample values less 128."""

    y: NDArray[np.float32]  # [ceil(H / 8), ceil(W / 8), 8, 8]
    cb: NDArray[np.float32]  # [ceil(H / 16), ceil(W / 16), 8, 8]
    cr: NDArray[np.float32]


@lru_cache
def basis(n: int) -> NDArray[np.float64]:
    """The orthonormal DCT-II, ``[n, n]``: row k is the k-th cosine."""
    k, i = np.arange(n)[:, None], np.arange(n)
    rows = math.sqrt(2 / n) * np.cos(np.pi * (2 * i + 1) * k / (2 * n))
    rows[0] /= math.sqrt(2)
    rows.flags.writeable = False
    return rows


@lru_cache
def conversion(old: int, new: int) -> NDArray[np.float64]:
    """From DCTs of ``old`` samples each to DCTs of ``new`` each, along one axis, ``[L, L]`` with L their lcm.

    Orthonormal. For 8 -> 16 it is the sub-block conversion of [Park and Johnson, CVPR 2023].
    """
    length = math.lcm(old, new)
    there = scipy.linalg.block_diag(*[basis(new)] * (length // new))
    back = scipy.linalg.block_diag(*[basis(old).T] * (length // old))
    matrix: NDArray[np.float64] = there @ back
    matrix.flags.writeable = False
    return matrix


def regroup(plane: Floats, size: int) -> Floats:
    """The same samples in blocks of another size, ``[..., rows', columns', size, size]``, never leaving the DCT.

    ``rows`` and ``columns`` must cover whole multiples of both sizes.
    """
    *batch, rows, columns, n, _ = plane.shape
    matrix = conversion(n, size)
    length = len(matrix)
    down, across = rows * n // length, columns * n // length
    tiles = plane.reshape(*batch, down, length // n, across, length // n, n, n)
    tiles = np.moveaxis(tiles, -2, -4).reshape(*batch, down, length, across, length)
    tiles = np.moveaxis(matrix @ np.moveaxis(tiles, -2, -3) @ matrix.T, -3, -2)
    parts = tiles.reshape(*batch, down, length // size, size, across, length // size, size)
    return np.moveaxis(parts, -4, -2).reshape(
        *batch, down * length // size, across * length // size, size, size
    )


def patches(planes: Planes, patch: int) -> NDArray[np.float32]:
    """One row for each patch of ``patch`` x ``patch`` pixels in raster order, ``[k, 3 patch^2 / 2]``.

    The patch's own DCT of Y (patch^2 numbers), then of Cb and of Cr (half as high and wide): blocks fused for
    patches larger than a block, chroma blocks split for patches of 8.

    :param patch: 8, or a multiple of 16; the picture's sides must be multiples of it
    """
    y = regroup(planes.y, patch)
    rows, columns = y.shape[:2]
    chroma = [regroup(plane, patch // 2)[:rows, :columns] for plane in (planes.cb, planes.cr)]
    parts = [part.reshape(rows * columns, -1) for part in (y, *chroma)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def pull_back(
    kernel: Floats, bias: Floats, gain: Floats, offset: Floats
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A patch convolution on RGB pixels as a linear map of :func:`patches`: ``(weight [d, 3 p^2 / 2], bias [d])``.

    Exact where chroma is enlarged by repetition and RGB is not clipped to 0..255.

    :param kernel: ``[d, 3, p, p]``, of a convolution with stride p
    :param bias: ``[d]``
    :param gain: ``[3]``; the convolution sees ``gain * rgb + offset`` with rgb from 0 to 255
    :param offset: ``[3]``
    """
    d, _, p, _ = kernel.shape
    ycc = np.einsum("dcxy,c,ck->dkxy", kernel, gain, RGB_OF_YCC)
    # <kernel, repeated chroma> = <sums of the kernel over 2 x 2, chroma>
    chroma = ycc[:, 1:].reshape(d, 2, p // 2, 2, p // 2, 2).sum((3, 5))
    half = basis(p // 2)
    parts = [basis(p) @ ycc[:, 0] @ basis(p).T, *(half @ chroma[:, i] @ half.T for i in (0, 1))]
    weight = np.concatenate([part.reshape(d, -1) for part in parts], axis=1)
    return weight, bias + kernel.sum((2, 3)) @ (gain * 128 + offset)


def read(data: bytes, size: Size) -> Planes | None:
    """The coefficients of an abbreviated JPEG (:class:`Jpeg`) of ``size`` (height, width), without inverse DCT.

    None when ``data`` is not one, or not all of one. Head and tables are rebuilt from size and quality, so what
    arrives cannot choose dimensions, sampling, tables or scans: libjpeg meets nothing hostile but entropy-coded
    bits, in which it only ever warns. The coefficients are then coded again: other bits mean damage.
    """
    import jpeglib  # loads its C library

    codec = Jpeg()
    try:
        file = codec.restore(data, size)
    except (ValueError, IndexError):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.jpeg")
        path.write_bytes(file)
        jpeg = jpeglib.read_dct(str(path))
        planes = jpeg.Y, jpeg.Cb, jpeg.Cr
        if any(
            plane.max() > LARGEST or plane.min() < -LARGEST for plane in planes
        ):  # libjpeg could not code these
            return None
        jpeg.write_dct(str(path))
        if codec.strip(path.read_bytes(), size) != data[1:]:
            return None
    tables = [jpeg.get_component_qt(i) for i in range(3)]
    return Planes(*(plane.astype(np.float32) * table for plane, table in zip(planes, tables, strict=True)))
