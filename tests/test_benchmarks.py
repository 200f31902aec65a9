"""The benchmark of the sweep engine, on a tiny setting: its two sides do the same work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.vlm import tiny


def test_engine_and_naive_loop_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    monkeypatch.delitem(sys.modules, "sweep", raising=False)
    import sweep

    dual = tiny.clip(tmp_path / "clip")
    vlm = {"dual": str(dual), "generative": str(tiny.llava(tmp_path / "llava", dual))}
    found = sweep.measure(2, 2, vlm)
    agreement = found["agreement"]
    assert agreement["answers"] > 50
    assert agreement["equal answers"] > 0.95
    assert agreement["points that differ significantly"] == []
    assert set(found["engine by SNR points"]) == {1, 2}
