"""The same coded link in kaira, in Sionna called plainly and here: AWGN, 16-QAM, LDPC (326, 648), 20 iterations.

    python -m venv KAIRA
    KAIRA/bin/pip install torch==2.11.0 torchvision==0.26.0 torchaudio==2.11.0 pykaira==0.2.1
    python benchmarks/kaira_peer.py --kaira KAIRA/bin/python [--out benchmarks/results/kaira_peer.json]

kaira needs an older torch, so it runs in an environment of its own, in a process of its own, one after the other on
one thread. It has no 5G code: it decodes a regular (3, 6) Gallager code of the same k, n and iterations; Sionna and
this package decode the 5G code. Times are CPU times of encoding, mapping, channel, demapping and decoding, the best of
several runs; block error rates are printed beside them, because a fast decoder that does not decode is worth nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

K, N, BITS, ITERATIONS = 326, 648, 4, 20


def gallager(seed: int) -> np.ndarray:
    """[322, 648] parity checks of a regular (3, 6) code, linearly dependent rows left out.   [Gallager 1962]"""
    rng = np.random.default_rng(seed)
    band = np.kron(np.eye(N // 6, dtype=np.uint8), np.ones((1, 6), np.uint8))
    rows = np.concatenate([band, band[:, rng.permutation(N)], band[:, rng.permutation(N)]])
    kept: list[int] = []
    reduced: list[np.ndarray] = []  # echelon form of the rows kept
    for i, row in enumerate(rows):
        left = row.copy()
        for other in reduced:
            if left[other.argmax()]:
                left ^= other
        if left.any():
            kept.append(i)
            reduced.append(left)
    return rows[kept]


def timed(link: Callable[[], float], runs: int) -> tuple[float, float]:
    """Least CPU seconds of several runs, and the block error rate of the last."""
    link()
    best, lost = np.inf, 0.0
    for _ in range(runs):
        start = time.process_time()
        lost = link()
        best = min(best, time.process_time() - start)
    return best, lost


def kaira(blocks: int, snr_db: float, runs: int) -> tuple[float, float]:
    """kaira's blocks, as its documentation strings them together."""
    import torch
    from kaira.channels import AWGNChannel
    from kaira.models.fec.decoders import BeliefPropagationDecoder
    from kaira.models.fec.encoders import LDPCCodeEncoder
    from kaira.modulations.qam import QAMDemodulator, QAMModulator

    checks = next(h for h in map(gallager, range(100)) if len(h) == N - K)
    encoder = LDPCCodeEncoder(torch.from_numpy(checks).float())
    decoder = BeliefPropagationDecoder(encoder, bp_iters=ITERATIONS)
    no = 10 ** (-snr_db / 10)
    modulator, demodulator = QAMModulator(2**BITS), QAMDemodulator(2**BITS)
    channel = AWGNChannel(avg_noise_power=no)

    def link() -> float:
        sent = torch.randint(0, 2, (blocks, K)).float()
        received = decoder(demodulator(channel(modulator(encoder(sent))), noise_var=no))
        return float((received != sent).any(dim=1).float().mean())

    return timed(link, runs)


def sionna(blocks: int, snr_db: float, runs: int) -> tuple[float, float]:
    """Sionna's blocks called plainly, in batches of 16, where its decoder is fastest."""
    import torch
    from sionna.phy.channel import AWGN
    from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
    from sionna.phy.mapping import Demapper, Mapper

    encoder = LDPC5GEncoder(K, N, num_bits_per_symbol=BITS, check_input=False)
    decoder = LDPC5GDecoder(encoder, num_iter=ITERATIONS)
    mapper, demapper, awgn = Mapper("qam", BITS), Demapper("app", "qam", BITS), AWGN()
    no = torch.tensor(10 ** (-snr_db / 10))

    def link() -> float:
        sent = torch.randint(0, 2, (blocks, K)).float()
        parts = sent.split(16)
        received = torch.cat([decoder(demapper(awgn(mapper(encoder(p)), no), no)) for p in parts])
        return float((received != sent).any(dim=1).float().mean())

    return timed(link, runs)


def ours(blocks: int, snr_db: float, runs: int) -> tuple[float, float]:
    """The blocks of ``channels``."""
    import channels
    from channels import fec
    from channels.modem import modem

    code, channel, rng = fec.ldpc(K, N, BITS), channels.create("awgn"), np.random.default_rng()

    def link() -> float:
        sent = rng.integers(0, 2, (blocks, K), np.uint8)
        x = modem(BITS).map(code.encode(sent))
        received, _ = code.decode(channel.llr(x, snr_db, int(rng.integers(2**60)), BITS))
        return float((received != sent).any(axis=1).mean())

    return timed(link, runs)


SIDES = {"kaira": kaira, "sionna": sionna, "ours": ours}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kaira", help="python of an environment in which pykaira is installed")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--blocks", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3, help="runs of which the best counts")
    parser.add_argument("--snr-db", type=float, nargs="+", default=[6.5, 8.0, 10.0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kaira_peer.json"))
    args = parser.parse_args()
    if args.side:
        import torch

        torch.set_num_threads(1)
        measured = [SIDES[args.side](args.blocks, snr_db, args.runs) for snr_db in args.snr_db]
        names = {
            "kaira": ("pykaira", "torch"),
            "sionna": ("sionna", "torch"),
            "ours": ("semcom", "sionna", "torch"),
        }
        print(json.dumps({"points": measured, "versions": {p: version(p) for p in names[args.side]}}))
        return
    if not args.kaira:
        parser.error("--kaira PYTHON is needed: see the first lines of this file")

    rows: dict[str, Any] = {}
    for side in SIDES:
        python = args.kaira if side == "kaira" else sys.executable
        command = [python, __file__, "--side", side, "--blocks", str(args.blocks), "--runs", str(args.runs)]
        command += ["--snr-db", *map(str, args.snr_db)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rows[side] = {"versions": found["versions"]} | {
            "points": [
                {
                    "snr_db": s,
                    "ms_per_block": 1e3 * t / args.blocks,
                    "kbit_per_s": K * args.blocks / t / 1e3,
                    "bler": b,
                }
                for s, (t, b) in zip(args.snr_db, found["points"], strict=True)
            ]
        }
    print(
        f"AWGN, 16-QAM, LDPC ({K}, {N}), {ITERATIONS} iterations, {args.blocks} blocks, one thread, CPU time"
    )
    for side, row in rows.items():
        print(side, ", ".join(f"{p} {v}" for p, v in row["versions"].items()))
        for p in row["points"]:
            print(
                f"  {p['snr_db']:5.1f} dB {p['ms_per_block']:9.3f} ms per block "
                f"{p['kbit_per_s']:9.1f} kbit/s   block error rate {p['bler']:.3f}"
            )
    result = {
        "date": date.today().isoformat(),
        "command": f"python benchmarks/kaira_peer.py --kaira PYTHON --blocks {args.blocks} --runs {args.runs}",
        "python": platform.python_version(),
        "blocks": args.blocks,
        "sides": rows,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(args.out)


if __name__ == "__main__":
    main()
