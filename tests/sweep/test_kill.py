"""The kill test in its short form; ``benchmarks/kill.py`` is the long one."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import pytest

from tests.vlm import tiny

SCENARIO = """\
title: To be killed
data: {{name: scenes, samples: 150}}
vlm: {{dual: {dual}, generative: {generative}}}
systems: [jpeg, {{name: embedding, bits: 1}}]
link: {{channel: rayleigh, coherence: 64, modulation: qpsk}}
tasks: [classification]
sweep: {{snr_db: [0, 10], channel_uses: [256, 512, 768]}}
"""


def test_killed_three_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    monkeypatch.delitem(sys.modules, "kill", raising=False)
    import kill

    dual = tiny.clip(tmp_path / "clip")
    scenario = SCENARIO.format(dual=dual, generative=tiny.llava(tmp_path / "llava", dual))
    seed = secrets.randbits(32)
    found = kill.measure(3, 1, seed, scenario)
    assert found["equal bytes"], f"seed {seed}"
    assert len(found["killed after seconds"]) == 3  # type: ignore[arg-type]
