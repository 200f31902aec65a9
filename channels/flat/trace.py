"""Fading replayed from a file: SNR over time, measured or simulated."""

from __future__ import annotations

import csv
import hashlib
import math
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channels.base import check_number, register
from channels.draws import generator
from channels.errors import InputError
from channels.flat.fading import FLOOR, FlatChannel
from channels.flat.jakes import clarke

Floats = NDArray[np.float64]
LIMITS = {"time_s": 1e12, "snr_db": 300.0}  # the columns, and the largest sizes of their values
MAX_BYTES = 2**26


@register("trace", family="flat")
class Trace(FlatChannel):
    """Fading replayed from a CSV file of SNR over time, around the SNR that is asked for.

    ``file``: columns time_s and snr_db; None: ten seconds of Rayleigh fading at 10 Hz Doppler. Its power gain is
    scaled to mean 1 over the trace, so that the asked SNR is the average one. Each row starts at a random time,
    sends ``symbol_rate_khz`` symbols a millisecond, holds the latest value, and goes on at the start after the end.
    Perfect CSI. The file is read once, when the channel is made.
    """

    coherence = 1  # the trace is looked up for each symbol

    def __init__(self, file: str | None = None, symbol_rate_khz: float = 100.0) -> None:
        check_number(self.name, "symbol_rate_khz", symbol_rate_khz, 1e-3, 1e9)
        self.file, self.symbol_rate_khz = file, float(symbol_rate_khz)
        times, snr_db = _default() if file is None else read_trace(file)
        # The last value is held for the mean step, and a trace of one value for ever.
        end = times[-1] + (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else times[-1] + 1
        holds = np.diff(times, append=end)
        power = 10 ** ((snr_db - snr_db.max()) / 10)
        power /= holds @ power / holds.sum()
        self._starts, self._period = times - times[0], float(end - times[0])
        self._gains = np.sqrt(power.clip(FLOOR)).astype(np.complex64)

    def __repr__(self) -> str:
        """With a hash of what was read: another trace under the same path is another channel."""
        content = hashlib.sha256(self._starts.tobytes() + self._gains.tobytes()).hexdigest()[:8]
        return f"{super().__repr__()[:-1]}, content={content!r})"

    def draw_gains(self, blocks: int, seed: int) -> NDArray[np.complex64]:
        """One gain a symbol, from a random start."""
        start = generator(seed, "fading").random() * self._period
        time = (start + np.arange(blocks) / (1000 * self.symbol_rate_khz)) % self._period
        return self._gains[np.searchsorted(self._starts, time, side="right") - 1]


def read_trace(file: str) -> tuple[Floats, Floats]:
    """Times [s], strictly increasing, and SNRs [dB] of a CSV file with columns time_s and snr_db among others.

    :raises InputError: for a file that cannot be read or is larger than 64 MB, and for the first wrong line.
    """
    if not isinstance(file, str | os.PathLike):
        raise InputError(f"trace: file must be the path of a CSV file, not {file!r}")
    try:
        path = Path(file)
        if not path.is_file():
            raise InputError(f"trace: file {str(file)!r} is not there, or is no plain file")
        if path.stat().st_size > MAX_BYTES:
            megabytes = path.stat().st_size / 2**20
            raise InputError(f"trace: file {str(file)!r} has {megabytes:.0f} MB; at most 64 MB are read")
        with path.open(encoding="utf-8-sig", newline="") as lines:
            times, snr_db = _parse(str(file), csv.reader(lines))
    except UnicodeDecodeError:
        raise InputError(f"trace: file {str(file)!r} is not text; it must be CSV in UTF-8") from None
    except (OSError, csv.Error) as error:
        raise InputError(f"trace: file {str(file)!r} cannot be read: {error}") from None
    return np.array(times), np.array(snr_db)


def _parse(file: str, reader: Any) -> tuple[list[float], list[float]]:
    header = [name.strip() for name in next(reader, [])]
    if any(header.count(name) != 1 for name in LIMITS):
        raise InputError(
            f"trace: file {file!r}, line 1: must be a header with columns time_s and snr_db, not {str(header)[:80]}"
        )
    columns = [(name, header.index(name), limit) for name, limit in LIMITS.items()]
    values: dict[str, list[float]] = {name: [] for name in LIMITS}
    for row in reader:
        if not row:
            continue  # a blank line
        for name, column, limit in columns:
            text = row[column] if column < len(row) else ""
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if not abs(value) <= limit:  # also catches NaN
                raise InputError(
                    f"trace: file {file!r}, line {reader.line_num}: {name} must be a number, "
                    f"-{limit:g} to {limit:g}, not {text[:40]!r}"
                )
            values[name].append(value)
        times = values["time_s"]
        if len(times) > 1 and times[-1] <= times[-2]:
            raise InputError(
                f"trace: file {file!r}, line {reader.line_num}: time_s must increase, "
                f"but {times[-1]:g} follows {times[-2]:g}"
            )
    if not values["time_s"]:
        raise InputError(f"trace: file {file!r} has a header but no samples")
    return values["time_s"], values["snr_db"]


def write_trace(
    path: str | os.PathLike[str],
    doppler_hz: float,
    seconds: float,
    step_s: float,
    seed: int,
    mean_snr_db: float = 0.0,
) -> None:
    """Write a trace of Rayleigh fading with the Jakes spectrum, of mean SNR ``mean_snr_db`` over realisations.

    :param path: CSV file with columns time_s and snr_db, written over.
    :param seconds: duration, of at most 2,000,000 steps of ``step_s`` seconds, each at most half a turn.
    """
    check_number("write_trace", "step_s", step_s, 1e-9, 1e6)
    check_number("write_trace", "seconds", seconds, step_s, 2e6 * step_s)
    check_number("write_trace", "doppler_hz", doppler_hz, 0, 0.5 / step_s)
    check_number("write_trace", "mean_snr_db", mean_snr_db, -150, 150)
    n = round(seconds / step_s)
    snr_db = 20 * np.log10(np.abs(clarke(n, doppler_hz * step_s, seed)).clip(FLOOR**0.5)) + mean_snr_db
    lines = [f"{i * step_s:.12g},{value:.4f}\n" for i, value in enumerate(snr_db.tolist())]
    try:
        Path(path).write_text("time_s,snr_db\n" + "".join(lines), encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"write_trace: {str(path)!r} cannot be written: {error}") from None


@lru_cache(1)
def _default() -> tuple[Floats, Floats]:
    """Ten seconds of Rayleigh fading at 10 Hz Doppler, in steps of 1 ms."""
    h = clarke(10_000, 10 / 1000, seed=20_020_701)
    return np.arange(10_000) / 1000, 20 * np.log10(np.abs(h).clip(FLOOR**0.5))
