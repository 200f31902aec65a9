"""Tiny models, written once for the whole session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from semcom.vlm.dual import TransformersDualEncoder
from semcom.vlm.llava import Llava
from semcom.vlm.load import load_dual_encoder, load_generative
from tests.vlm import tiny

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folder of each tiny model, by family."""
    root = tmp_path_factory.mktemp("models")
    made = {"clip": tiny.clip(root / "clip")}
    made["llava"] = tiny.llava(root / "llava", made["clip"])
    for maker in (tiny.siglip, tiny.vipllava, tiny.blip):
        made[maker.__name__] = maker(root / maker.__name__)
    return made


@pytest.fixture(scope="session")
def dual(folders: dict[str, Path]) -> TransformersDualEncoder:
    return load_dual_encoder(str(folders["clip"]))


@pytest.fixture(scope="session")
def llava(folders: dict[str, Path]) -> Llava:
    model = load_generative(str(folders["llava"]))
    assert isinstance(model, Llava)
    return model


@pytest.fixture
def rng() -> np.random.Generator:
    """Fresh each time; pytest shows the seed when a test fails."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"rng seed {seed}")
    return np.random.default_rng(seed)
