"""The cache of what transmitters sent: found by content, safe against crashes, bounded, and never needed."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import semcom
from semcom.link import Link
from semcom.sweep.cache import Cache, Traced
from semcom.sweep.progress import Step
from semcom.types import Budget, Message, Packet
from tests.sweep import fakes
from tests.sweep.test_run import export

MESSAGES = [
    Message((Packet(b"one"), Packet(b"", "robust"))),
    Message(),
    Message(symbols=np.array([1 + 2j, -0.5, 3j], np.complex64)),
    Message((Packet(bytes(range(256))),), np.zeros(0, np.complex64)),
]


def encode(budget: Budget) -> list[Message]:
    """A system that looks at two answers of its budget."""
    assert budget.packet_bytes(2) >= 0 and budget.symbols() > 0
    return MESSAGES


def same(a: list[Message], b: list[Message]) -> bool:
    return all(
        x.packets == y.packets
        and (x.symbols is None) == (y.symbols is None)
        and (x.symbols is None or y.symbols is None or np.array_equal(x.symbols, y.symbols))
        for x, y in zip(a, b, strict=True)
    )


def never(budget: Budget) -> list[Message]:
    raise AssertionError("encoded again")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_comes_back_is_what_was_sent(tmp_path: Path) -> None:
    budget = Link("awgn").budget(600)
    assert Cache(tmp_path).transmit("k" * 32, budget, encode)[1] is False
    found, reused = Cache(tmp_path).transmit("k" * 32, budget, never)
    assert reused and same(found, MESSAGES)


def test_the_answers_of_the_budget_decide_not_its_channel(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.transmit("k", Link("awgn").budget(600), encode)
    assert cache.transmit("k", Link("rayleigh", {"coherence": 8}).budget(600), never)[1]
    for other in (Link("awgn").budget(601), Link("awgn", modulation="qam16").budget(600)):
        assert cache.transmit("k", other, encode)[1] is False
    assert cache.transmit("other", Link("awgn").budget(600), encode)[1] is False
    assert len(files(tmp_path)) == 4


def test_a_budget_asked_for_nothing_else(tmp_path: Path) -> None:
    traced = Traced(Link("awgn").budget(600))
    link = Link("awgn").budget(600)
    assert (traced.channel_uses, traced.symbols()) == (600, link.symbols())
    assert traced.packet_bytes() == link.packet_bytes() and traced.packet_bytes(2) == link.packet_bytes(2)
    assert [call[0] for call in traced.calls] == ["channel_uses", "symbols", "packet_bytes", "packet_bytes"]


def test_damage_is_as_good_as_nothing(tmp_path: Path) -> None:
    """Any cut and any flipped bit: encoded anew, and mended."""
    budget = Link("awgn").budget(600)
    Cache(tmp_path).transmit("k", budget, encode)
    (path,) = files(tmp_path)
    good = path.read_bytes()
    seed = np.random.SeedSequence().entropy
    rng = np.random.default_rng(seed)
    for _ in range(60):
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        cut = len(bad) if rng.random() < 0.5 else int(rng.integers(len(bad)))
        path.write_bytes(bytes(bad[:cut]))
        found, reused = Cache(tmp_path).transmit("k", budget, encode)
        assert not reused and same(found, MESSAGES), f"seed {seed}"
        assert path.read_bytes() == good


def test_it_stays_under_its_limit_and_keeps_what_is_used(tmp_path: Path) -> None:
    budget = Link("awgn").budget(600)
    cache = Cache(tmp_path)
    for i in range(20):
        cache.transmit(f"{i:02}key", budget, encode)
        os.utime(files(tmp_path / f"{i:02}")[0], (i, i))
    size = files(tmp_path)[0].stat().st_size
    cache.transmit("00key", budget, never)  # the oldest is used
    small = Cache(tmp_path, limit=5 * size)
    small.transmit("new", budget, encode)
    left = {path.parents[1].name for path in files(tmp_path)}
    assert left == {"ne", "00", "17", "18", "19"}


def test_a_folder_that_cannot_be_used_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", Path("/proc/semcom")):
        found, reused = Cache(place).transmit("k", Link("awgn").budget(600), encode)
        assert not reused and same(found, MESSAGES)


def _hammer(folder: str, number: int) -> None:
    budget = Link("awgn").budget(600)
    for i in range(40):
        assert same(Cache(Path(folder), limit=2000).transmit(f"{i % 7}", budget, encode)[0], MESSAGES)


def test_several_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_hammer, args=(str(tmp_path), i)) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def test_a_second_run_channel_and_snr_encode_nothing(tmp_path: Path) -> None:
    steps: list[Step] = []
    first = semcom.run(fakes.scenario(), tmp_path / "first", progress=steps.append)
    assert steps[-1].reused == 0
    for name, change in {
        "the same": {},
        "other channel": {"link": {"channel": "rayleigh", "coherence": 8}},
        "other SNRs": {"sweep": {"snr_db": [2, 4, 30], "channel_uses": [30, 400]}},
    }.items():
        fakes.CALLS.clear()
        results = semcom.run(fakes.scenario(**change), tmp_path / name, progress=steps.append)
        assert fakes.CALLS["transmitted"] == 0 and steps[-1].reused == 1, name
        if name == "the same":
            assert export(results) == export(first)
    fakes.CALLS.clear()
    without = semcom.run(fakes.scenario(), tmp_path / "without", cache=False)
    assert fakes.CALLS["transmitted"] > 0 and export(without) == export(first)


@pytest.mark.parametrize(
    "change",
    [
        {"systems": [{"name": "fake-text", "repeat": 2}]},
        {"data": {"name": "fake-pictures", "samples": 6}},
        {"systems": ["fake-answer"], "tasks": ["fake-parity", "fake-numbers"]},
    ],
    ids=["options", "images", "tasks of a transmitter that answers itself"],
)
def test_what_may_change_a_message_is_another_message(change: dict[str, Any], tmp_path: Path) -> None:
    base = fakes.scenario(systems=["fake-text", "fake-answer"])
    semcom.run(base, tmp_path / "first")
    fakes.CALLS.clear()
    semcom.run({**base, **change}, tmp_path / "second")
    assert fakes.CALLS["transmitted"] > 0
