"""The engine against a naive loop over the same parts, and what it does only once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import semcom
from semcom import stats
from semcom.link import Link, derive_seed
from semcom.scenario import Scenario
from semcom.sweep import engine as engine_module
from semcom.sweep import plan as plan_module
from semcom.sweep.engine import Engine
from semcom.sweep.plan import Point, plan, realisation
from semcom.types import Message, Packet, Recovered
from tests.sweep import fakes

SMALL = {"name": "fake-pictures", "samples": 3}
SCENARIOS: dict[str, dict[str, Any]] = {
    "awgn": fakes.scenario(data=SMALL, sweep={"snr_db": [-1, 12], "channel_uses": [30, 400]}),
    "fading, draws, two links": fakes.scenario(
        link=[
            {"channel": "rayleigh", "coherence": 16, "mcs": ["qpsk-1/3", "qam16-1/2"]},
            {"channel": "awgn", "coding": "ideal"},
        ],
        data=SMALL,
        sweep={"snr_db": [5], "channel_uses": [120], "draws": 2},
    ),
}


def naive(scenario: Scenario) -> dict[tuple[Any, ...], tuple[str, float, str, int, int]]:
    """One image, one SNR, one query at a time: (answer, score, kind, bits, uses) of every single answer."""
    parts = Engine(scenario)
    found: dict[tuple[Any, ...], tuple[str, float, str, int, int]] = {}
    for group in plan(scenario):
        for point in group.points:
            for i in range(len(parts.dataset)):
                sample = parts.dataset[i]
                for task in parts.tasks.values():
                    for j, query in enumerate(task.queries(sample)):
                        bits = uses = 0
                        if group.link is None:
                            seen = (
                                Recovered(image=sample.image)
                                if group.system.name == "ceiling"
                                else Recovered()
                            )
                        else:
                            system = parts.systems[group.system.label]
                            if system.carries not in task.accepts:
                                continue
                            spec = group.link
                            link = Link(
                                spec.channel, spec.options, spec.modulation, spec.code_rate, spec.coding
                            )
                            budget = link.budget(group.budget_uses)
                            asked = [query] if system.needs_query else None
                            (message,) = system.transmit([sample.image], budget, asked)
                            seed = realisation(scenario, sample.id, point)
                            (reception,) = link.send([message], point.snr_db, [seed])
                            (seen,) = system.receive([reception], [(8, 12)], asked)
                            bits, uses = message.payload_bits, link.uses(message)
                            assert uses <= group.budget_uses or message.outage
                        (answer,) = task.answer([seen], [query])
                        key = (point.id, task.name, sample.id, j)
                        found[key] = answer, task.score(answer, query), seen.kind, bits, uses
    return found


@pytest.mark.parametrize("which", SCENARIOS)
def test_equals_naive_loop(which: str, tmp_path: Path) -> None:
    scenario = Scenario.load(SCENARIOS[which])
    results = semcom.run(scenario, tmp_path)
    expected = naive(scenario)
    frame = results.samples()
    got = {
        (r.point, r.task, r.sample, r.query): (r.answer, r.score, r.kind, r.payload_bits, r.channel_uses)
        for r in frame.itertuples()
    }
    assert got == expected
    kinds = {kind for _, _, kind, _, _ in expected.values()}
    assert {"text", "embedding", "answer", "image", "nothing"} <= kinds  # every way was walked
    rows = results.to_frame()
    for row in rows[rows["applicable"]].itertuples():
        part = frame[(frame["point"] == row.point) & (frame["task"] == row.task)]
        if row.question_type:
            part = part[part["question_type"] == row.question_type]
        binary = row.task == "fake-numbers"
        mean, low, high = stats.interval(part["score"].tolist(), part["sample"].tolist(), binary)
        assert (row.score, row.ci_low, row.ci_high) == pytest.approx((mean, low, high), abs=1e-12)
        assert row.score == pytest.approx(part["score"].mean())
        assert row.outage == pytest.approx((part["kind"] == "nothing").mean())
        assert row.samples == part["sample"].nunique() == 3 and row.queries == len(part)
        assert row.channel_uses == pytest.approx(part["channel_uses"].mean())
        assert row.payload_bits == pytest.approx(part["payload_bits"].mean())
        assert row.cbr == pytest.approx(row.channel_uses / (3 * 8 * 12))
        assert row.bpp == pytest.approx(row.payload_bits / (8 * 12))


def test_small_chunks_and_slices_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fakes do not care what is worked on together, so neither may the engine."""
    scenario = SCENARIOS["fading, draws, two links"]
    whole = semcom.run(scenario, tmp_path / "whole")
    monkeypatch.setattr(engine_module, "CHUNK", 2)
    monkeypatch.setattr(engine_module, "SYMBOLS_AT_ONCE", 1)
    pieces = semcom.run(scenario, tmp_path / "pieces")
    assert whole.to_frame().equals(pieces.to_frame())
    assert whole.samples().equals(pieces.samples())


def test_not_applicable_is_neither_zero_nor_dropped(tmp_path: Path) -> None:
    frame = semcom.run(fakes.scenario(), tmp_path).to_frame()
    row = frame[(frame["system"] == "fake-analog") & (frame["task"] == "fake-parity")]
    assert len(row) == 6 and not row["applicable"].any()
    assert row[["score", "ci_low", "ci_high"]].isna().all(axis=None)
    assert (row["channel_uses"] == 4).all() and (row["outage"] == 0).all()


def test_outage_is_the_blind_guess(tmp_path: Path) -> None:
    results = semcom.run(fakes.scenario(), tmp_path)
    blind = results.samples(system="blind").set_index(["task", "sample", "query"])
    lost = results.samples(kind="nothing")
    assert (lost["system"] == "fake-text").any()
    for row in lost.itertuples():
        assert row.answer == blind.loc[(row.task, row.sample, row.query), "answer"]
    too_small = results.samples(system="fake-text", budget_uses=30)
    assert too_small["outage"].all() and (too_small["channel_uses"] == 0).all()


def test_encodes_and_decodes_once(tmp_path: Path) -> None:
    """10 SNRs at which everything arrives cost as many model calls as one, also at a second budget."""
    systems = ["fake-text"]
    counts = []
    for snrs, uses in ([20], [400]), (list(range(20, 30)), [400, 500]):
        fakes.CALLS.clear()
        semcom.run(
            fakes.scenario(systems=systems, sweep={"snr_db": snrs, "channel_uses": uses}),
            tmp_path / str(len(snrs)),
            cache=False,
        )
        counts.append(dict(fakes.CALLS))
    assert counts[0]["transmitted"] == 5 and counts[1]["transmitted"] == 10
    assert counts[0]["received"] == counts[1]["received"] == 5
    assert counts[0]["answered"] == counts[1]["answered"]


def test_analog_messages_are_decoded_once_for_all_mcs(tmp_path: Path) -> None:
    """They use neither modulation nor code; another channel is heard anew, and digital systems are not concerned."""
    both = ["fake-analog", "fake-packets"]
    calls, alone = [], []
    for mcs in (["qpsk-1/2"], ["qpsk-1/2", "qam16-1/2", "qam64-3/4"]):
        link = [{"channel": name, "mcs": mcs} for name in ("rayleigh", "awgn")]
        fakes.CALLS.clear()
        results = semcom.run(
            fakes.scenario(systems=both, link=link, tasks=["fake-numbers"]), tmp_path / str(len(mcs))
        )
        calls.append(dict(fakes.CALLS))
        samples = results.samples(system="fake-analog")
        alone += [
            part[["sample", "query", "snr_db", "budget_uses", "answer", "channel_uses"]]
            for _, part in samples.groupby("link")
        ]
    assert len(alone) == 2 + 6
    first = [part.reset_index(drop=True) for part in alone]
    assert all(any(part.equals(other) for other in first[:2]) for part in first[2:])
    assert not first[0].equals(first[1])
    assert calls[1]["analog received"] == calls[0]["analog received"] > 0
    assert calls[1]["received"] > calls[0]["received"]


def test_lost_everywhere_is_decoded_once(tmp_path: Path) -> None:
    fakes.CALLS.clear()
    sweep = {"snr_db": [-30, -29, -28], "channel_uses": [400], "draws": 3}
    semcom.run(fakes.scenario(systems=["fake-text"], sweep=sweep), tmp_path)
    assert fakes.CALLS["received"] == 5  # one empty-handed reception an image
    assert fakes.CALLS["answered"] == 2 * (15 + 5)  # ceiling and blind; outages reuse the blind answers


def test_all_systems_meet_the_same_realisation() -> None:
    """Packet k of every message of an image meets the same fading and noise, whatever system sends it."""
    scenario = Scenario.load(fakes.scenario(link={"channel": "rayleigh", "coherence": 8}))
    link = Link("rayleigh", {"coherence": 8})
    rng = np.random.default_rng(3)
    point = Point(9, 5.0, 1)
    seeds = [realisation(scenario, f"picture-{i}", point) for i in range(4)]
    long, short = (
        [
            (lambda z: z / np.sqrt(np.mean(abs(z) ** 2)))(rng.normal(size=(n, 2)) @ [1, 1j]).astype(
                np.complex64
            )
        ]
        * 4
        for n in (64, 24)
    )
    a = link.send([Message(symbols=s) for s in long], 5.0, seeds)
    b = link.send([Message(symbols=s) for s in short], 5.0, seeds)
    for one, other, x, y in zip(a, b, long, short, strict=True):
        assert one.symbols is not None and other.symbols is not None
        np.testing.assert_allclose((one.symbols - x)[:24], other.symbols - y, atol=1e-5)
        np.testing.assert_array_equal(one.noise_var[:24], other.noise_var)  # type: ignore[index]
    assert len({r.key for r in a}) == 4  # and each image its own


def test_realisations_depend_on_what_they_should() -> None:
    scenario = Scenario.load(fakes.scenario())
    base = realisation(scenario, "a", Point(0, 5.0, 0))
    assert base == realisation(scenario, "a", Point(77, 5, 0))  # not on the place in the plan
    others = [
        realisation(scenario, "b", Point(0, 5.0, 0)),
        realisation(scenario, "a", Point(0, 6.0, 0)),
        realisation(scenario, "a", Point(0, 5.0, 1)),
        realisation(scenario.replace({"seed": 12}), "a", Point(0, 5.0, 0)),
    ]
    assert len({base, *others}) == 5
    assert 0 <= base < 2**63
    assert derive_seed(1, "2") != derive_seed(12, "")


def test_overspending_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        fakes.Text, "transmit", lambda self, images, *_: [Message((Packet(bytes(99)),))] * len(images)
    )
    failures = semcom.run(fakes.scenario(), tmp_path).failures()
    assert set(failures["system"]) == {"fake-text"} and list(failures["budget_uses"]) == [30, 400]
    assert re.search(r"'fake-text' spent \d+ channel uses, but its budget is 30", failures["error"][0])


def test_transmitter_decides_as_the_task_would() -> None:
    parts = Engine(Scenario.load(fakes.scenario()))
    sample = parts.dataset[3]
    queries = [q for task in parts.tasks.values() for q in task.queries(sample)][::-1]
    assert parts._decide([sample.image] * 4, queries) == ["odd", "9", "24", "3"]


def test_plan_order_is_fixed() -> None:
    scenario = Scenario.load(fakes.scenario())
    groups = plan(scenario)
    assert [g.system.label for g in groups[:2]] == ["ceiling", "blind"]
    assert [(g.system.label, g.budget_uses) for g in groups[2:5]] == [
        ("fake-text", 30),
        ("fake-text", 400),
        ("fake-packets", 30),
    ]
    assert [p.id for g in groups for p in g.points] == list(range(2 + 4 * 2 * 3))
    assert plan_module.CHUNK == 100
