"""The sweep engine against the naive loop on the same work, and the price of more SNR points, workers and samples.

    python benchmarks/sweep.py [--samples 40] [--snrs 16] [--out benchmarks/results/sweep.json]
    python benchmarks/sweep.py --scaling [--most 10000] [--out benchmarks/results/scaling.json]

The first: both run in this process with one torch thread, one after the other, models loaded and every code built
beforehand, without the cache on disk.
It stops with an error unless the two agree: no paired 95 % interval of their difference may exclude 0, and
the share of equal answers is printed (both meet the same noise; only decoders and batches differ).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

import semcom
from semcom import stats
from semcom.scenario import Scenario

sys.path.insert(0, str(Path(__file__).parent))
import naive


def scenario(samples: int, snrs: int, vlm: Any = "embedded") -> Scenario:
    """Three digital systems at one budget; ``snrs`` values from below the threshold to far above it."""
    step = 24 / max(1, snrs - 1)
    return Scenario.load(
        {
            "title": "Benchmark of the sweep engine",
            "data": {"name": "scenes", "split": "test", "samples": samples},
            "vlm": vlm,
            "systems": ["jpeg", "caption-text", {"name": "visual-tokens", "select": "divprune", "bits": 4}],
            "link": {"channel": "rayleigh", "coherence": 64, "modulation": "qpsk", "code_rate": 0.5},
            "tasks": ["vqa", "classification"],
            "sweep": {"snr_db": [round(-4 + i * step, 3) for i in range(snrs)], "channel_uses": [1024]},
        }
    )


def timed(work: Any) -> tuple[float, float, Any]:
    """Wall and processor seconds of a call, and its result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def engine(which: Scenario) -> Any:
    """A run into a folder that is thrown away: the single answers."""
    with tempfile.TemporaryDirectory() as folder:
        return semcom.run(which, folder, cache=False).samples()


def agreement(frame: Any, answers: dict[naive.Answer, tuple[str, float]]) -> dict[str, Any]:
    """Compare the two, answer by answer; the paired difference of every (system, SNR, task)."""
    frame = frame[frame["snr_db"].notna()]
    keys = list(
        zip(*(frame[c] for c in ("system", "budget_uses", "snr_db", "task", "sample", "query")), strict=True)
    )
    assert set(keys) == set(answers), "the two did not do the same work"
    frame = frame.assign(
        naive=[answers[k][1] for k in keys], same=[answers[k][0] for k in keys] == frame["answer"]
    )
    apart, worst = [], 0.0
    for key, part in frame.groupby(["system", "snr_db", "task"]):
        difference, low, high, _ = stats.paired_difference(
            part["score"].tolist(), part["naive"].tolist(), part["sample"].tolist()
        )
        worst = max(worst, abs(difference))
        if low > 0 or high < 0:
            apart.append(key)
    return {
        "answers": len(frame),
        "equal answers": float(frame["same"].mean()),
        "mean score engine": float(frame["score"].mean()),
        "mean score naive": float(frame["naive"].mean()),
        "largest difference at a point": worst,
        "points that differ significantly": [str(key) for key in apart],
    }


def measure(samples: int, snrs: int, vlm: Any = "embedded") -> dict[str, Any]:
    """All numbers."""
    torch.set_num_threads(1)
    whole = scenario(samples, snrs, vlm)
    counts = sorted({1, 2, 4, 8, snrs} & set(range(1, snrs + 1)))
    engine(whole)  # models loaded, codes built: neither side pays for it below
    growth = {}
    for count in counts:
        # the highest SNRs, at which packets arrive: what more points of a curve cost once the work is done
        wall, cpu, _ = timed(lambda c=count: engine(whole.replace({"sweep.snr_db": list(whole.snr_db[-c:])})))
        growth[count] = {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}
        print(f"engine, {count:2d} SNR points: {wall:.1f} s ({cpu:.1f} s of processor)", flush=True)
    wall_engine, cpu_engine, frame = timed(lambda: engine(whole))
    naive.run(scenario(1, snrs, vlm))
    wall_naive, cpu_naive, answers = timed(lambda: naive.run(whole))
    print(f"naive,  {snrs:2d} SNR points: {wall_naive:.1f} s ({cpu_naive:.1f} s of processor)", flush=True)
    return {
        "samples": samples,
        "snr points": snrs,
        "engine": {"wall_s": round(wall_engine, 2), "cpu_s": round(cpu_engine, 2)},
        "naive": {"wall_s": round(wall_naive, 2), "cpu_s": round(cpu_naive, 2)},
        "times faster (wall)": round(wall_naive / wall_engine, 1),
        "times faster (processor)": round(cpu_naive / cpu_engine, 1),
        "engine by SNR points": growth,
        "agreement": agreement(frame, answers),
    }


CHILD = """
import json, resource, sys, tempfile, time
import semcom
from semcom.scenario import Scenario
scenario, workers = Scenario.load(json.loads(sys.argv[1])), int(sys.argv[2])
if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        semcom.run(scenario, folder, workers, cache=False)
        seconds = time.perf_counter() - start
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu, workers_cpu = (round(used.ru_utime + used.ru_stime, 1) for used in (own, others))
    peak = round(own.ru_maxrss / 1024)
    print(json.dumps({"seconds": round(seconds, 1), "cpu_s": cpu, "workers_cpu_s": workers_cpu, "peak_mib": peak}))
"""


def child(which: Scenario, workers: int) -> dict[str, float]:
    """A run in a process of its own: seconds (models are loaded and, with workers, processes started), processor
    seconds of the parent and of its workers, and the peak resident memory of the parent, which alone is the one that
    computes."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "child.py"
        script.write_text(CHILD)
        command = [sys.executable, str(script), json.dumps(which.to_dict()), str(workers)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def scaling(most: int) -> dict[str, Any]:
    """Two workers against one on 3,000 samples, beside what two processes that share nothing reach on this machine;
    memory of one process from 100 samples to ``most``."""
    base = scenario(3000, 4)
    workers = {number: child(base, number) for number in (1, 2)}
    print("workers", workers, flush=True)
    with ThreadPoolExecutor(2) as both:
        apart = list(both.map(lambda _: child(base, 1), range(2)))
    print("side by side", apart, flush=True)
    together = max(run["seconds"] for run in apart)
    memory = {}
    few = base.replace({"systems": ["jpeg", "caption-text"], "tasks": ["classification"]})
    for samples in [n for n in (100, 1000, 10_000) if n <= most]:
        memory[samples] = child(few.replace({"data.samples": samples, "sweep.snr_db": [0, 20]}), 1)
        print("samples", samples, memory[samples], flush=True)
    return {
        "load average at the start": os.getloadavg()[0],
        "3,000 samples, workers": workers,
        "two workers against one": round(workers[1]["seconds"] / workers[2]["seconds"], 2),
        "two whole runs side by side, one process each": apart,
        "two whole runs side by side against one after the other": round(
            2 * workers[1]["seconds"] / together, 2
        ),
        "samples, one process": memory,
    }


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--snrs", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/sweep.json"))
    parser.add_argument("--scaling", action="store_true", help="workers and memory instead")
    parser.add_argument("--most", type=int, default=10_000, help="samples of the largest run of --scaling")
    options = parser.parse_args()
    if options.scaling:
        about = {
            "date": datetime.date.today().isoformat(),
            "command": f"python benchmarks/sweep.py --scaling --most {options.most}",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, one thread each",
        }
        options.out = options.out.with_name("scaling.json")
        options.out.write_text(json.dumps({**about, **scaling(options.most)}, indent=1) + "\n")
        return 0
    found = {
        "date": datetime.date.today().isoformat(),
        "command": f"python benchmarks/sweep.py --samples {options.samples} --snrs {options.snrs}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, one thread",
        **measure(options.samples, options.snrs),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["agreement"], indent=1))
    print(f"{found['times faster (wall)']} times faster; written to {options.out}")
    return 1 if found["agreement"]["points that differ significantly"] else 0


if __name__ == "__main__":
    sys.exit(main())
