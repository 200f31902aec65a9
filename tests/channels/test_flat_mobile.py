"""Fading in time: the Jakes spectrum against closed forms, and traces against what is in their file."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import channels
from channels import theory
from channels.errors import InputError
from channels.flat import FlatChannel, write_trace
from channels.flat.jakes import clarke
from channels.flat.trace import LIMITS, MAX_BYTES, read_trace


def gains(channel: channels.Channel, n: int, seeds: list[int]) -> np.ndarray:
    assert isinstance(channel, FlatChannel)
    h = channel.realise(n, seeds).gains
    assert h is not None
    return h.numpy().astype(np.complex128)


def assert_mean(values: np.ndarray, expected: float) -> None:
    z = (values.mean() - expected) / (values.std() / len(values) ** 0.5)
    assert abs(z) < 5, f"measured {values.mean():.4g}, theory {expected:.4g}, z = {z:.1f}"


# Jakes


def test_autocorrelation_is_bessel(seed: int) -> None:
    """E h(t) h*(t + tau) = J0(2 pi f tau): real over realisations, with no imaginary part."""
    rate, doppler, rows = 20.0, 150.0, 4000
    h = gains(
        channels.create("jakes", doppler_hz=doppler, symbol_rate_khz=rate),
        600,
        [seed + i for i in range(rows)],
    )
    for lag in (0, 5, 20, 51, 81, 122, 300, 599):
        product = h[:, 0] * h[:, lag].conj()
        assert_mean(product.real, float(theory.clarke_autocorrelation(doppler, lag / rate / 1000)))
        if lag:
            assert_mean(product.imag, 0.0)


def test_autocorrelation_in_time_is_bessel(seed: int) -> None:
    """The same in the course of one realisation: what a receiver on the move meets."""
    doppler, n = 0.02, 8000
    rows = np.stack([clarke(n, doppler, seed + i) for i in range(200)]).astype(np.complex128)
    assert np.mean(np.abs(rows) ** 2) == pytest.approx(1, abs=0.05)
    for lag in (10, 19, 30, 44, 100):
        inside = (rows[:, :-lag] * rows[:, lag:].conj()).mean(axis=1).real
        assert_mean(inside, float(theory.clarke_autocorrelation(doppler, lag)))


def test_envelope_is_rayleigh_and_phase_uniform(seed: int) -> None:
    channel = channels.create("jakes")
    h = gains(channel, 40, [seed + i for i in range(20_000)])
    for instant in (0, 39):
        power = np.abs(h[:, instant]) ** 2
        assert stats.kstest(power, theory.rayleigh_cdf).pvalue > 1e-6
        assert stats.kstest(np.angle(h[:, instant]), stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-6
        assert_mean(power, 1.0)
        for deep in (0.01, 0.1):
            assert_mean((power < deep).astype(float), float(theory.rayleigh_cdf(deep)))


def test_level_crossing_rate_is_that_of_rice(seed: int) -> None:
    """Upward crossings of a level a second: the slope of the envelope and its law, together."""
    doppler, rows, n = 0.004, 400, 5000  # 250 samples a turn: fewer than one crossing in 2000 goes unseen
    envelope = np.abs(np.stack([clarke(n, doppler, seed + i) for i in range(rows)]))
    for level in (0.3, 0.7, 1.0, 1.5):
        up = ((envelope[:, :-1] < level) & (envelope[:, 1:] >= level)).sum(axis=1)
        assert_mean(up, float(theory.rayleigh_crossings(doppler, level)) * (n - 1))


def test_speed_only_stretches_time(seed: int) -> None:
    fast = clarke(100, 0.04, seed)
    slow = clarke(400, 0.01, seed)
    assert np.allclose(fast, slow[::4], atol=1e-5)
    still = clarke(3000, 0.0, seed)
    assert np.allclose(still, still[0], atol=1e-6)


def test_options_meet_in_the_doppler_of_a_symbol(seed: int) -> None:
    one = channels.create("jakes", doppler_hz=50.0, symbol_rate_khz=10.0)
    two = channels.create("jakes", doppler_hz=500.0, symbol_rate_khz=100.0)
    assert np.array_equal(gains(one, 3000, [seed]), gains(two, 3000, [seed]))


@pytest.mark.parametrize("n", [1, 31, 32, 1023, 1024, 1025, 5000])
def test_longer_rows_begin_like_shorter_ones(n: int, seed: int) -> None:
    assert np.array_equal(clarke(6000, 0.003, seed)[:n], clarke(n, 0.003, seed))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("jakes", {"doppler_hz": -1}, "jakes: doppler_hz must be a number >= 0"),
        ("jakes", {"doppler_hz": 501, "symbol_rate_khz": 1}, "doppler_hz must be .* <= 500, not 501"),
        ("jakes", {"doppler_hz": float("nan")}, "doppler_hz must be"),
        ("jakes", {"symbol_rate_khz": 0}, "symbol_rate_khz must be"),
        ("jakes", {"symbol_rate_khz": "fast"}, "symbol_rate_khz must be"),
        ("trace", {"symbol_rate_khz": -5}, "symbol_rate_khz must be"),
        ("trace", {"file": 5}, "trace: file must be the path of a CSV file, not 5"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        channels.create(name, **options)


# Traces


@pytest.fixture
def steps(tmp_path: Path) -> str:
    """Four values, held for 1, 2, 1 and (the mean step) 4/3 ms."""
    path = tmp_path / "steps.csv"
    path.write_text("time_s,snr_db\n5.000,10\n5.001,0\n5.003,-20\n5.004,3\n")
    return str(path)


def test_values_are_held_and_wrap_around(steps: str, seed: int) -> None:
    """Every row is the step function of the file, from some start, scaled to mean power 1."""
    power = 10 ** (np.array([10, 0, -20, 3]) / 10)
    holds = np.array([1, 2, 1, 4 / 3])
    power = power / (power @ holds / holds.sum())
    rate = 300.0
    channel = channels.create("trace", file=steps, symbol_rate_khz=rate)
    samples = 1600  # one period of 16/3 ms
    h = gains(channel, 3 * samples, [seed + i for i in range(20)])
    assert np.all(h.imag == 0) and np.all(h.real > 0)
    for row in np.abs(h) ** 2:
        nearest = np.abs(row[:, None] / power - 1).argmin(axis=1)
        assert np.allclose(row, power[nearest], rtol=1e-5)
        counts = np.bincount(nearest, minlength=4) / 3
        assert np.allclose(counts, holds * rate, atol=1.01)
        assert set(np.diff(nearest) % 4) == {0, 1}  # in the order of the file


def test_rows_start_at_random_times(steps: str, seed: int) -> None:
    channel = channels.create("trace", file=steps)
    power = np.abs(gains(channel, 1, [seed + i for i in range(20_000)])[:, 0]) ** 2
    assert_mean(power, 1.0)
    assert_mean((power < 0.02).astype(float), 1 / (16 / 3))


def test_the_level_of_a_trace_does_not_matter(tmp_path: Path, seed: int) -> None:
    for name, offset in (("low", -40), ("high", 80)):
        text = "".join(f"{t / 10},{v + offset}\n" for t, v in enumerate((3, -7, 12, 0, 5)))
        (tmp_path / name).write_text("time_s,snr_db\n" + text)
    low, high = (gains(channels.create("trace", file=str(tmp_path / f)), 50, [seed]) for f in ("low", "high"))
    assert np.allclose(low, high, rtol=1e-6)


def test_files_of_other_makers(tmp_path: Path, seed: int) -> None:
    """A byte order mark, other columns, another order, spaces, blank lines, Windows line ends; one sample."""
    path = tmp_path / "other.csv"
    path.write_bytes(
        b'\xef\xbb\xbfsnr_db, place ,time_s\r\n 3.5,home,0\r\n\r\n-2,"a, b",1.5\r\n1e1,,1.75\r\n'
    )
    times, snr_db = read_trace(str(path))
    assert times.tolist() == [0, 1.5, 1.75] and snr_db.tolist() == [3.5, -2, 10]
    path.write_text("time_s,snr_db\n7,3\n")
    assert np.array_equal(gains(channels.create("trace", file=str(path)), 20, [seed])[0], np.ones(20))


def test_the_file_is_read_once_and_travels(steps: str, seed: int) -> None:
    channel = channels.create("trace", file=steps)
    assert repr(channel).startswith(f"Trace(file={steps!r}, symbol_rate_khz=100.0, content=")
    other = Path(steps).with_name("other.csv")
    other.write_text("time_s,snr_db\n0,1\n1,2\n")
    assert repr(channel)[-10:] != repr(channels.create("trace", file=str(other)))[-10:]
    x = torch.ones(2, 50, dtype=torch.complex64)
    y, no = channel(x, 5.0, seed)
    Path(steps).unlink()
    for same in (channel, pickle.loads(pickle.dumps(channel))):
        again, again_no = same(x, 5.0, seed)
        assert torch.equal(again, y) and torch.equal(again_no, no)


def test_without_a_file_the_trace_is_rayleigh_fading(seed: int) -> None:
    """A hundred fades: their powers are exponential up to a hundredth or so; the mean is exact."""
    channel = channels.create("trace")
    assert np.array_equal(gains(channel, 20, [seed]), gains(channels.create("trace"), 20, [seed]))
    power = np.abs(gains(channels.create("trace", symbol_rate_khz=1.0), 10_000, [seed])[0]) ** 2
    assert power.mean() == pytest.approx(1, rel=1e-4)
    assert stats.kstest(power, theory.rayleigh_cdf).statistic < 0.1


def test_written_traces_are_the_jakes_process(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "walk.csv"
    write_trace(path, doppler_hz=5.0, seconds=3.0, step_s=0.01, seed=seed, mean_snr_db=12.0)
    times, snr_db = read_trace(str(path))
    assert np.allclose(times, np.arange(300) / 100, rtol=0, atol=1e-12)
    assert np.allclose(snr_db, 20 * np.log10(np.abs(clarke(300, 0.05, seed))) + 12, atol=1e-4)
    first = path.read_bytes()
    write_trace(path, doppler_hz=5.0, seconds=3.0, step_s=0.01, seed=seed, mean_snr_db=12.0)
    assert path.read_bytes() == first
    channels.create("trace", file=str(path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"doppler_hz": -1.0}, "doppler_hz must be"),
        ({"doppler_hz": 51.0}, "doppler_hz must be .* <= 50"),
        ({"step_s": 0.0}, "step_s must be"),
        ({"seconds": 0.0}, "seconds must be"),
        ({"seconds": 1e6}, "seconds must be"),
        ({"mean_snr_db": float("inf")}, "mean_snr_db must be"),
        ({"path": "/nowhere/at/all.csv"}, "cannot be written"),
    ],
)
def test_bad_traces_are_not_written(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    good: dict[str, Any] = {
        "path": tmp_path / "t.csv", "doppler_hz": 5.0, "seconds": 1.0, "step_s": 0.01, "seed": 1,
    }  # fmt: skip
    with pytest.raises(InputError, match=message):
        write_trace(**(good | arguments))
    assert not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: must be a header with columns time_s and snr_db"),
        (b"\n\n", "line 1: must be a header"),
        (b"0,1\n1,2\n", "line 1: must be a header"),
        (b"time,snr\n0,1\n", "line 1: must be a header"),
        (b"time_s,time_s,snr_db\n0,1,2\n", "line 1: must be a header"),
        (b"time_s,snr_db\n", "has a header but no samples"),
        (b"time_s,snr_db\n0,1\n1\n", "line 3: snr_db must be a number, -300 to 300, not ''"),
        (b"time_s,snr_db\n0,loud\n", "line 2: snr_db must be a number, -300 to 300, not 'loud'"),
        (b"time_s,snr_db\n0,nan\n", "line 2: snr_db must be a number"),
        (b"time_s,snr_db\n0,1\n\n1,inf\n", "line 4: snr_db must be a number"),
        (b"time_s,snr_db\n0,301\n", "line 2: snr_db must be a number, -300 to 300, not '301'"),
        (b"time_s,snr_db\nnan,1\n", "line 2: time_s must be a number"),
        (b"time_s,snr_db\n0,1\n1,1\n1,2\n", "line 4: time_s must increase, but 1 follows 1"),
        (b"time_s,snr_db\n0,1\n-1,2\n", "line 3: time_s must increase, but -1 follows 0"),
        (b"time_s;snr_db\n0;1\n", "line 1: must be a header"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xfe", "is not text"),
        (b"\x00" * 1000, "line 1: must be a header"),
        (b"time_s,snr_db\n0,\x00\n", "line 2: snr_db must be a number"),
        (b"time_s,snr_db\n" + b"1" * 200_000 + b",1\n", "cannot be read: field larger"),
    ],
)
def test_bad_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        channels.create("trace", file=str(path))
    assert "bad.csv" in str(error.value) and len(str(error.value)) < 400


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (str(tmp_path), str(tmp_path / "missing.csv"), "", "/dev/zero", "a\0b", "x" * 5000):
        with pytest.raises(InputError, match="trace: file"):
            channels.create("trace", file=path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no plain file"):
        channels.create("trace", file=str(tmp_path / "pipe"))


def test_huge_files_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: takes no room
    with pytest.raises(InputError, match="64 MB"):
        channels.create("trace", file=str(tmp_path / "huge.csv"))


def test_values_at_their_limits(tmp_path: Path, seed: int) -> None:
    top_time, top_snr = LIMITS.values()
    path = tmp_path / "limits.csv"
    path.write_text(f"time_s,snr_db\n{-top_time},{-top_snr}\n0,{top_snr}\n{top_time},0\n")
    channel = channels.create("trace", file=str(path))
    y, no = channel(torch.ones(30, 5, dtype=torch.complex64), -150.0, seed)
    assert bool(y.isfinite().all()) and bool(no.isfinite().all())
