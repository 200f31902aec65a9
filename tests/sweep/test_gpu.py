"""A GPU keeps to the CPU's scores; the comparison itself is tested without one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import semcom
from semcom.sweep import run as run_module
from tests.sweep import fakes


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    monkeypatch.delitem(sys.modules, "gpu", raising=False)


def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, name in (True, "cuda"), (False, "cpu"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert run_module._device("auto") == name
        assert run_module._device("cpu") == "cpu"


def test_the_comparison_finds_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu

    scenario = fakes.scenario(
        data={"name": "fake-pictures", "samples": 40},
        systems=["fake-text", "fake-answer"],
        sweep={"snr_db": [12], "channel_uses": [400]},
    )
    first = semcom.run(scenario, tmp_path / "first")
    same = gpu.compare(first, first)
    assert same["share of equal answers"] == 1.0 and same["largest difference of scores"] == 0
    assert not same["scores outside the interval of the CPU"] and not same["significant differences"]
    monkeypatch.setattr(fakes, "_read", lambda *a: "7")
    other = semcom.run(scenario, tmp_path / "other", cache=False)
    found = gpu.compare(first, other)
    assert found["scores outside the interval of the CPU"] and found["significant differences"] > 0
    assert found["share of equal answers"] < 0.6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_smoke_on_the_gpu() -> None:
    import gpu

    found = gpu.measure("smoke")
    assert not found["scores outside the interval of the CPU"] and not found["significant differences"], found
