"""The scores of a GPU against those of the CPU, which is the reference, on the smoke scenario.

    python benchmarks/gpu.py [--scenario smoke] [--out benchmarks/results/gpu.json]

A GPU sums in another order, so that answers may change where two are nearly as likely. The tolerance: no point's score
may lie outside the 95 % interval of the CPU's score, and no paired difference over the same images and fades may be
significant after Holm's correction. Ends with an error otherwise, and where there is no GPU.

This has not been run: the numbers of the package were made on machines without a GPU.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import semcom
from semcom import stats
from semcom.sweep.results import Results

KEYS = ["system", "task", "link", "snr_db", "budget_uses", "draw", "question_type"]
PAIR = ["point", "task", "sample", "query"]


def compare(reference: Results, other: Results) -> dict[str, Any]:
    """Scores of every point of two runs of one scenario."""
    left, right = (r.to_frame().set_index(KEYS) for r in (reference, other))
    both = left.join(right["score"].rename("other"), how="outer")
    both = both[both["applicable"].astype(bool)]
    outside = both[~((both["ci_low"] <= both["other"]) & (both["other"] <= both["ci_high"]))]
    a, b = (r.samples().set_index(PAIR) for r in (reference, other))
    answers = a.join(b[["score", "answer"]], rsuffix="_other", how="outer")
    parts = [part for _, part in answers.groupby(level=["point", "task"])]
    p = [
        stats.paired_difference(
            part["score"], part["score_other"], list(part.index.get_level_values("sample"))
        )[3]
        for part in parts
    ]
    return {
        "points": len(both),
        "largest difference of scores": float((both["score"] - both["other"]).abs().max()),
        "share of equal answers": float((answers["answer"] == answers["answer_other"]).mean()),
        "scores outside the interval of the CPU": [str(key) for key in outside.index],
        "significant differences": int((stats.holm(p) <= 0.05).sum()),
    }


def measure(scenario: str, device: str = "auto") -> dict[str, Any]:
    """Both runs, without the cache on disk, and how long each took."""
    with tempfile.TemporaryDirectory() as temporary:
        seconds, results = {}, []
        for name in ("cpu", device):
            start = time.perf_counter()
            results.append(
                semcom.run(scenario, Path(temporary) / f"{len(results)}", cache=False, device=name)
            )
            seconds[f"seconds on {name}"] = round(time.perf_counter() - start, 1)
        return {**seconds, **compare(*results)}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", default="smoke")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu.json"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no GPU here", file=sys.stderr)
        return 2
    found = {
        "date": datetime.date.today().isoformat(),
        "command": f"python benchmarks/gpu.py --scenario {options.scenario}",
        "machine": f"{torch.cuda.get_device_name()}, torch {torch.__version__}",
        **measure(options.scenario),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 1 if found["scores outside the interval of the CPU"] or found["significant differences"] else 0


if __name__ == "__main__":
    sys.exit(main())
