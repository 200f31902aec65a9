"""Measured block error rates: a table of counts, and a folder that keeps tables between runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.base import Channel, check_number, snr_rows
from channels.draws import generator, row_seeds
from channels.errors import InputError, one_of
from channels.fec.ldpc import ITERATIONS
from channels.links.digital import CODINGS, DigitalLink
from channels.links.mcs import MCS, candidates
from channels.links.sending import check_length

GRID = tuple(float(s) for s in np.arange(-30, 40.5, 0.5))  # SNRs [dB] between which a waterfall is looked for
_FORMAT = 1  # of the files; another number makes old ones measured again


def wilson(errors: ArrayLike, blocks: ArrayLike, z: float = 1.96) -> tuple[NDArray[Any], NDArray[Any]]:
    """Lower and upper end of Wilson's interval for the probability behind ``errors`` of ``blocks``.

    [Wilson, J. Am. Stat. Assoc. 22, 1927]; z = 1.96: 95 %.
    """
    k, n = np.asarray(errors, np.float64), np.asarray(blocks, np.float64)
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * np.sqrt(k * (n - k) / n + z * z / 4)
    return np.maximum(centre - half, 0), np.minimum(centre + half, 1)


@dataclass(frozen=True)
class Curve:
    """What one MCS lost: ``errors`` of ``blocks`` payloads of ``payload_bytes`` at each of the rising ``snr_db``."""

    mcs: MCS
    payload_bytes: int
    snr_db: tuple[float, ...]
    errors: tuple[int, ...]
    blocks: int

    def interval(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """95 % Wilson intervals of the block error rates, each end [SNRs]."""
        return wilson(self.errors, self.blocks)

    @cached_property
    def _smooth(self) -> NDArray[np.float64]:
        from scipy.optimize import isotonic_regression

        rates = np.array(self.errors) / self.blocks
        return np.asarray(isotonic_regression(rates, increasing=False).x)

    def bler(self, snr_db: ArrayLike) -> NDArray[np.float64]:
        """Block error rate at any SNR [dB]: a falling curve through the counts, joined by lines.

        Below the lowest SNR that was measured it is 1, and above the highest it stays as it was there.
        """
        return np.asarray(np.interp(np.asarray(snr_db, np.float64), self.snr_db, self._smooth, left=1.0))


@dataclass(frozen=True)
class BlerTable:
    """Block error rates of several MCSs over one channel, by rising spectral efficiency."""

    curves: tuple[Curve, ...]

    @classmethod
    def measure(
        cls,
        channel: Channel,
        mcs: str | MCS | Sequence[str | MCS] = "table1",
        payload_bytes: int | Sequence[int] = 100,
        snr_db: float | Sequence[float] = GRID,
        blocks: int = 200,
        seed: int = 1,
        coding: str = "ldpc",
    ) -> BlerTable:
        """Send ``blocks`` payloads at those SNRs [dB] that are needed to draw each curve.

        An interval of SNRs is halved as long as the error rates at its two ends can be told apart by their Wilson
        intervals, or differ at all over more than four steps; down to the steps of ``snr_db``. All SNRs and MCSs
        meet the same fading and noise.

        :param payload_bytes: one length for all, or one for each MCS (by rising efficiency).
        :raises InputError: for a bad channel, MCS, length, SNR, number of blocks or coding.
        """
        schemes = candidates(mcs)
        lengths = _lengths(payload_bytes)
        sizes = lengths if isinstance(lengths, list) else [lengths] * len(schemes)
        if len(sizes) != len(schemes):
            raise InputError(f"payload_bytes has {len(sizes)} entries for {len(schemes)} MCSs")
        check_number("BlerTable", "blocks", blocks, 1, whole=True)
        grid = sorted(set(snr_list(snr_db)))
        if not grid:
            raise InputError("snr_db must name at least one SNR")
        seeds = row_seeds(seed, blocks)
        curves = []
        for scheme, size in zip(schemes, sizes, strict=True):
            link = DigitalLink(channel, scheme.modulation, scheme.code_rate, coding)
            payloads = [generator(s, "payload").bytes(size) for s in seeds]

            def lost(snr: float, link: DigitalLink = link, payloads: list[bytes] = payloads) -> int:
                return sum(not r.ok for r in link.send(payloads, snr, seeds))

            counts = _waterfall(lost, grid, blocks)
            points = tuple(sorted(counts))
            curves.append(Curve(scheme, size, points, tuple(counts[p] for p in points), int(blocks)))
        return cls(tuple(curves))


def _waterfall(lost: Callable[[float], int], grid: Sequence[float], blocks: int) -> dict[float, int]:
    """Counts at both ends of the grid, and between where they change."""
    counts = {snr: lost(snr) for snr in dict.fromkeys((grid[0], grid[-1]))}
    waiting = [(0, len(grid) - 1)]
    while waiting:
        left, right = waiting.pop()
        ends = counts[grid[left]], counts[grid[right]]
        low, high = wilson(ends, blocks)
        apart = low[0] > high[1] or low[1] > high[0] or (ends[0] != ends[1] and right - left > 4)
        if right - left > 1 and apart:
            middle = (left + right) // 2
            counts[grid[middle]] = lost(grid[middle])
            waiting += [(left, middle), (middle, right)]
    return counts


def bler_table(
    channel: Channel,
    mcs: str | MCS | Sequence[str | MCS] = "table1",
    payload_bytes: int | Sequence[int] = 100,
    snr_db: float | Sequence[float] = GRID,
    blocks: int = 200,
    seed: int = 1,
    coding: str = "ldpc",
) -> BlerTable:
    """:meth:`BlerTable.measure`, or the same table from an earlier run.

    Tables are kept in the folder that $SEMCOM_CACHE names, or in ~/.cache/semcom. A file that is damaged, or not the
    one asked for, is measured again; a folder that cannot be written is no error.
    """
    schemes = candidates(mcs)
    check_number("BlerTable", "blocks", blocks, 1, whole=True)
    one_of("coding", coding, CODINGS)
    key = {
        "format": _FORMAT,
        "channel": f"{type(channel).__module__}.{channel!r}",
        "mcs": [[m.label, m.modulation, m.code_rate] for m in schemes],
        "payload_bytes": _lengths(payload_bytes),
        "snr_db": snr_list(snr_db),
        "blocks": int(blocks),
        "seed": row_seeds(seed, 1)[0],
        "coding": coding,
        "iterations": ITERATIONS,
        "versions": {name: version(name) for name in ("sionna", "torch")},
        "sources": _sources(),
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    path = cache_folder() / "bler" / f"{name}.json"
    table = _load(path, key, schemes)
    if table is None:
        table = BlerTable.measure(channel, schemes, payload_bytes, snr_db, blocks, seed, coding)
        _store(path, key, table)
    return table


def snr_list(snr_db: Any) -> list[float]:
    """SNRs in dB from one number or a list of them; :class:`InputError` for anything else."""
    many = isinstance(snr_db, Sequence) or (isinstance(snr_db, np.ndarray) and snr_db.ndim > 0)
    return [float(snr) for snr in snr_rows(snr_db, len(snr_db) if many else 1)]


def _lengths(payload_bytes: Any) -> int | list[int]:
    """One length for all MCSs, or a list of one for each."""
    if isinstance(payload_bytes, Sequence | np.ndarray) and not isinstance(payload_bytes, str | bytes):
        return [check_length(size) for size in payload_bytes]
    return check_length(payload_bytes)


@lru_cache(maxsize=1)
def _sources() -> str:
    """Hash of the radio's own code: a table made by other code is not this channel's."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def cache_folder() -> Path:
    """``$SEMCOM_CACHE``, else ``semcom`` in the user's cache folder."""
    if named := os.environ.get("SEMCOM_CACHE"):
        return Path(named)
    home = os.path.expanduser("~")  # noqa: PTH111  (never fails, unlike Path.home)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(home) / ".cache") / "semcom"


def _store(path: Path, key: dict[str, Any], table: BlerTable) -> None:
    """Write the file whole or not at all."""
    curves = [
        {"payload_bytes": c.payload_bytes, "snr_db": c.snr_db, "errors": c.errors} for c in table.curves
    ]
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump({"key": key, "curves": curves}, file)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _load(path: Path, key: dict[str, Any], schemes: list[MCS]) -> BlerTable | None:
    """The table in the file, if it is whole and the one that ``key`` asks for."""
    try:
        content = json.loads(path.read_text())
        if content["key"] != json.loads(json.dumps(key)):
            return None
        curves = tuple(
            _curve(scheme, key, entry) for scheme, entry in zip(schemes, content["curves"], strict=True)
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        return None
    sizes = [c.payload_bytes for c in curves]
    asked = key["payload_bytes"]
    return (
        BlerTable(curves) if sizes == (asked if isinstance(asked, list) else [asked] * len(sizes)) else None
    )


def _curve(scheme: MCS, key: dict[str, Any], entry: dict[str, Any]) -> Curve:
    snrs, errors, blocks = entry["snr_db"], entry["errors"], key["blocks"]
    rising = all(a < b for a, b in pairwise(snrs))
    counts = all(type(e) is int and 0 <= e <= blocks for e in errors)
    ends = [min(key["snr_db"]), max(key["snr_db"])]
    if not (snrs and rising and counts and len(snrs) == len(errors) and set(snrs) <= set(key["snr_db"])):
        raise ValueError("not a curve")
    if [snrs[0], snrs[-1]] != ends:
        raise ValueError("not a whole curve")
    return Curve(scheme, entry["payload_bytes"], tuple(map(float, snrs)), tuple(errors), blocks)
