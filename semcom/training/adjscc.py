"""ADJSCC on the scenes: one codec for any SNR and any number of groups."""

from __future__ import annotations

from pathlib import Path

import torch

from semcom.codecs.jscc import JSCC
from semcom.pretrained import WEIGHTS
from semcom.training import deep_jscc, loop

STEPS = 2000
SNR_DB = (-5.0, 20.0)
MATCHED = 0.5  # of the rows: the transmitter assumes the SNR that is met; else another one


def train(out: Path | None = None, device: str = "cpu", steps: int | None = None) -> Path:
    """Train the codec at an SNR drawn for each image; half of the transmitters assume a wrong one."""
    torch.set_num_threads(1)
    folder, steps = out or WEIGHTS / "adjscc", steps or STEPS
    torch.manual_seed(1)
    codec = JSCC(**deep_jscc.SHAPE, adaptive=True)
    minutes = deep_jscc.fit(folder, codec, SNR_DB, steps, matched=MATCHED, device=device)
    card = deep_jscc.recipe("adjscc", steps, minutes, "uniform from -5 to 20 dB for each image")
    settings = [{"design_snr_db": snr} for snr in (0.0, 10.0, 20.0)]
    config = {**deep_jscc.SHAPE, "adaptive": True}
    return loop.finish(folder, codec, config, card, lambda: deep_jscc.score("adjscc", folder, settings))
