"""The claims of the published systems, measured here: system, claim, measured, 95 % interval, verdict.

    python benchmarks/claims.py [SYSTEM ...] [--samples 1000] [--seeds 3] [--cache FOLDER] [--out FOLDER]

Verdicts come from intervals alone: *holds* when the whole interval is on the claim's side, *does not hold* when it is
on the other one, *inconclusive* otherwise. Claims about training repeat it with ``--seeds`` seeds; the short trainings
are kept in ``--cache``. Each system's part is a module of ``claims_/``; all of them take about an hour on one core.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import claims_
import torch
from claims_.base import Claim


def modules() -> list[str]:
    """The systems that have claims."""
    return sorted(m.name for m in pkgutil.iter_modules(claims_.__path__) if m.name != "base")


def rows(names: list[str], samples: int, seeds: int, cache: Path) -> Iterator[Claim]:
    """The claims of those modules, as they are measured."""
    for name in names:
        started = time.time()
        module = importlib.import_module(f"claims_.{name}")
        yield from module.claims(samples=samples, seeds=seeds, cache=cache / name)
        print(f"# {name}: {(time.time() - started) / 60:.1f} minutes", file=sys.stderr, flush=True)


def line(claim: Claim) -> str:
    """One row of the table, in Markdown."""
    interval = "" if claim.interval is None else f"{claim.interval[0]:+.3g} to {claim.interval[1]:+.3g}"
    cells = (claim.system, claim.claim, claim.measured, interval, f"**{claim.verdict}**")
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("systems", nargs="*", help=f"of: {', '.join(modules())} (default: all)")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path("runs/claims"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = ["| system | claim | measured | 95 % interval | verdict |", "|---|---|---|---|---|"]
    print("\n".join(head), flush=True)
    for name in options.systems or modules():
        found = []
        for claim in rows([name], options.samples, options.seeds, options.cache):
            found.append(line(claim))
            print(found[-1], flush=True)
        note = f"`python benchmarks/claims.py {name} --samples {options.samples} --seeds {options.seeds}`"
        file = options.out / "claims" / f"{name}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join([note, "", *head, *found]) + "\n")


if __name__ == "__main__":
    main()
