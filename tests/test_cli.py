"""The command line, from good input to every bad one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from semcom import cli
from semcom.interrupts import interruptible
from semcom.sweep.results import Results
from tests.vlm import tiny

MODULE = [sys.executable, "-m", "semcom.cli"]


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scenario file of real systems over a tiny random pair of models."""
    folder = tmp_path_factory.mktemp("cli")
    dual = tiny.clip(folder / "clip")
    generative = tiny.llava(folder / "llava", dual)
    path = folder / "tiny.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "title": "Tiny",
                "data": {"name": "scenes", "samples": 3},
                "vlm": {"dual": str(dual), "generative": str(generative)},
                "systems": ["jpeg", {"name": "embedding", "bits": 1}],
                "link": "awgn",
                "tasks": ["classification"],
                "sweep": {"snr_db": [-5, 15], "channel_uses": [256, 2048]},
            }
        )
    )
    return path


@pytest.fixture(scope="module")
def finished(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that scenario's results."""
    out = tmp_path_factory.mktemp("run")
    assert cli.main(["run", str(scenario), "--out", str(out), "--quiet", "--no-report"]) == 0
    return out


def test_run_ends_with_table_and_paths(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    change = ["--set", "systems=[jpeg]", "--set", "sweep.channel_uses=[2048]"]
    assert cli.main(["run", str(scenario), "--out", str(out), *change]) == 0
    shown = capsys.readouterr()
    assert "4/4 points" in shown.err
    row = next(line for line in shown.out.splitlines() if line.strip().startswith("jpeg"))
    frame = Results.open(out).to_frame()
    good = frame[(frame["system"] == "jpeg") & (frame["snr_db"] == 15)].iloc[0]
    assert f"{good['score']:.2f} [{good['ci_low']:.2f}, {good['ci_high']:.2f}]" in row
    paths = [Path(line) for line in shown.out.splitlines() if line.endswith((".png", ".html"))]
    assert len(paths) > 2 and all(p.stat().st_size > 1000 for p in paths)
    assert yaml.safe_load((out / "scenario.yaml").read_text())["systems"] == [
        {"name": "jpeg", "label": "jpeg"}
    ]


def test_second_run_continues(finished: Path, scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "results.sqlite").stat().st_mtime_ns
    assert cli.main(["run", str(scenario), "--out", str(finished), "--quiet", "--no-report"]) == 0
    assert (finished / "results.sqlite").stat().st_mtime_ns == before
    assert capsys.readouterr().err == ""


def test_report_of_a_finished_run(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(finished), "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and "embedding" in shown.out
    assert (tmp_path / "report.html").exists()


def test_report_follows_a_run(scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*MODULE, "run", str(scenario), "--out", str(tmp_path), "--quiet"]
    with subprocess.Popen([*command, "--no-report"], stdout=subprocess.DEVNULL) as run:
        while not (tmp_path / "scenario.yaml").exists():
            assert run.poll() is None, "the run ended before it began"
            time.sleep(0.05)
        assert cli.main(["report", str(tmp_path), "--follow", "--every", "0.2"]) == 0
        assert run.wait(60) == 0
    assert "embedding" in capsys.readouterr().out and (tmp_path / "report.html").exists()


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    from channels import CHANNELS
    from semcom.systems import SYSTEMS
    from semcom.tasks import TASKS

    assert cli.main(["list"]) == 0
    everything = capsys.readouterr().out
    for what, names in {
        "systems": SYSTEMS,
        "channels": CHANNELS,
        "tasks": TASKS,
        "datasets": ["scenes", "folder", "coco-captions", "vqav2", "hub"],
        "scenarios": ["quickstart", "smoke"],
        "vlms": ["embedded"],
    }.items():
        assert cli.main(["list", what]) == 0
        lines = capsys.readouterr().out.splitlines()
        found = {line.split()[0] for line in lines[1:]}
        assert set(names) <= found
        assert all(len(line.split()) > 1 for line in lines[1:]), "every entry is explained"
        assert all(line in everything for line in lines[1:])
    assert "coherence" in everything and "headers" in everything  # the options are shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quickstrat"], "Did you mean 'quickstart'"),
        (["run", "/does/not/exist.yaml"], "No such file"),
        (["run", "SCENARIO", "--set", "systems=[jpg]"], "Did you mean 'jpeg'"),
        (["run", "SCENARIO", "--set", "sweep.snr_db=[.nan]"], "sweep.snr_db"),
        (["run", "SCENARIO", "--set", "sweep.channel_uses=[]"], "sweep.channel_uses"),
        (["run", "SCENARIO", "--set", "data.samples=0"], "samples"),
        (["run", "SCENARIO", "--set", "data.samples=-3"], "samples"),
        (["run", "SCENARIO", "--set", "link={channel: rayleigh, coherence: -1}"], "coherence"),
        (["run", "SCENARIO", "--set", "link.code_rate=0.99"], "rate"),
        (["run", "SCENARIO", "--set", "systems=[{name: embedding, bits: 3}]"], "bits"),
        (["run", "SCENARIO", "--set", "vlm=/no/such/folder"], "/no/such/folder"),
        (["run", "SCENARIO", "--out", "/proc/semcom"], "/proc"),
        (["run", "SCENARIO", "--out", "FINISHED"], "another scenario"),
        (["report", "/does/not/exist"], "no results here"),
        (["report", "DAMAGED"], "damaged"),
        (["train", "generativ"], "Did you mean 'generative'"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str],
    message: str,
    scenario: Path,
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "results.sqlite").write_bytes(bytes(range(256)) * 20)
    places = {"SCENARIO": str(scenario), "FINISHED": str(finished), "DAMAGED": str(tmp_path / "damaged")}
    if "FINISHED" in arguments:
        arguments = [*arguments, "--set", "seed=5"]
    arguments = [places.get(a, a) for a in arguments]
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.startswith("semcom: ")
    assert len([line for line in shown.err.splitlines() if not line[0].isdigit()]) == 1
    for folder in tmp_path.glob("runs/*"):
        assert Results.open(folder).progress()[0] == 0  # so that the corrected scenario may take it over


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run"],
        ["run", "smoke", "--workers", "0"],
        ["run", "smoke", "--workers", "two"],
        ["list", "cats"],
    ],
)
def test_bad_usage_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2 and "usage: semcom" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out.startswith("semcom 0.")


def test_reader_that_leaves_is_no_error() -> None:
    process = subprocess.Popen([*MODULE, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 0


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    """The living children of a process: the fourth field of /proc/PID/stat is the parent."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_dead_parent_leaves_no_workers(scenario: Path, tmp_path: Path) -> None:
    """kill -9 of the run: its workers end by themselves."""
    many = "sweep.channel_uses=[" + ",".join(str(n) for n in range(200, 500)) + "]"
    process = subprocess.Popen(
        [*MODULE, "run", str(scenario), "--out", str(tmp_path), "--workers", "2", "--set", many, "--quiet"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    done = 0
    while done < 4 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.5)
        if (tmp_path / "scenario.yaml").exists():
            done = Results.open(tmp_path).progress()[0]
    children = _children(process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(map(_alive, children)):
        time.sleep(0.1)
    assert len(children) >= 2 and not any(map(_alive, children))


@pytest.mark.usefixtures("ctrl_c")
def test_a_ctrl_c_that_meets_a_finaliser_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", dropped.append)
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as check:
        check()
        Interrupted()
        assert not dropped  # by Python, but nobody needs to read of it
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a script
    try:
        with interruptible() as check:
            signal.raise_signal(signal.SIGINT)
            check()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_ctrl_c_with_workers(scenario: Path, tmp_path: Path) -> None:
    """Finished points are kept, exit code 130, one message, no process left behind."""
    many = "sweep.channel_uses=[" + ",".join(str(n) for n in range(200, 500)) + "]"
    process = subprocess.Popen(
        [*MODULE, "run", str(scenario), "--out", str(tmp_path), "--workers", "2", "--set", many, "--quiet"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    done = 0
    deadline = time.monotonic() + 240
    while done < 4 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.5)
        if (tmp_path / "scenario.yaml").exists():
            done = Results.open(tmp_path).progress()[0]
    children = _children(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines() == ["semcom: interrupted; finished points are kept, the same command continues"]
    assert Results.open(tmp_path).progress()[0] >= done >= 4
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(map(_alive, children)):
        time.sleep(0.1)
    assert len(children) >= 2 and not any(map(_alive, children))


def test_doctor_names_what_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import channels
    from semcom import doctor

    checks = [channels.Check("unit gain", 1.0, 1.01, 0.1), channels.Check("noise", 1.0, 1.5, 0.1)]
    monkeypatch.setattr(channels, "selftest", lambda seconds: checks)
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    assert cli.main(["doctor", "--seconds", "1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if line.startswith("FAIL")]
    assert any("no-such-package" in line for line in failed)
    assert any("noise" in line and "measured 1.5" in line for line in failed)
    assert not any("unit gain" in line for line in failed) and lines[-1] == "some checks failed"
    assert sum(line.startswith("ok   codec") for line in lines) == 4


def test_train_passes_what_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from semcom import training

    got: dict[str, object] = {}

    def train(out: Path | None = None, device: str = "cpu", steps: int | None = None) -> Path:
        got.update(out=out, device=device, steps=steps)
        return tmp_path

    module = type(sys)("fake_recipe")
    module.train = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_recipe", module)
    monkeypatch.setitem(training.RECIPES, "fake", training.Recipe("fake_recipe", "for a test"))
    assert cli.main(["train", "fake", "--steps", "7", "--out", str(tmp_path)]) == 0
    assert got == {"out": tmp_path, "device": "cpu", "steps": 7}
    assert cli.main(["train", "fake", "--workers", "2"]) == 2  # an option that the recipe does not have
