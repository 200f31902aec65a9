from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a cache of its own for what transmitters sent."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SEMCOM_CACHE", str(folder))
    return folder


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """It interrupts, also where the tests were started in the background of a script, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
