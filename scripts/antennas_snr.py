"""What more antennas buy: task accuracy over transmit and receive antennas and SNR.

python scripts/antennas_snr.py [--samples 200] [--workers 2] [--out runs/antennas-snr]
"""

from __future__ import annotations

import argparse

import semcom

SCENARIO = {
    "title": "Antennas x SNR",
    "data": {"name": "scenes", "split": "test", "samples": 200},
    "systems": ["jpeg", "caption-text"],
    "link": {"channel": "mimo", "tx_antennas": 2, "rx_antennas": 2, "modulation": "qpsk", "code_rate": 0.5},
    "tasks": ["vqa"],
    "sweep": {"snr_db": [10], "channel_uses": [768]},
}
AXES = {
    "link.tx_antennas": [1, 2, 4],
    "link.rx_antennas": [1, 2, 4],
    "sweep.snr_db": [-5, 0, 5, 10, 15],
}


def main() -> None:
    """Run, then print accuracy over antennas and SNR. Messages are encoded once: only the air differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", default="runs/antennas-snr")
    options = parser.parse_args()
    scenario = semcom.Scenario.load(SCENARIO).replace({"data.samples": options.samples})
    found = semcom.sweep(scenario, AXES, options.out, options.workers, progress=True)
    frame = found.to_frame()
    radio = frame[frame["snr_db"].notna() & (frame["question_type"] == "")]
    keys = ["system", "link.tx_antennas", "link.rx_antennas"]
    print(radio.pivot_table("score", keys, "snr_db").round(2).to_string())


if __name__ == "__main__":  # worker processes import this file
    main()
