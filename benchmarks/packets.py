"""One packet against several, of the systems that offer both, over losses and over fading.

    python benchmarks/packets.py [--samples 300] [--workers 2] [--out benchmarks/results]

VQA accuracy of both on the same images and realisations, and the paired difference (several - one) with its 95 %
interval clustered by image, at equal channel uses; p-values corrected for the number of points (Holm). Erasure: each
packet is lost with that probability, at an SNR where nothing else is. Rayleigh: each packet has its own fade.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import semcom

KINDS = {  # what is compared with one packet
    "learned-codec": ("resilient",),
    "latent-input": ("resilient",),
    "taco": ("resilient",),
    "entropic-student": ("resilient", "quadrants"),
}
LOSSES = (0.02, 0.1, 0.3)
SNR_DB = (0, 5, 10, 15, 20)
USES = (1024, 2048)


def scenario(link: dict[str, Any], snr_db: list[float], samples: int) -> dict[str, Any]:
    """Every system with one packet and with several."""
    systems = [
        {"name": name, "packets": kind, "label": f"{name}-{kind}"}
        for name, kinds in KINDS.items()
        for kind in ("one", *kinds)
    ]
    return {
        "data": {"name": "scenes", "split": "test", "samples": samples},
        "vlm": "embedded",
        "systems": systems,
        "link": {"mcs": "qpsk-1/2", **link},
        "tasks": ["vqa"],
        "sweep": {"snr_db": snr_db, "channel_uses": list(USES)},
        "seed": 1,
    }


def measure(link: dict[str, Any], snr_db: list[float], samples: int, workers: int) -> list[str]:
    """Rows of the table."""
    with tempfile.TemporaryDirectory() as folder:
        results = semcom.run(scenario(link, snr_db, samples), folder, workers)
        frame = results.to_frame()
        frame = frame[(frame["task"] == "vqa") & (frame["question_type"] == "")]
        scores = frame.set_index(["system", "budget_uses", "snr_db"])["score"]
        rows = []
        for name, kind in ((name, kind) for name, kinds in KINDS.items() for kind in kinds):
            for row in results.compare(f"{name}-{kind}", f"{name}-one", "vqa").itertuples():
                one, several = (
                    scores[f"{name}-{which}", row.budget_uses, row.snr_db] for which in ("one", kind)
                )
                verdict = "" if row.p_holm > 0.05 else kind if row.difference > 0 else "one"
                where = f"erasure {link['loss']:.0%}" if "loss" in link else f"rayleigh {row.snr_db:g} dB"
                rows.append(
                    f"| {name} | {kind} | {where} | {row.budget_uses} | {one:.1%} | {several:.1%} | "
                    f"{100 * row.difference:+.1f} [{100 * row.ci_low:+.1f}, {100 * row.ci_high:+.1f}] | {verdict} |"
                )
        return rows


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    rows = measure({"channel": "rayleigh"}, list(SNR_DB), options.samples, options.workers)
    for loss in LOSSES:
        rows += measure({"channel": "erasure", "loss": loss}, [20], options.samples, options.workers)
    rows.sort(key=lambda row: [*KINDS].index(row.split(" | ")[0][2:]))
    lines = [
        f"`python benchmarks/packets.py --samples {options.samples}`, {date.today()}: VQA, QPSK 1/2, "
        f"{options.samples} images of scenes/test, 95 % intervals.",
        "",
        "| system | packets | channel | uses | one packet | these | difference, points | significant (Holm) |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "packets.md").write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
