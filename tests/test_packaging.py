"""What a newcomer installs: the conda environment, the constraints, the make file, the wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(*lines: str) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


DECLARED = requirements(
    *PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)
)


def test_conda_environment_agrees_with_the_project() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    (pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    assert "pip" in conda and f"python{PROJECT['requires-python']}" in conda
    assert pip[-1] == "-e ."
    listed = requirements(*pip[:-1])
    for name in ("torch", "sionna", "tensorflow", "transformers", "numpy", "matplotlib", "jupyterlab"):
        assert name in listed
    for name, requirement in listed.items():
        assert requirement.specifier == DECLARED[name].specifier, name


def test_constraints_pin_what_is_declared_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = requirements(*(line for line in lines if line and not line.startswith("#")))
    needed = requirements(*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"])
    assert set(needed) <= set(pinned) <= set(DECLARED)
    for name, requirement in pinned.items():
        version = re.fullmatch(r"==([\w.]+)", str(requirement.specifier))
        assert version, f"{name} is not pinned"
        assert DECLARED[name].specifier.contains(version[1]), name


def test_version_is_one() -> None:
    import semcom

    assert semcom.__version__ == PROJECT["version"]


def test_make_refuses_an_old_python(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")  # what `python -c 'sys.exit(version < 3.11)'` ends with
    old.chmod(0o755)
    stamp = f"STAMP={tmp_path}/stamp"
    done = subprocess.run(
        ["make", "-C", ROOT, "lint", f"PYTHON={old}", stamp], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "Python 3.11 or later is needed" in done.stdout
    assert not (tmp_path / "stamp").exists()


def test_ci_ends_with_the_summary_of_pytest(tmp_path: Path) -> None:
    make = tmp_path / "make"
    make.write_text(
        "#!/bin/sh\necho 'lint fine'; echo '12 passed, 1 skipped in 3.21s'; echo tail; exit $CODE\n"
    )
    make.chmod(0o755)
    for code in ("0", "2"):
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CODE": code}
        done = subprocess.run([ROOT / ".ci" / "run"], capture_output=True, text=True, env=env, check=False)
        assert done.returncode == int(code)
        assert done.stdout.splitlines()[-1] == "12 passed, 1 skipped in 3.21s"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what git would hand over, so that no build folder stays behind."""
    source = tmp_path_factory.mktemp("source")
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        names = subprocess.run(listed, capture_output=True, check=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the git clone")
    for name in filter(None, names):
        if name.startswith(("semcom/", "channels/", "scenarios/")) or "/" not in name:
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                target.write_bytes((ROOT / name).read_bytes())
    out = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
    ]
    subprocess.run([*build, str(source)], check=True, capture_output=True, timeout=120)
    (path,) = out.glob("*.whl")
    return path


def test_wheel_holds_everything_that_runs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "semcom",
        "channels",
        "scenarios",
    }
    for folder, patterns in {
        "scenarios": ["*.yaml", "*.py"],
        "semcom": ["**/*.py", "weights/**/*.*", "report/*.j2", "report/*.css"],
        "channels": ["**/*.py"],
    }.items():
        for pattern in patterns:
            for path in (ROOT / folder).glob(pattern):
                if "checkpoint" not in path.name and path.is_file():
                    assert str(path.relative_to(ROOT)) in names
    assert any(name.startswith("semcom/weights/") and name.endswith(".safetensors") for name in names)
    assert wheel.stat().st_size < 15e6


def test_wheel_runs_outside_the_clone(wheel: Path, tmp_path: Path) -> None:
    """Installed into a virtual environment of its own (which sees the installed dependencies), from an empty folder."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = next((home / "lib").glob("python*/site-packages"))
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
        "--target",
        str(site),
    ]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, timeout=120)
    (site / "dependencies.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    work = tmp_path / "work"
    work.mkdir()
    small = ["data.samples=2", "systems=[jpeg]", "tasks=[classification]"]
    small += ["sweep={snr_db: [20], channel_uses: [2048]}"]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, "-P", "-m", "semcom.cli", "run", "quickstart", *(x for s in small for x in ("--set", s))],
        cwd=work,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "jpeg" in done.stdout
    assert (work / "runs" / "quickstart" / "report.html").exists()
    where = subprocess.run(
        [python, "-P", "-c", "import semcom, channels, scenarios; print(semcom.__file__)"],
        cwd=work,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(site))
