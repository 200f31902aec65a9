"""Real systems over tiny random models: several processes give the very numbers of one."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import semcom
from semcom.sweep.pool import pool
from semcom.sweep.results import Results
from tests.sweep.test_run import export
from tests.vlm import tiny


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny random pair of models."""
    folder = tmp_path_factory.mktemp("vlm")
    dual = tiny.clip(folder / "clip")
    return {"dual": str(dual), "generative": str(tiny.llava(folder / "llava", dual))}


@pytest.fixture(scope="module")
def scenario(vlm: dict[str, str]) -> semcom.Scenario:
    """Every kind of thing that a system can carry, digital and analog."""
    return semcom.Scenario.load(
        {
            "data": {"name": "scenes", "samples": 5},
            "vlm": vlm,
            "systems": [
                "jpeg",
                "caption-text",
                {"name": "embedding", "analog": True},
                {"name": "visual-tokens", "select": "uniform", "bits": 4, "tokens_per_packet": 2},
                "decide-at-transmitter",
            ],
            "link": {"channel": "rayleigh", "coherence": 16, "modulation": "qpsk"},
            "tasks": ["vqa", "classification", "captioning"],
            "sweep": {"snr_db": [2, 12], "channel_uses": [400, 1200]},
        }
    )


@pytest.fixture(scope="module")
def alone(scenario: semcom.Scenario, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The results of one process."""
    return semcom.run(scenario, tmp_path_factory.mktemp("alone"))


def test_workers_change_nothing(scenario: semcom.Scenario, alone: Results, tmp_path: Path) -> None:
    assert export(semcom.run(scenario, tmp_path, workers=2)) == export(alone)
    kinds = set(alone.samples()["kind"])
    assert kinds == {"image", "text", "embedding", "tokens", "answer", "nothing"}


def test_fewer_points_are_the_same_points(scenario: semcom.Scenario, alone: Results, tmp_path: Path) -> None:
    """A sweep over one SNR and one budget repeats the numbers of the larger sweep."""
    part = semcom.run(scenario.replace({"sweep.snr_db": [12], "sweep.channel_uses": [400]}), tmp_path)
    keys = ["system", "task", "snr_db", "budget_uses", "question_type"]
    numbers = ["score", "ci_low", "ci_high", "channel_uses", "outage"]
    whole = alone.to_frame().set_index(keys)[numbers]
    few = part.to_frame().set_index(keys)[numbers]
    radio = few[few.index.get_level_values("snr_db").notna()]
    assert len(radio) > 20
    assert radio.equals(whole.loc[radio.index])


ALONE = """
import sys
import warnings
import semcom
from tests.sweep import fakes
semcom.run(fakes.scenario(), sys.argv[1])
print(sorted({name.split(".")[0] for name in sys.modules} & {"dask", "distributed", "tornado"}))
"""


def test_one_worker_does_without_dask(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALONE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")
def test_local_workers_listen_on_loopback_alone() -> None:
    """Neither scheduler nor workers can be reached from elsewhere, and no second cluster is in their way."""

    def listening() -> set[str]:
        lines = [
            x.split() for f in ("tcp", "tcp6") for x in Path(f"/proc/net/{f}").read_text().splitlines()[1:]
        ]
        return {line[9] + " " + line[1] for line in lines if line[3] == "0A"}

    def sockets(pids: list[int]) -> set[str]:
        links = [link for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()]
        names = [str(link.readlink()) for link in links if link.is_symlink()]
        return {name[8:-1] for name in names if name.startswith("socket:[")}

    with warnings.catch_warnings(), pool(2), pool(2):
        warnings.simplefilter("error")
        children = [process.pid for process in multiprocessing.active_children()]
        assert len(children) >= 4
        mine = sockets([os.getpid(), *children])
        ours = [entry.split()[1] for entry in listening() if entry.split()[0] in mine]
    assert len(ours) >= 8 and all(address.startswith("0100007F:") for address in ours)
