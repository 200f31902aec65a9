"""The YAML file of a batch cluster and the job script that Dask-jobqueue makes of it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import semcom
from semcom import cli
from semcom.sweep.export import csv

GOOD = {"system": "slurm", "workers": 16, "cores": 4, "memory": "16GB", "walltime": "02:30:00"}


def write(folder: Path, **changes: Any) -> str:
    content = {k: v for k, v in {**GOOD, **changes}.items() if v is not ...}
    (folder / "cluster.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "cluster.yaml")


def script(path: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert cli.main(["sweep-cluster", path, "--write"]) == 0
    return capsys.readouterr().out.splitlines()


def test_slurm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = {"directives": ["--exclusive"], "prologue": ["source venv/bin/activate"], "queue": "night"}
    lines = script(write(tmp_path, account="physics", **extra), capsys)
    for line in ("-J semcom", "-p night", "-A physics", "--cpus-per-task=4", "-t 02:30:00", "--exclusive"):
        assert f"#SBATCH {line}" in lines
    start = next(i for i, line in enumerate(lines) if "distributed.cli.dask_worker" in line)
    assert {"export OMP_NUM_THREADS=1", "source venv/bin/activate"} <= set(lines[:start])
    assert "--nthreads 1" in lines[start] and "--nworkers 4" in lines[start]


def test_pbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = script(write(tmp_path, system="pbs", queue="night"), capsys)
    for line in ("-N semcom", "-q night", "-l walltime=02:30:00"):
        assert f"#PBS {line}" in lines
    assert any(line.startswith("#PBS -l select=1:ncpus=4:mem=") for line in lines)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system": "slrum"}, "Did you mean 'slurm'"),
        ({"system": ...}, "system: missing"),
        ({"workers": 0}, "workers: expected a number of workers"),
        ({"memory": "16 apples"}, "memory: expected an amount of memory such as 16GB, got '16 apples'"),
        ({"walltime": 9000}, "walltime: expected a time"),
        ({"wall_time": "1:00:00"}, "unknown key of the cluster file: 'wall_time'. Did you mean 'walltime'"),
        ({"prologue": [3]}, "prologue[0]: expected a word"),
        ({"interface": "no-such-device"}, "the cluster cannot be made"),
    ],
)
def test_bad_file(
    changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sweep-cluster", write(tmp_path, **changes), "--write"]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and len(shown.err.splitlines()) == 1 and not shown.out


def test_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweep-cluster", str(tmp_path / "none.yaml")]) == 2
    assert "cannot be read" in capsys.readouterr().err


# Stands in for Slurm: keeps the script, as sbatch does, and runs the job at once on this machine.
SBATCH = """#!/bin/sh
kept=$(mktemp "$JOBS/job.XXXXXX")
cp "$1" "$kept"
setsid bash "$kept" >"$kept.log" 2>&1 </dev/null &
echo "$!" >> "$JOBS/ids"
echo "Submitted batch job $!"
"""


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.skipif(not (shutil.which("setsid") and shutil.which("bash")), reason="jobs are shell scripts")
def test_a_started_cluster_computes_the_same_bytes(tmp_path: Path) -> None:
    for name, text in (("sbatch", SBATCH), ("scancel", "#!/bin/sh\nexit 0\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    path = write(tmp_path, workers=2, cores=2, memory="2GB", walltime="00:10:00")
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOBS": str(tmp_path)}
    command = [sys.executable, "-u", "-m", "semcom.cli", "sweep-cluster", path]
    scenario = {
        "data": {"name": "scenes", "split": "test", "samples": 6},
        "systems": ["jpeg", "caption-text"],
        "link": {"channel": "rayleigh", "modulation": "qpsk", "code_rate": 0.5},
        "tasks": ["classification"],
        "sweep": {"snr_db": [0, 15], "channel_uses": [600]},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(scenario))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as cluster:
        try:
            assert cluster.stdout is not None
            told = "".join(next(cluster.stdout) for _ in range(2))
            (address,) = re.findall(r"tcp://[\d.]+:\d+", told)
            run = [
                "run",
                str(tmp_path / "small.yaml"),
                "--out",
                str(tmp_path / "there"),
                "--scheduler",
                address,
            ]
            options = ["--quiet", "--no-report", "--no-cache"]
            subprocess.run([*command[:4], *run, *options], check=True, timeout=240)
        finally:
            cluster.send_signal(signal.SIGINT)
            for job in (tmp_path / "ids").read_text().split() if (tmp_path / "ids").exists() else ():
                try:
                    os.killpg(int(job), signal.SIGKILL)
                except ProcessLookupError:  # it has ended with its scheduler
                    continue
            cluster.wait(30)
    semcom.run(tmp_path / "small.yaml", tmp_path / "here", cache=False)
    here, there = (csv(tmp_path / name, tmp_path / f"{name}-csv") for name in ("here", "there"))
    for mine, theirs in zip(here, there, strict=True):
        assert mine.read_bytes() == theirs.read_bytes(), mine.name
