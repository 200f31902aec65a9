"""Fresh randomness for each run, printed on failure: ``TEST_SEED=... pytest ...`` repeats it."""

from __future__ import annotations

import os
import secrets

import pytest
import torch


@pytest.fixture
def seed() -> int:
    value = int(os.environ.get("TEST_SEED", secrets.randbits(40)))
    print(f"TEST_SEED={value}")
    return value


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)
