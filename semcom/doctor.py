"""Is this installation able to run: versions, codecs, devices, weights, physics."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from importlib import resources
from typing import Any

import semcom

PACKAGES = (
    "torch",
    "sionna",
    "transformers",
    "numpy",
    "av",
    "pillow",
    "matplotlib",
    "datasets",
)


def examine(seconds: float = 30) -> bool:
    """Print what was found; False when a check fails."""
    sound = [_versions(), _codecs(), _devices(), _weights(), _physics(seconds)]
    print("all well" if all(sound) else "some checks failed")
    return all(sound)


def _line(good: bool, name: str, found: str, width: int = 22) -> bool:
    print(f"{'ok  ' if good else 'FAIL'} {name:<{width}} {found}")
    return good


def _versions() -> bool:
    _line(True, "python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    sound = _line(True, "semcom", semcom.__version__)
    for name in PACKAGES:
        try:
            sound &= _line(True, name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            sound &= _line(False, name, f"not installed; pip install {name}")
    return sound


def _codecs() -> bool:
    """Each image codec writes and reads a picture."""
    import numpy as np

    from semcom import codecs

    y, x = np.mgrid[:64, :64]
    picture = np.stack([4 * x, 4 * y, 2 * (x + y)], axis=-1).astype(np.uint8)
    sound = True
    for name, version in codecs.versions().items():
        try:
            codec = codecs.create(name)
            sent = codec.encode(picture, codec.ladder[3 * len(codec.ladder) // 4])
            back = codec.decode(sent, (64, 64))
            good = back is not None and float(np.abs(back.astype(float) - picture).mean()) < 12
            found = f"{version}, a picture in {len(sent)} bytes" + ("" if good else " comes back wrong")
        except Exception as error:  # whatever a codec's library throws is the finding
            good, found = False, f"{version}: {type(error).__name__}: {error}"
        sound &= _line(good, f"codec {name}", found)
    return sound


def _devices() -> bool:
    import torch

    names = [f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} torch threads)"]
    names += [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return _line(True, "devices", ", ".join(names))


def _weights() -> bool:
    """The shipped models load, and say what they reached when they were made."""
    from semcom.codecs import CaptionModel
    from semcom.vlm import load_dual_encoder, load_generative

    loaders: dict[str, Callable[[], object]] = {
        "dual-encoder": lambda: load_dual_encoder("embedded"),
        "generative": lambda: load_generative("embedded"),
        "caption-model": CaptionModel.load,
    }
    sound = True
    for name, load in loaders.items():
        try:
            load()
            card = resources.files("semcom") / "weights" / name / "card.json"
            sound &= _line(True, f"weights {name}", scores_of(json.loads(card.read_text("utf-8"))))
        except Exception as error:  # missing, damaged, or of another version: the finding
            sound &= _line(False, f"weights {name}", f"{type(error).__name__}: {error}".split("\n")[0])
    return sound


def scores_of(card: dict[str, Any]) -> str:
    """The scores on the test set that a card holds, in one line."""
    scores = [
        f"{name} {found['test']['score']:.3f}"
        for name, found in card.get("scores", {}).items()
        if isinstance(found, dict) and isinstance(found.get("test"), dict)
    ]
    return ", ".join([f"made {card.get('made', 'at an unknown date')}", *scores])


def _physics(seconds: float) -> bool:
    import channels

    start, sound = time.monotonic(), True
    for check in channels.selftest(seconds):
        found = f"asked {check.asked:.4g}, measured {check.measured:.4g} (tolerance {check.tolerance:.2g})"
        sound &= _line(check.ok, check.name, found, 54)
    print(f"     the self-test took {time.monotonic() - start:.0f} s")
    return sound
