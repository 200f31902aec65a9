"""The script that one would write without the sweep engine: loops over systems, budgets, SNRs and images.

For every image and SNR again: encode, CRC, Sionna's LDPC5GEncoder, Mapper, channel, Demapper and LDPC5GDecoder, decode,
and one call of the receiver's model for each question. It meets the same channel realisations as the engine (the
channel draws from the same seeds), so that its answers can be compared one by one.

    python benchmarks/naive.py awgn-snr --set data.samples=4
"""

from __future__ import annotations

import argparse
import sys
import time
from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import Demapper, Mapper

import channels
from channels import fec
from channels.fec.bits import scrambling, to_bits
from channels.ledger import Ledger
from semcom import data, systems, tasks
from semcom.link import Link, derive_seed
from semcom.scenario import Scenario
from semcom.sweep.plan import Point, realisation
from semcom.types import Packet, ReceivedPacket, Reception

BITS = {"qpsk": 2, "qam16": 4, "qam64": 6, "qam256": 8}
ITERATIONS = 20

Answer = tuple[str, int, float, str, str, int]  # system, budget, SNR, task, sample, number of the query


@lru_cache(maxsize=512)
def blocks(k: int, n: int, bits: int) -> tuple[Any, ...]:
    """Sionna's blocks, built once for each code (building them costs more than using them)."""
    encoder = LDPC5GEncoder(k, n, num_bits_per_symbol=bits)
    decoder = LDPC5GDecoder(encoder, num_iter=ITERATIONS, hard_out=True, return_infobits=True)
    return encoder, Mapper("qam", bits), Demapper("app", "qam", bits), decoder


def over_the_air(
    packet: Packet, channel: Any, modulation: str, rate: float, snr_db: float, seed: int
) -> ReceivedPacket:
    """One packet through the chain."""
    bits, code_rate = BITS[modulation], fec.code_rate(rate)
    if packet.protection == "robust":
        bits, code_rate = 2, Fraction(1, 5)
    grant = fec.grant(len(packet.payload), bits, code_rate)
    encoder, mapper, demapper, decoder = blocks(grant.k, grant.n, bits)
    info = torch.zeros(grant.blocks * grant.k)
    sent = torch.from_numpy(to_bits(packet.payload + fec.checksum(packet.payload)).copy())
    info[: len(sent)] = sent
    mask = torch.from_numpy(scrambling(grant.code_bits).copy()).float()
    code = encoder(info.reshape(grant.blocks, grant.k)).reshape(1, -1).tile(grant.copies)
    x = mapper(torch.remainder(code + mask, 2))
    y, no = channel(x, snr_db, [seed], power="trust")
    llr = (demapper(y, no) * (1 - 2 * mask)).reshape(grant.copies, -1).sum(0)
    decoded = decoder(llr.reshape(grant.blocks, grant.n)).reshape(-1).numpy().astype("uint8")
    payload, ok = fec.payload_of(decoded, len(packet.payload))
    return ReceivedPacket(payload, ok)


def run(scenario: Scenario) -> dict[Answer, tuple[str, float]]:
    """Answer and score of every query at every operating point of a scenario of digital systems and one link."""
    spec = scenario.links[0]
    link = Link(spec.channel, spec.options, spec.modulation, spec.code_rate, spec.coding)
    channel = channels.create(spec.channel, **spec.options)
    dataset = data.load(scenario.data.name, **scenario.data.options)
    shared = systems.Models(scenario.dual, scenario.generative)
    dual, generative = shared.dual, shared.generative
    asked = {t.name: tasks.create(t.name, shared, dataset, **t.options) for t in scenario.tasks}
    answers: dict[Answer, tuple[str, float]] = {}
    for entry in scenario.systems:
        for uses in scenario.channel_uses:
            for snr in scenario.snr_db:
                for i in range(len(dataset)):
                    sample = dataset[i]
                    models = systems.Models(dual, generative)  # remembers nothing from one SNR to the next
                    system = systems.create(entry.name, models, **entry.options)
                    (message,) = system.transmit([sample.image], link.budget(uses))
                    seed = realisation(scenario, sample.id, Point(0, snr, 0))
                    packets = [
                        over_the_air(p, channel, spec.modulation, spec.code_rate, snr, derive_seed(seed, j))
                        for j, p in enumerate(message.packets)
                    ]
                    reception = Reception(tuple(packets), ledger=Ledger())
                    (recovered,) = system.receive([reception], [sample.image.shape[:2]])
                    for name, task in asked.items():
                        if system.carries in task.accepts:
                            for j, query in enumerate(task.queries(sample)):
                                (answer,) = task.answer([recovered], [query])
                                key = (entry.label, uses, snr, name, sample.id, j)
                                answers[key] = answer, task.score(answer, query)
    return answers


def main() -> None:
    """Run a scenario and print how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenario = Scenario.load(options.scenario, options.set)
    start = time.perf_counter()
    answers = run(scenario)
    print(
        f"{len(answers)} answers, mean score {sum(s for _, s in answers.values()) / max(1, len(answers)):.3f}"
    )
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
