"""Kill a run with kill -9 again and again at random moments, resume it each time, compare with an uninterrupted run.

    python benchmarks/kill.py [--kills 20] [--workers 2] [--seed N] [--out benchmarks/results/kill.json]

The comparison is of the canonical CSV files (``semcom export --csv``), byte by byte. The whole process group is killed:
the run, and its workers where there are several.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCENARIO = """\
title: To be killed
data: {name: scenes, split: test, samples: 250}
systems: [jpeg, caption-text, {name: embedding, bits: 1}]
link: {channel: rayleigh, coherence: 64, mcs: [qpsk-1/2, qam16-1/2]}
tasks: [classification]
sweep: {snr_db: [0, 10, 20], channel_uses: [256, 768]}
"""


def command(scenario: Path, out: Path, workers: int) -> list[str]:
    """The run, as a user starts it."""
    options = ["--out", str(out), "--workers", str(workers), "--quiet", "--no-report", "--no-cache"]
    return [sys.executable, "-m", "semcom.cli", "run", str(scenario), *options]


def export(folder: Path) -> str:
    """Hash over the canonical CSV files of a run."""
    from semcom.sweep.export import csv

    digest = hashlib.blake2b(digest_size=16)
    with tempfile.TemporaryDirectory() as temporary:
        for path in csv(folder, temporary):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def stored(folder: Path) -> int:
    """Chunks of points that are in the folder."""
    from semcom.sweep.store import Store

    if not Store.exists(folder):
        return 0
    with Store.read(folder) as store:
        return int(store.query("SELECT count(*) FROM chunks")[0][0])


def measure(kills: int, workers: int, seed: int, scenario: str = SCENARIO) -> dict[str, object]:
    """Run once undisturbed, then with ``kills`` kills."""
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = folder / "killed.yaml"
        path.write_text(scenario, "utf-8")
        start = time.monotonic()
        subprocess.run(command(path, folder / "whole", workers), check=True, stdout=subprocess.DEVNULL)
        whole = time.monotonic() - start
        killed: list[float] = []
        kept = [0]
        while len(killed) < kills:
            # the longest of these waits is long enough for a fresh run to end; later ones end sooner
            wait = moments.uniform(0.02, 1.0) * whole
            process = subprocess.Popen(
                command(path, folder / "killed", workers), start_new_session=True, stdout=subprocess.DEVNULL
            )
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                killed.append(round(wait, 2))
                kept.append(stored(folder / "killed"))
                print(f"kill {len(killed)} after {wait:.1f} s: {kept[-1]} chunks kept", flush=True)
                continue
            assert process.returncode == 0, f"exit code {process.returncode}"
            # finished before it was killed: a fresh folder, until all kills are spent
            same = export(folder / "killed") == export(folder / "whole")
            assert same, f"the resumed run differs (seed {seed})"
            print("finished before the kill, and equal; again in a new folder", flush=True)
            subprocess.run(["rm", "-rf", str(folder / "killed")], check=True)
        subprocess.run(command(path, folder / "killed", workers), check=True, stdout=subprocess.DEVNULL)
        return {
            "kills": kills,
            "workers": workers,
            "seed": seed,
            "seconds of the whole run": round(whole, 1),
            "killed after seconds": killed,
            "chunks kept at each kill": kept[1:],
            "equal bytes": export(folder / "killed") == export(folder / "whole"),
        }


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kill.json"))
    options = parser.parse_args()
    found = {
        "date": datetime.date.today().isoformat(),
        "command": f"python benchmarks/kill.py --kills {options.kills} --workers {options.workers}",
        "machine": f"{os.cpu_count()} cores",
        **measure(options.kills, options.workers, options.seed),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0 if found["equal bytes"] else 1


if __name__ == "__main__":
    sys.exit(main())
