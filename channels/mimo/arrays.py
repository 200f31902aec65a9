"""Antenna arrays: how their fading is correlated, and how it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from channels.base import check_number
from channels.draws import complex_normal, generator
from channels.errors import InputError, one_of

CSI = ("perfect", "estimated")


@lru_cache(64)
def exponential(antennas: int, correlation: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Powers [antennas] and directions [antennas, antennas] (columns) of E h_i h_j* = correlation^|i - j|.

    The eigenvalues, of mean 1, and the eigenvectors of that matrix.   [Loyka, IEEE Commun. Lett. 5(9), 2001]
    """
    if not correlation:
        return np.ones(antennas), np.eye(antennas)
    index = np.arange(antennas)
    powers, directions = np.linalg.eigh(correlation ** np.abs(index[:, None] - index))
    return np.maximum(powers, 0), directions


def draw(seeds: Sequence[int], purpose: str, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    """[len(seeds), *shape] draws of CN(0, 1), row i from ``seeds[i]``; the first of a row do not depend on shape[0]."""
    size = int(np.prod(shape))
    rows = np.empty((len(seeds), size), np.complex64)
    for row, seed in enumerate(seeds):
        rows[row] = complex_normal(generator(seed, purpose), size)
    return rows.reshape(len(seeds), *shape)


def check_correlation(owner: str, correlation: object) -> None:
    """:class:`InputError` unless 0 <= correlation < 1."""
    check_number(owner, "correlation", correlation, 0, 1)
    if correlation == 1:
        raise InputError(
            f"{owner}: correlation must be below 1, where all antennas would be one, not {correlation!r}"
        )


def check_coherence(owner: str, coherence: object) -> None:
    """:class:`InputError` unless ``coherence`` is None or a whole number >= 1."""
    if coherence is not None:
        check_number(owner, "coherence", coherence, 1, whole=True)


def check_choice(owner: str, field: str, value: object, known: Sequence[str]) -> None:
    """:class:`InputError` unless ``value`` is one of ``known``."""
    one_of(f"{field} of channel {owner!r}:", value, known)


def check_pilots(owner: str, csi: str, pilots: object) -> None:
    """:class:`InputError` unless ``pilots`` is a whole number >= 1 with estimated CSI, and left out without."""
    if csi == "estimated":
        check_number(owner, "pilots", 1 if pilots is None else pilots, 1, 10**6, whole=True)
    elif pilots is not None:
        raise InputError(f"{owner}: pilots must be left out unless csi is 'estimated', not {pilots!r}")
