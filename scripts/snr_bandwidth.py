"""VQA accuracy over SNR and bandwidth: pictures against captions and visual tokens.

    python scripts/snr_bandwidth.py [--samples 200] [--workers 2] [--out runs/snr-bandwidth]

Copy it and change what you like: any field of a scenario can be an axis.
"""

from __future__ import annotations

import argparse

import semcom

SCENARIO = {
    "title": "SNR x bandwidth",
    "data": {"name": "scenes", "split": "test", "samples": 200},
    "systems": ["jpeg", "caption-text", {"name": "visual-tokens", "select": "divprune", "bits": 1}],
    "link": {"channel": "rayleigh", "coherence": 64, "mcs": ["qpsk-1/2", "qam16-1/2"]},
    "tasks": ["vqa"],
    "sweep": {"snr_db": [10], "channel_uses": [384]},
}
AXES = {
    "sweep.snr_db": [-5, 0, 5, 10, 15, 20],
    "sweep.channel_uses": [96, 192, 384, 768, 1536],
}


def main() -> None:
    """Run, then print the best system at each point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", default="runs/snr-bandwidth")
    options = parser.parse_args()
    scenario = semcom.Scenario.load(SCENARIO).replace({"data.samples": options.samples})
    found = semcom.sweep(scenario, AXES, options.out, options.workers, progress=True)
    frame = found.to_frame()
    radio = frame[frame["snr_db"].notna() & (frame["question_type"] == "")]
    table = radio.pivot_table("score", "system", ["budget_uses", "snr_db"], aggfunc="max")  # the best MCS
    print(table.idxmax().unstack("snr_db").to_string())
    print(table.max().unstack("snr_db").round(2).to_string())


if __name__ == "__main__":  # worker processes import this file
    main()
