"""The self-test passes on a right radio and fails on a wrong one."""

from __future__ import annotations

from typing import Any

import pytest

from channels.base import CHANNELS
from channels.errors import InputError
from channels.flat.rayleigh import Rayleigh
from channels.registry import Entry
from channels.selftest import Check, selftest


def test_every_check_passes() -> None:
    checks = selftest(seconds=3)
    assert len(checks) > 15
    assert not [c for c in checks if not c.ok]


class Faint(Rayleigh):
    """Rayleigh fading with 0.5 dB too little power."""

    def draw_gains(self, blocks: int, seed: int) -> Any:
        return super().draw_gains(blocks, seed) * 10 ** (-0.5 / 20)


def test_a_wrong_channel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHANNELS, "rayleigh", Entry("rayleigh", Faint, {"family": "flat"}))
    failed = [c.name for c in selftest(seconds=3) if not c.ok]
    assert "rayleigh: E|h|^2" in failed and "rayleigh: SNR [dB]" in failed
    assert all(name.startswith("rayleigh") for name in failed)


def test_not_a_number_fails() -> None:
    assert not Check("x", 1.0, float("nan"), 1.0).ok


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), None, "x", [], True])
def test_bad_seconds(seconds: Any) -> None:
    with pytest.raises(InputError, match="seconds must be"):
        selftest(seconds)
