"""Our digital link against Sionna's blocks called plainly: same codes, same noise, one thread, one process.

    python benchmarks/link.py [--blocks 60] [--out benchmarks/results/link.json]

Link: k = 500, n = 1000, 16-QAM over AWGN and Rayleigh fading, 12 SNRs from 0 to 22 dB stacked into one batch.
Plain: LDPC5GEncoder, Mapper, y = h x + w, division by h, Demapper("app"), LDPC5GDecoder(num_iter=20). Ours: the
separable demapper and the decoder that drops finished blocks. Times are CPU times, the best of several runs.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import Demapper, Mapper

import channels
from channels import fec
from channels.draws import generator
from channels.modem import modem

K, N, BITS = 500, 1000, 4
SNRS = np.linspace(0, 22, 12)


def timed(work: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """Least CPU seconds of several runs, and the result."""
    times, result = [], work()
    for _ in range(runs):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return min(times), result


def link(channel_name: str, blocks: int, runs: int) -> dict[str, Any]:
    """Both links on the same bits, fading and noise; one payload of k bits per block."""
    channel = channels.create(channel_name)
    snr_db = np.repeat(SNRS, blocks)
    bits = generator(1, "bits").integers(0, 2, (len(snr_db), K), np.uint8)
    seeds = list(range(len(snr_db)))
    encoder = LDPC5GEncoder(K, N, num_bits_per_symbol=BITS, check_input=False)
    mapper, demapper = Mapper("qam", BITS), Demapper("app", "qam", BITS)
    decoder = LDPC5GDecoder(encoder, num_iter=20)
    code, qam = fec.ldpc(K, N, BITS), modem(BITS)
    batch = 16  # where Sionna's decoder is fastest here

    def plain() -> np.ndarray:
        x = mapper(encoder(torch.from_numpy(bits).float()))
        y, no = channel(x, snr_db, seeds, power="trust")
        llr = demapper(y, no)
        return torch.cat([decoder(part) for part in llr.split(batch)]).numpy().astype(np.uint8)

    def ours() -> np.ndarray:
        y, no = channel(qam.map(code.encode(bits)), snr_db, seeds, power="trust")
        return code.decode(qam.demap(y, no))[0]

    plain_time, plain_bits = timed(plain, 1)
    our_time, our_bits = timed(ours, runs)
    lost = [
        (decided != bits).any(axis=1).reshape(len(SNRS), -1).mean(axis=1)
        for decided in (plain_bits, our_bits)
    ]
    return {
        "channel": channel_name,
        "plain_ms_per_block": 1e3 * plain_time / len(snr_db),
        "ours_ms_per_block": 1e3 * our_time / len(snr_db),
        "ratio": plain_time / our_time,
        "blocks": len(snr_db),
        "blocks_decided_differently": int((plain_bits != our_bits).any(axis=1).sum()),
        "snr_db": SNRS.tolist(),
        "plain_bler": lost[0].tolist(),
        "ours_bler": lost[1].tolist(),
    }


def whole_link(blocks: int, runs: int) -> dict[str, Any]:
    """``DigitalLink.send`` from bytes to bytes, CRC included, for payloads that make blocks of about this size."""
    digital = channels.DigitalLink(channels.create("rayleigh"), "qam16", 0.5)
    snr_db = [float(s) for s in np.repeat(SNRS, blocks)]
    rng = generator(1, "payload")
    payloads = [rng.bytes(60) for _ in snr_db]  # 480 + 16 bits
    seconds, received = timed(lambda: digital.send(payloads, snr_db, list(range(len(payloads)))), runs)
    return {
        "payloads": len(payloads),
        "delivered": sum(r.ok for r in received),
        "ms": 1e3 * seconds / len(payloads),
    }


def demap(bits: int, runs: int) -> dict[str, Any]:
    """Symbols per second of the joint and of the separable demapper."""
    symbols = 2**14
    sent = generator(1, "bits").integers(0, 2, (1, symbols * bits), np.uint8)
    y, no = channels.create("awgn")(modem(bits).map(sent), 20.0, 1)
    plain = Demapper("app", "qam", bits)
    plain_time, expected = timed(lambda: torch.cat([plain(a, b) for a, b in _parts(y, no)], dim=1), runs)
    our_time, ours = timed(lambda: modem(bits).demap(y, no), runs)
    return {
        "modulation": f"qam{2**bits}",
        "plain_msym_per_s": symbols / plain_time / 1e6,
        "ours_msym_per_s": symbols / our_time / 1e6,
        "ratio": plain_time / our_time,
        "largest_llr_difference": float((ours - expected).abs().max()),
    }


def _parts(y: torch.Tensor, no: torch.Tensor) -> Any:
    return zip(y.split(2**11, dim=1), no.split(2**11, dim=1), strict=True)


def cpu_name() -> str:
    """What the kernel calls the processor."""
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
    ]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=60, help="blocks for each of 12 SNRs")
    parser.add_argument("--runs", type=int, default=3, help="runs of which the best counts")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/link.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    links = [link(name, args.blocks, args.runs) for name in ("awgn", "rayleigh")]
    whole = whole_link(args.blocks, args.runs)
    demappers = [demap(bits, args.runs) for bits in (4, 6, 8)]

    print(f"LDPC ({K}, {N}), 16-QAM, 12 SNRs from 0 to 22 dB; CPU ms per block, one thread")
    print(f"{'channel':10} {'Sionna':>8} {'ours':>8} {'ratio':>7}   blocks decided differently")
    for row in links:
        print(
            f"{row['channel']:10} {row['plain_ms_per_block']:8.2f} {row['ours_ms_per_block']:8.3f} "
            f"{row['ratio']:6.1f}x   {row['blocks_decided_differently']} of {row['blocks']}"
        )
    for row in links:
        print(f"\n{row['channel']}: SNR [dB], block error rate of Sionna and ours")
        for point in zip(row["snr_db"], row["plain_bler"], row["ours_bler"], strict=True):
            print("  {:5.1f} {:8.4f} {:8.4f}".format(*point))
    print(f"\nDigitalLink.send, 60 bytes, Rayleigh: {whole['ms']:.3f} ms per payload, all included")
    print(f"\n{'demapper':10} {'Sionna':>8} {'ours':>8} {'ratio':>7}   million symbols per CPU second")
    for row in demappers:
        print(
            f"{row['modulation']:10} {row['plain_msym_per_s']:8.2f} {row['ours_msym_per_s']:8.2f} {row['ratio']:6.1f}x"
        )

    result = {
        "date": date.today().isoformat(),
        "command": f"python benchmarks/link.py --blocks {args.blocks} --runs {args.runs}",
        "cpu": cpu_name(),
        "threads": 1,
        "versions": {"python": platform.python_version()}
        | {p: version(p) for p in ("torch", "sionna", "numpy")},
        "links": links,
        "digital_link": whole,
        "demappers": demappers,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{args.out}")


if __name__ == "__main__":
    main()
