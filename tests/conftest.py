from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a cache of its own for what transmitters sent."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SEMCOM_CACHE", str(folder))
    return folder
