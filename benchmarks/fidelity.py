"""System-level fidelity against decoding: block error rates of both, how far apart they are in dB, and their speed.

    python benchmarks/fidelity.py [--blocks 200] [--out benchmarks/results/fidelity.json]

Link: payloads encoded, sent and decoded. System: the same payloads over the same fading, lost with the probability
that Sionna SYS's tables give for their effective SINR. Over AWGN and over Rayleigh fading, fast (4 symbols share a
gain) and slow (all do). SNRs are those that the waterfall of decoding needs. Times are CPU times of one thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from link import cpu_name

import channels
from channels.draws import generator, row_seeds
from channels.links.bler import BlerTable, Curve
from channels.links.digital import DigitalLink
from channels.links.mcs import mcs

MCS = ("table1-4", "table1-10", "table1-17", "table1-24", "table2-23")
CHANNELS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("awgn", {}),
    ("rayleigh", {"coherence": 4}),
    ("rayleigh", {}),
)
SEED = 1


def crossing(snr_db: np.ndarray, rates: np.ndarray, target: float) -> float:
    """The SNR at which a falling curve of block error rates passes ``target``; NaN where it does not."""
    falling = np.minimum.accumulate(rates)
    if not falling[-1] < target < falling[0]:
        return float("nan")
    return float(np.interp(-target, -falling, snr_db))


def offset(link: Curve, system: Curve, target: float) -> dict[str, Any]:
    """How many dB more than decoding the tables need for ``target``, and between which values that lies.

    The interval adds up the 95 % Wilson intervals of both, so it is wider than 95 %.
    """
    snrs = np.array(link.snr_db)
    ends = [[crossing(snrs, np.array(rates), target) for rates in c.interval()] for c in (system, link)]
    values = [crossing(snrs, np.array(c.errors) / c.blocks, target) for c in (system, link)]
    numbers = {
        "link_snr_db": values[1],
        "offset_db": values[0] - values[1],
        "low_db": ends[0][0] - ends[1][1],
        "high_db": ends[0][1] - ends[1][0],
    }
    return {"bler": target} | {k: round(v, 3) if np.isfinite(v) else None for k, v in numbers.items()}


def compare(
    name: str, options: dict[str, Any], label: str, payload_bytes: int, blocks: int
) -> dict[str, Any]:
    """Both curves of one MCS over one channel."""
    channel = channels.create(name, **options)
    scheme, seeds = mcs(label), row_seeds(SEED, blocks)
    payloads = [generator(s, "payload").bytes(payload_bytes) for s in seeds]
    (link,) = BlerTable.measure(channel, scheme, payload_bytes, blocks=blocks, seed=SEED).curves
    decoded = DigitalLink(channel, scheme.modulation, scheme.code_rate)
    mapped = DigitalLink(channel, scheme.modulation, scheme.code_rate, fidelity="system")
    mapped.send(payloads[:1], 0.0, seeds[:1])  # loads the tables
    seconds = []
    for send in (decoded.send, mapped.send):
        start = time.process_time()
        errors = [sum(not r.ok for r in send(payloads, snr, seeds)) for snr in link.snr_db]
        seconds.append(time.process_time() - start)
    system = Curve(scheme, payload_bytes, link.snr_db, tuple(errors), blocks)
    return {
        "channel": " ".join([channel.name, *(f"{k}={v}" for k, v in options.items())]),
        "mcs": label,
        "payload_bytes": payload_bytes,
        "blocks": blocks,
        "snr_db": link.snr_db,
        "link_errors": link.errors,
        "system_errors": system.errors,
        "offsets": [offset(link, system, target) for target in (0.5, 0.1)],
        "link_ms": 1e3 * seconds[0] / blocks / len(link.snr_db),
        "system_ms": 1e3 * seconds[1] / blocks / len(link.snr_db),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=200, help="payloads for each SNR")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fidelity.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    rows = [compare(name, options, label, 100, args.blocks) for name, options in CHANNELS for label in MCS]
    rows += [compare("awgn", {}, label, 10, args.blocks) for label in MCS]

    print(
        "SNR that Sionna's tables need beyond decoding, at block error rates of 0.5 and 0.1 [dB], and CPU ms"
    )
    print(f"{'channel':24} {'MCS':10} {'bytes':>5} {'at 0.5':>22} {'at 0.1':>22} {'link':>7} {'system':>7}")
    for row in rows:
        texts = [
            f"{o['offset_db']:+.2f} ({o['low_db']:+.2f}, {o['high_db']:+.2f})"
            if None not in o.values()
            else "-"
            for o in row["offsets"]
        ]
        print(
            f"{row['channel']:24} {row['mcs']:10} {row['payload_bytes']:5} {texts[0]:>22} {texts[1]:>22} "
            f"{row['link_ms']:7.3f} {row['system_ms']:7.3f}"
        )
    result = {
        "date": date.today().isoformat(),
        "command": f"python benchmarks/fidelity.py --blocks {args.blocks}",
        "cpu": cpu_name(),
        "threads": 1,
        "cpu_seconds": round(time.process_time() - start, 1),
        "versions": {"python": platform.python_version()}
        | {p: version(p) for p in ("torch", "sionna", "numpy")},
        "rows": rows,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{args.out}")


if __name__ == "__main__":
    main()
