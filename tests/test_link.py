"""Whole messages over one channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from channels.errors import InputError
from semcom.link import Link, derive_seed
from semcom.types import Message, Packet


def mixed(rng: np.random.Generator) -> list[Message]:
    """An outage, one packet, several packets of both protections, analog symbols, and both kinds together."""
    symbols = (rng.choice([-1, 1], (2, 40, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)
    return [
        Message(),
        Message((Packet(rng.bytes(20)),)),
        Message((Packet(rng.bytes(5), "robust"), Packet(rng.bytes(31)), Packet(rng.bytes(5)))),
        Message(symbols=symbols[0]),
        Message((Packet(rng.bytes(9)),), symbols[1]),
    ]


@pytest.fixture(params=["awgn", "rayleigh"])
def link(request: pytest.FixtureRequest) -> Link:
    """A link over each channel."""
    torch.set_num_threads(1)
    return Link(request.param, {"coherence": 16} if request.param == "rayleigh" else {}, "qam16", 0.5)


def test_shapes_ledger_and_uses(link: Link) -> None:
    messages = mixed(np.random.default_rng())
    receptions = link.send(messages, 60.0, range(5))
    for message, got in zip(messages, receptions, strict=True):
        assert [len(p.payload) for p in got.packets] == [len(p.payload) for p in message.packets]
        assert (got.symbols is None) == (message.symbols is None)
        assert got.ledger.channel_uses == link.uses(message)
        assert got.ledger.payload_bits == message.payload_bits
        assert all(p.ok and p.payload == q.payload for p, q in zip(got.packets, message.packets, strict=True))
    assert receptions[0].packets == () and receptions[0].ledger.channel_uses == link.uses(Message()) == 0


def test_a_message_does_not_care_what_is_sent_with_it(link: Link) -> None:
    messages = mixed(np.random.default_rng())
    snrs, seeds = [3.0, 4.0, 5.0, 6.0, 7.0], [derive_seed("image", i) for i in range(5)]
    together = link.send(messages, snrs, seeds)
    backwards = link.send(messages[::-1], snrs[::-1], seeds[::-1])[::-1]
    alone = [link.send([m], snr, [seed])[0] for m, snr, seed in zip(messages, snrs, seeds, strict=True)]
    assert [r.key for r in together] == [r.key for r in alone] == [r.key for r in backwards]
    assert link.send(messages, snrs, [s + 1 for s in seeds])[3].key != together[3].key


def test_packets_meet_realisations_of_their_own() -> None:
    """Under slow fading some packets of one message arrive and others do not."""
    link = Link("rayleigh", {"coherence": 10_000})
    message = Message(tuple(Packet(bytes([i]) * 20) for i in range(8)))
    fates = [tuple(p.ok for p in r.packets) for r in link.send([message] * 8, 2.0, range(8))]
    assert any(any(f) and not all(f) for f in fates) and len(set(fates)) > 1


def test_budget_is_met_and_tight(link: Link) -> None:
    for uses in (1, 40, 100, 333, 2048):
        budget = link.budget(uses)
        assert budget.channel_uses == uses
        for packets in (1, 3):
            for protection in ("payload", "robust"):
                size = budget.packet_bytes(packets, protection)
                cost = lambda n: packets * link.digital.uses(n, protection)  # noqa: E731, B023
                assert size == 0 or cost(size) <= uses
                assert cost(size + 1) > uses - packets  # the next byte does not fit the packet's share
        for beside in (1, 13):  # what is left beside another packet, to the byte
            size = budget.packet_bytes(1, "payload", beside)
            cost = lambda n: link.digital.uses(n) + link.digital.uses(beside)  # noqa: E731, B023
            assert (size == 0 or cost(size) <= uses) and cost(size + 1) > uses
        n = budget.symbols()
        assert link.analog.uses(n) <= uses if n else True
        assert link.analog.uses(n + 1) > uses


def test_faulty_calls(link: Link) -> None:
    with pytest.raises(ValueError, match="do not match"):
        link.send([Message()], [1.0, 2.0], [1])
    with pytest.raises(ValueError, match="packets"):
        link.budget(10).packet_bytes(0)
    with pytest.raises(InputError, match="raleigh"):
        Link("raleigh")
    with pytest.raises(InputError, match="coherenze"):
        Link("rayleigh", {"coherenze": 3})


def test_seeds_differ_by_every_part() -> None:
    seeds = {
        derive_seed(*parts) for parts in [(1, "a"), ("1", "b"), (1, "a", 0), (1, "a", 1), ("1a",), (2, "a")]
    }
    assert len(seeds) == 6 and all(0 <= s < 2**63 for s in seeds)
    assert derive_seed(1, "a") == 8915294002830711430  # runs made earlier must be repeatable
