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
import subprocess
import sys
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


def detection(runs: int, antennas: int = 64, users: int = 4) -> dict[str, Any]:
    """LMMSE detection of one slot of an uplink: Sionna's OFDM equaliser, and ours in its users x users form."""
    from sionna.phy.mimo import StreamManagement
    from sionna.phy.ofdm import LMMSEEqualizer, ResourceGrid

    from channels.mimo.detect import equalise

    grid = ResourceGrid(
        14, 76, 30e3, num_tx=users, num_guard_carriers=(2, 1), dc_null=True,
        pilot_pattern="kronecker", pilot_ofdm_symbol_indices=[2, 11],
    )  # fmt: skip
    used, rng, no = torch.from_numpy(grid.effective_subcarrier_ind), np.random.default_rng(1), 0.1
    draws = [rng.standard_normal((14, 76, antennas, k, 2)).astype(np.float32) for k in (users, users, 1)]
    h, x, w = (torch.from_numpy(d.view(np.complex64)[..., 0]) * 0.5**0.5 for d in draws)
    y = (h * x[:, :, :1]).sum(-1) + no**0.5 * w[..., 0]  # [14, 76, antennas]
    plain = LMMSEEqualizer(grid, StreamManagement(np.ones((1, users), int), 1))
    theirs_y = y.permute(2, 0, 1)[None, None]
    theirs_h = h[:, used].permute(2, 3, 0, 1)[None, None, :, :, None]
    data = [i for i in range(14) if i not in (2, 11)]
    our_y, our_h = y[data][:, used].flatten(0, 1), h[data][:, used].flatten(0, 1)
    variance = torch.full((len(our_y),), no)
    plain_time, (x_plain, _) = timed(
        lambda: plain(theirs_y, theirs_h, torch.zeros(1), torch.tensor([no])), runs
    )
    our_time, (x_ours, _) = timed(lambda: equalise(our_y, our_h, variance), 5 * runs)
    return {
        "antennas": antennas,
        "users": users,
        "resource_elements": len(our_y),
        "plain_us_per_element": 1e6 * plain_time / len(our_y),
        "ours_us_per_element": 1e6 * our_time / len(our_y),
        "ratio": plain_time / our_time,
        "largest_difference": float((x_plain[0, :, 0].T - x_ours).abs().max()),
    }


def memory(channel: str, modulation: str, rate: float) -> dict[str, Any]:
    """Peak memory that sending one payload of 1 MB adds to a process of its own, and the time it takes."""
    code = f"""
import os, time, torch, channels
torch.set_num_threads(1)
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) / 1024
link = channels.DigitalLink(channels.create({channel!r}), {modulation!r}, {rate})
link.send([bytes(100)], 30.0, 1)
before, start = peak(), time.process_time()
arrived = link.send([os.urandom(2**20)], 30.0, 1)[0].ok
print(peak() - before, time.process_time() - start, arrived)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    mebibytes, seconds, arrived = done.stdout.split()
    return {
        "channel": channel, "modulation": modulation, "code_rate": rate,
        "mib": float(mebibytes), "seconds": float(seconds), "arrived": arrived == "True",
    }  # fmt: skip


def linear(runs: int) -> list[dict[str, float]]:
    """Time of a link against the payload's length."""
    link = channels.DigitalLink(channels.create("awgn"), "qam16", 0.5)
    rng, rows = generator(1, "payload"), []
    for size in (10_000, 100_000, 1_000_000):
        payload = rng.bytes(size)
        seconds, _ = timed(lambda: link.send([payload], 12.0, 1), runs)  # noqa: B023
        rows.append({"bytes": size, "seconds": seconds, "us_per_byte": 1e6 * seconds / size})
    return rows


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
    massive = detection(args.runs)
    lengths = linear(1)
    memories = [memory(*of) for of in (("awgn", "qpsk", 0.2), ("rayleigh", "qpsk", 0.2), ("rayleigh", "qam64", 0.75),
                                       ("mimo", "qam16", 0.5), ("tdl", "qpsk", 0.5))]  # fmt: skip

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

    print(
        f"\nLMMSE, {massive['users']} users to {massive['antennas']} antennas: "
        f"Sionna {massive['plain_us_per_element']:.1f}, ours {massive['ours_us_per_element']:.2f} us "
        f"per resource element, {massive['ratio']:.0f}x; "
        f"largest difference {massive['largest_difference']:.1e}"
    )
    for row in lengths:
        print(f"{row['bytes']:>9} bytes: {row['seconds']:.2f} s, {row['us_per_byte']:.2f} us per byte")
    for row in memories:
        print(
            f"1 MB over {row['channel']}, {row['modulation']} rate {row['code_rate']}: {row['mib']:.0f} MiB, "
            f"{row['seconds']:.0f} s, arrived: {row['arrived']}"
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
        "massive_mimo": massive,
        "lengths": lengths,
        "memory": memories,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{args.out}")


if __name__ == "__main__":
    main()
