"""How to spend a token budget: many coarse visual tokens or few fine ones?

python scripts/tokens_bits.py [--samples 200] [--workers 2] [--out runs/tokens-bits]
"""

from __future__ import annotations

import argparse

import semcom

SCENARIO = {
    "title": "Token budget x quantiser bits",
    "data": {"name": "scenes", "split": "test", "samples": 200},
    "systems": [{"name": "visual-tokens", "select": "divprune", "bits": 4, "label": "tokens"}],
    "link": {"channel": "rayleigh", "coherence": 64, "modulation": "qpsk", "code_rate": 0.5},
    "tasks": ["vqa"],
    "sweep": {"snr_db": [15], "channel_uses": [4096]},
}
AXES = {
    "systems.tokens.keep": [4, 8, 16, 32],
    "systems.tokens.bits": [1, 2, 4, 8],
    "sweep.channel_uses": [1024, 4096],
}


def main() -> None:
    """Run, then print accuracy and cost over tokens and bits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", default="runs/tokens-bits")
    options = parser.parse_args()
    scenario = semcom.Scenario.load(SCENARIO).replace({"data.samples": options.samples})
    found = semcom.sweep(scenario, AXES, options.out, options.workers, progress=True)
    frame = found.to_frame()
    radio = frame[frame["snr_db"].notna() & (frame["question_type"] == "")]
    keys = ["budget_uses", "systems.tokens.keep", "systems.tokens.bits"]
    columns = ["score", "ci_low", "ci_high", "channel_uses", "outage"]
    print(radio.set_index(keys)[columns].sort_index().round(3).to_string())


if __name__ == "__main__":  # worker processes import this file
    main()
