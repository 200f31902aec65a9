"""The bound of finite block length: its formula, its frequencies, and that real codes stay on the right side."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

import channels
from channels import fec, theory
from channels.draws import row_seeds
from channels.errors import InputError
from channels.links import bounds
from channels.links.sending import Sending


def sending(name: str, grant: fec.Grant, rows: int, snr_db: float, seed: int) -> Sending:
    payloads = [bytes([1]) * grant.payload_bytes] * rows
    return Sending(
        channels.create(name), payloads, [grant] * rows, np.full(rows, snr_db), row_seeds(seed, rows)
    )


def delivered(sent: Sending, coding: str) -> np.ndarray:
    result = bounds.deliver(sent, range(len(sent.payloads)), coding)
    assert all(d.payload == (bytes([1]) if d.ok else bytes(1)) * len(d.payload) for d in result.values())
    return np.array([result[row].ok for row in range(len(sent.payloads))])


def test_published_numbers() -> None:
    """n = 500 complex symbols at one bit each, written out from the formula of Polyanskiy, Poor and Verdu."""
    for snr_db, bler in ((0.5, 4.9e-2), (1.0, 7e-4)):
        capacity = 500 * float(theory.awgn_capacity(snr_db))
        dispersion = 500 * float(theory.awgn_dispersion(snr_db))
        assert theory.normal_approximation(500, capacity, dispersion, 500) == pytest.approx(bler, rel=0.05)


@pytest.mark.parametrize("snr_db", [2.6, 2.9, 3.2])
def test_losses_are_as_frequent_as_the_formula_says(snr_db: float, seed: int) -> None:
    grant, rows = fec.grant(60, 4, fec.code_rate(0.4)), 3000
    n = grant.symbols
    expected = theory.normal_approximation(
        480, n * float(theory.awgn_capacity(snr_db)), n * float(theory.awgn_dispersion(snr_db)), n
    )
    lost = 1 - delivered(sending("awgn", grant, rows, snr_db, seed), "finite").mean()
    assert 0.001 < expected < 0.9
    assert lost == pytest.approx(expected, abs=5 * (expected * (1 - expected) / rows) ** 0.5 + 1 / rows)


def test_over_fading_each_realisation_has_its_own_probability(seed: int) -> None:
    grant, rows = fec.grant(30, 2, fec.code_rate(0.5)), 4000
    sent = sending("rayleigh", grant, rows, 6.0, seed)
    h = sent.channel.realise(1, sent.seeds).gains
    snr_db = 6.0 + 20 * np.log10(np.abs(h[:, 0].numpy()))
    n = grant.symbols
    expected = np.array(
        [
            theory.normal_approximation(
                240, n * float(theory.awgn_capacity(s)), n * float(theory.awgn_dispersion(s)), n
            )
            for s in snr_db
        ]
    )
    lost = 1 - delivered(sent, "finite")
    deviation = (expected * (1 - expected)).sum() ** 0.5
    assert abs(lost.sum() - expected.sum()) < 5 * deviation + 1
    assert not lost[expected < 1e-12].any() and lost[expected > 1 - 1e-12].all()


def test_finite_is_between_ideal_and_the_code(seed: int) -> None:
    """Below capacity the ideal code loses nothing and the finite one something; LDPC loses more at every SNR."""
    link, rows = channels.DigitalLink(channels.create("awgn"), "qpsk", 0.5), 400
    payloads = [np.random.default_rng(seed + i).bytes(60) for i in range(rows)]
    limit = 10 * np.log10(2 ** (480 / link.uses(60)) - 1)
    worse = 0
    for above in (0.1, 0.6, 1.2, 1.8, 2.4):
        sent = sending("awgn", link.grant(60), rows, limit + above, seed)
        ideal, finite = (1 - delivered(sent, coding).mean() for coding in bounds.BOUNDS)
        coded = 1 - np.mean([r.ok for r in link.send(payloads, limit + above, sent.seeds)])
        assert ideal == 0
        assert coded >= finite - 5 * (max(coded, finite, 1 / rows) / rows) ** 0.5
        worse += coded > finite
    assert worse >= 3


def test_no_fate_turns_for_the_worse_at_a_higher_snr(seed: int) -> None:
    grant = fec.grant(40, 4, fec.code_rate(0.5))
    fates = [delivered(sending("rayleigh", grant, 300, s, seed), "finite") for s in (0.0, 6.0, 12.0, 18.0)]
    assert all((a <= b).all() for a, b in pairwise(fates))
    assert 0 < fates[0].sum() < fates[-1].sum()


def test_the_split_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grants = [fec.grant(int(size), 4, fec.code_rate(0.5)) for size in rng.choice([20, 60, 700], 40)]
    payloads = [bytes(g.payload_bytes) for g in grants]
    seeds = [int(s) for s in rng.integers(2**63, size=40)]
    channel = channels.create("rayleigh", coherence=10)
    sent = Sending(channel, payloads, grants, rng.uniform(6, 9, 40), seeds)
    together = bounds.deliver(sent, range(40), "finite")
    assert 0 < sum(d.ok for d in together.values()) < 40
    apart = {}
    for part in np.split(rng.permutation(40), [1, 3, 17]):
        apart |= bounds.deliver(sent, part.tolist(), "finite")
    assert apart == together


def test_without_noise_everything_arrives_and_without_signal_nothing() -> None:
    grant = fec.grant(40, 4, fec.code_rate(0.5))
    with torch.no_grad():
        assert delivered(sending("awgn", grant, 5, 150.0, 1), "finite").all()
        assert not delivered(sending("awgn", grant, 5, -60.0, 1), "finite").any()


def test_an_unknown_bound() -> None:
    with pytest.raises(InputError, match="unknown bound 'infinite'"):
        delivered(sending("awgn", fec.grant(4, 2, fec.code_rate(0.5)), 1, 1.0, 1), "infinite")
