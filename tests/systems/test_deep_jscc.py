"""DeepJSCC and ADJSCC: what is sent, at what power, and what the receiver makes of it."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import numpy as np
import pytest
import torch

from channels.errors import InputError
from semcom import pretrained, systems
from semcom.codecs.jscc import JSCC
from semcom.data.scenes import Scenes
from semcom.link import Link
from semcom.systems.baselines.deep_jscc import bank
from semcom.training.air import Air
from semcom.types import Message, Reception
from tests.fakes import FakeBudget, psnr, smooth_image
from tests.systems.common import perfect

SEED = secrets.randbelow(2**32)
GROUPS = 5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Untrained weights of both systems."""
    torch.manual_seed(SEED)
    root = tmp_path_factory.mktemp("jscc")
    config = {"width": 8, "groups": GROUPS, "train_snr_db": [3, 12]}
    pretrained.save(root / "deep", bank(config), config)
    pretrained.save(root / "ad", JSCC(8, GROUPS, True), {"width": 8, "groups": GROUPS, "adaptive": True})
    return {"deep-jscc": str(root / "deep"), "adjscc": str(root / "ad")}


def create(name: str, folders: dict[str, str], **options: object) -> systems.System:
    if name == "deep-jscc":
        options.setdefault("train_snr_db", 12)
    return systems.create(name, systems.Models(), weights=folders[name], **options)


def images(count: int, size: tuple[int, int] = (64, 64)) -> list[np.ndarray]:
    return [smooth_image(np.random.default_rng(SEED + i), size) for i in range(count)]


@pytest.mark.parametrize("name", ["deep-jscc", "adjscc"])
@pytest.mark.parametrize(("size", "cells"), [((64, 64), 64), ((50, 33), 35), ((8, 3), 1)])
def test_as_many_groups_as_fit_then_repetitions(
    name: str, size: tuple[int, int], cells: int, folders: dict[str, str]
) -> None:
    system, (image,) = create(name, folders), images(1, size)
    full = GROUPS * cells
    for room in (cells - 1, cells, 2 * cells, 3 * cells - 1, full, 2 * full - 1, 2 * full, 3 * full + 1):
        (message,) = system.transmit([image], FakeBudget(room))
        expected = room // cells * cells if room < full else room // full * full
        assert message.outage == (expected == 0)
        if message.symbols is not None:
            assert len(message.symbols) == expected
            assert np.mean(np.abs(message.symbols.astype(complex)) ** 2) == pytest.approx(1, abs=1e-6)
            recovered = system.recover(perfect(message), size, None)
            assert recovered.image is not None and recovered.image.shape == (*size, 3)


@pytest.mark.parametrize("name", ["deep-jscc", "adjscc"])
def test_the_system_is_the_codec_that_was_trained(name: str, folders: dict[str, str]) -> None:
    """Both ends of the system, against the networks as the recipe runs them, on the same channel without noise."""
    system, rng = create(name, folders), np.random.default_rng(SEED)
    codec: JSCC = system.codec  # type: ignore[attr-defined]
    many, kept = images(3), torch.tensor([1, 3, GROUPS])
    x = torch.from_numpy(np.stack(many)).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        latents = codec.encode(x, torch.full((3,), 10.0))
        values, noise = Air()(latents, torch.full((3,), 120.0), rng, 64 * kept)
        expected = codec.decode(values, noise, kept, (8, 8)).clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255
    for i, image in enumerate(many):
        (message,) = system.transmit([image], FakeBudget(64 * int(kept[i])))
        got = system.recover(perfect(message), (64, 64), None).image
        assert got is not None and np.abs(got - expected[i]).max() < 0.6, SEED


def test_repetitions_are_combined(folders: dict[str, str]) -> None:
    """Two copies at twice the noise variance, with opposite errors, are one copy without error at the first."""
    system, rng = create("adjscc", folders), np.random.default_rng(SEED)
    once, twice = (system.transmit(images(1), FakeBudget(n * 64 * GROUPS))[0].symbols for n in (1, 2))
    assert once is not None and twice is not None and np.array_equal(twice, np.tile(once, 2))
    error = (0.3 * rng.normal(size=len(once))).astype(np.float32)
    received = np.concatenate([once + error, once - error])
    a = system.recover(Reception((), received, np.full(len(received), 0.2, np.float32)), (64, 64), None)
    b = system.recover(Reception((), once, np.full(len(once), 0.1, np.float32)), (64, 64), None)
    assert a.image is not None and b.image is not None
    assert np.abs(a.image.astype(int) - b.image).max() <= 1, SEED


@pytest.mark.parametrize("name", ["deep-jscc", "adjscc"])
def test_the_link_delivers_the_snr_that_was_asked_for(name: str, folders: dict[str, str]) -> None:
    """Noise of AWGN over the messages of eight images: chi-square, 5 deviations."""
    link, system, snr_db = Link("awgn"), create(name, folders), 7.0
    messages = system.transmit(images(8), link.budget(64 * GROUPS))
    received = link.send(messages, snr_db, [SEED + i for i in range(8)])
    sent = np.concatenate([m.symbols for m in messages if m.symbols is not None])
    noise = np.concatenate([r.symbols for r in received if r.symbols is not None]) - sent
    n, energy = len(noise), np.sum(np.abs(noise.astype(complex)) ** 2) * 10 ** (snr_db / 10)
    assert n == 8 * 64 * GROUPS and abs(energy - n) < 5 * n**0.5, SEED
    assert all(r.ledger.channel_uses == 64 * GROUPS for r in received)


def test_a_thumbnail_costs_less(folders: dict[str, str]) -> None:
    system = create("deep-jscc", folders, shrink=2)
    (message,) = system.transmit(images(1, (60, 100)), FakeBudget(60))
    assert message.symbols is not None and len(message.symbols) == 2 * 4 * 7
    image = system.recover(perfect(message), (60, 100), None).image
    assert image is not None and image.shape == (60, 100, 3)


def test_noise_without_end_and_symbols_without_bound(folders: dict[str, str]) -> None:
    system = create("adjscc", folders)
    for y, no in ((3e18, 1e-30), (0, np.inf), (np.nan, 0.1), (1e-30, 1e11), (1, 0)):
        n = 64 * 3 + 5
        reception = Reception((), np.full(n, y, np.complex64), np.full(n, no, np.float32))
        assert system.recover(reception, (64, 64), None).image is not None
    assert system.recover(Reception((), np.ones(63, np.complex64)), (64, 64), None).kind == "nothing"


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("deep-jscc", {"train_snr_db": "ten"}, "train_snr_db must be a number"),
        ("deep-jscc", {"shrink": 0}, "shrink must be a whole number >= 1"),
        ("adjscc", {"design_snr_db": None}, "design_snr_db must be a number"),
        ("adjscc", {"design_snr_db": float("nan")}, "design_snr_db must be a number"),
        ("adjscc", {"train_snr_db": 10}, "train_snr_db"),
    ],
)
def test_wrong_options_say_what_is_right(name: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        systems.create(name, None, **options)


def test_weights_that_are_not_there(folders: dict[str, str], tmp_path: Path) -> None:
    missing = create("deep-jscc", folders, train_snr_db=7)
    with pytest.raises(InputError, match="3, 12 dB, not 7"):
        missing.transmit(images(1), FakeBudget(1000))
    with pytest.raises(InputError, match="semcom train"):
        systems.create("adjscc", None, weights=str(tmp_path)).transmit(images(1), FakeBudget(1000))
    with pytest.raises(InputError, match="does not hold"):  # the weights of the other system
        systems.create("adjscc", None, weights=folders["deep-jscc"]).transmit(images(1), FakeBudget(1000))


@pytest.mark.parametrize("name", ["deep-jscc", "adjscc"])
def test_shipped_weights_are_as_good_as_their_card_says(name: str) -> None:
    """PSNR on scenes that no card has seen, at the SNR and budget of the card: within 5 standard errors."""
    folder = pretrained.WEIGHTS / name
    assert sum(f.stat().st_size for f in folder.iterdir()) < 3e6
    promised = json.loads((folder / "card.json").read_text())["scores"]["PSNR [dB], 10 dB, 1024 uses"]
    data = Scenes("test", 40, offset=10_000 + SEED % 10**6)
    shown = [data[i].image for i in range(40)]
    link, system = Link("awgn"), systems.create(name)
    messages: list[Message] = system.transmit(shown, link.budget(1024))
    received = system.receive(link.send(messages, 10.0, list(range(40))), [(64, 64)] * 40)
    values = [psnr(r.image, i) for r, i in zip(received, shown, strict=True) if r.image is not None]
    error = np.std(values, ddof=1) / len(values) ** 0.5
    assert len(values) == 40 and abs(np.mean(values) - promised["score"]) < 5 * error, (SEED, np.mean(values))
