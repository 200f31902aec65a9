"""What the README shows, runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(b for b in blocks if containing in b)


def test_how_tos_are_short() -> None:
    for title in ("Write a scenario", "Add a system", "Add a channel"):
        section = README.split(f"## {title}\n")[1].split("\n## ")[0]
        assert len(section.splitlines()) < 40, title


def test_the_scenario_loads_and_runs(tmp_path: Path) -> None:
    import semcom

    path = tmp_path / "mine.yaml"
    path.write_text(block("yaml", "Captions against JPEG"))
    small = ["data.samples=3", "sweep.snr_db=[10]", "sweep.channel_uses=[1024]", "tasks=[vqa]"]
    frame = semcom.run(semcom.Scenario.load(path, small), out=tmp_path / "run").to_frame()
    assert {"jpeg", "caption-text", "tokens", "ceiling", "blind"} <= set(frame.system)


def test_every_link_of_the_radio_section_sends() -> None:
    import yaml

    from semcom.link import Link
    from semcom.scenario import Scenario
    from semcom.types import Message, Packet

    scenario = Scenario.load("smoke").replace(
        {"link": yaml.safe_load(block("yaml", "massive-uplink"))["link"]}
    )
    assert len({link.entry for link in scenario.links}) == 7
    for spec in scenario.links:
        link = Link(spec.channel, spec.options, spec.modulation, spec.code_rate, spec.coding, **spec.features)
        message = Message((Packet(b"meaning"),))
        (got,) = link.send([message], 40.0, [1])
        assert got.packets[0].ok and got.packets[0].payload == b"meaning", spec.label
        assert 0 < got.ledger.channel_uses <= link.uses(message)


def test_the_new_system_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from semcom import systems
    from semcom.link import Link
    from semcom.systems.base import System, register
    from semcom.types import Message, Packet, Recovered

    scope: dict[str, Any] = {
        "np": np, "PIL": PIL, "System": System, "register": register,
        "Message": Message, "Packet": Packet, "Recovered": Recovered,
    }  # fmt: skip
    try:
        exec(block("python", "class Thumbnail"), scope)
        system = systems.create("thumbnail")
        images = [np.full((64, 64, 3), value, np.uint8) for value in (10, 200)]
        link = Link("awgn")
        assert all(m.outage for m in system.transmit(images, link.budget(100)))
        air = link.send(system.transmit(images, link.budget(2000)), 10.0, [1, 2])
        for image, got in zip(images, system.receive(air, [(64, 64)] * 2), strict=True):
            assert np.array_equal(got.image, image)
    finally:
        systems.SYSTEMS.pop("thumbnail", None)


def test_the_new_channel_has_unit_gain() -> None:
    import channels
    from channels.base import check_number, register
    from channels.draws import generator
    from channels.flat import BlockFading

    scope: dict[str, Any] = {
        "np": np, "register": register, "BlockFading": BlockFading, "check_number": check_number,
        "generator": generator,
    }  # fmt: skip
    try:
        exec(block("python", "class LogNormal"), scope)
        channel: Any = channels.create("lognormal", sigma_db=3.0)
        power = np.abs(channel.draw_gains(200_000, seed=5)) ** 2
        assert abs(power.mean() - 1) < 5 * power.std() / 200_000**0.5
        assert abs(np.std(10 * np.log10(power)) - 3.0) < 0.05
    finally:
        channels.CHANNELS.pop("lognormal", None)
