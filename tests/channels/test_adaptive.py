"""Measured tables, the cache that keeps them, the choice of an MCS, and the link that makes it."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import channels
from channels import theory
from channels.errors import InputError
from channels.links import bler
from channels.links.adaptive import AdaptiveLink, choose, envelope
from channels.links.bler import BlerTable, Curve, bler_table, wilson
from channels.links.digital import DigitalLink
from channels.links.mcs import candidates, mcs
from tests.channels.counts import tails

MCS = ["qpsk-1/2", "qam16-1/2", "qam64-3/4"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMCOM_CACHE", str(tmp_path))
    return tmp_path


def made(rates: list[list[float]], snrs: tuple[float, ...] = (0.0, 10.0, 20.0)) -> BlerTable:
    """A table of three MCSs with those block error rates."""
    return BlerTable(
        tuple(
            Curve(m, 100, snrs, tuple(round(100 * r) for r in row), 100)
            for m, row in zip(candidates(MCS), rates, strict=True)
        )
    )


def test_wilson_interval() -> None:
    for k, n in ((0, 50), (3, 200), (100, 200), (50, 50)):
        expected = stats.binomtest(k, n).proportion_ci(0.95, "wilson")
        low, high = wilson(k, n, z=float(stats.norm.ppf(0.975)))
        assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_counts_are_those_of_the_link(seed: int) -> None:
    awgn, grid = channels.create("awgn"), [float(s) for s in np.arange(-4, 20.5, 0.5)]
    table = BlerTable.measure(awgn, MCS, 30, grid, 60, seed)
    assert [c.mcs.label for c in table.curves] == MCS
    seeds = channels.draws.row_seeds(seed, 60)
    payloads = [channels.draws.generator(s, "payload").bytes(30) for s in seeds]
    for curve in table.curves:
        assert curve.snr_db == tuple(sorted(curve.snr_db)) and set(curve.snr_db) < set(grid)
        assert (curve.snr_db[0], curve.snr_db[-1]) == (-4, 20)
        assert curve.errors[0] == 60 and curve.errors[-1] == 0
        link = DigitalLink(awgn, curve.mcs.modulation, curve.mcs.code_rate)
        for snr_db in curve.snr_db[3:6]:
            lost = sum(not r.ok for r in link.send(payloads, snr_db, seeds))
            assert lost == curve.errors[curve.snr_db.index(snr_db)]
        assert (np.diff(curve.bler(np.linspace(-10, 30, 99))) <= 0).all()
        assert len(curve.snr_db) < len(grid) / 2  # only around the waterfall
        steep = np.diff(np.array(curve.errors) / 60)
        assert all(
            b - a == 0.5 for a, b, d in zip(curve.snr_db, curve.snr_db[1:], steep, strict=False) if d < -0.3
        )


def test_outage_of_the_ideal_code_is_that_of_theory(seed: int) -> None:
    """An oracle for the whole way: counts of the capacity bound over Rayleigh fading."""
    table = BlerTable.measure(
        channels.create("rayleigh"), "qam16-1/2", 100, blocks=1000, seed=seed, coding="ideal"
    )
    (curve,) = table.curves
    rate = 800 / DigitalLink(channels.create("awgn"), "qam16", 0.5).uses(100)
    expected = theory.rayleigh_outage(curve.snr_db, rate)
    assert np.min(tails(curve.errors, 1000, expected)) > 1e-8
    between = np.linspace(-5, 35, 81)
    assert np.abs(curve.bler(between) - theory.rayleigh_outage(between, rate)).max() < 0.1


def test_counts_are_kept_and_only_the_lookup_is_smooth() -> None:
    curve = Curve(mcs("qpsk-1/2"), 10, (0.0, 1.0, 2.0, 3.0), (90, 50, 60, 0), 100)
    assert curve.errors == (90, 50, 60, 0)
    assert curve.bler([0, 1, 2, 3]).tolist() == pytest.approx([0.9, 0.55, 0.55, 0])
    assert curve.bler([-0.1, 1.5, 2.5, 99]).tolist() == pytest.approx([1, 0.55, 0.275, 0])
    low, high = curve.interval()
    assert (low <= np.array(curve.errors) / 100).all() and (high >= np.array(curve.errors) / 100).all()


def test_the_fastest_mcs_that_keeps_the_target() -> None:
    table = made([[0.5, 0, 0], [1, 0.1, 0], [1, 0.9, 0.05]])
    assert choose(table, 20.0).mcs.label == "qam64-3/4" and choose(table, 20.0).bler == 0.05
    assert choose(table, 10.0) == (choose(table, 10.0, 0.1)) and choose(table, 10.0).mcs.label == "qam16-1/2"
    assert choose(table, 10.0, 0.09).mcs.label == "qpsk-1/2"
    assert choose(table, 20.0, 0.01).mcs.label == "qam16-1/2"
    assert choose(table, 1000.0 / 10).meets_target


def test_a_target_that_nothing_keeps_is_said() -> None:
    table = made([[0.5, 0.4, 0.3], [1, 0.3, 0.3], [1, 0.9, 0.8]])
    choice = choose(table, 0.0)
    assert (choice.mcs.label, choice.bler, choice.meets_target) == ("qpsk-1/2", 0.5, False)
    assert choose(table, 10.0).mcs.label == "qpsk-1/2"
    assert choose(table, -50.0).bler == 1 and not choose(table, -50.0).meets_target


def test_a_table_is_measured_once(folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: Any = (channels.create("rayleigh", coherence=5), MCS[:2], 20, [0.0, 5.0, 10.0, 15.0], 20, seed)
    table = bler_table(*arguments)
    assert table == BlerTable.measure(*arguments)
    (path,) = (folder / "bler").iterdir()
    monkeypatch.setattr(DigitalLink, "send", None)  # measuring again would fail
    assert bler_table(*arguments) == table
    content = path.read_text()
    for other in (
        (channels.create("rayleigh", coherence=6), *arguments[1:]),
        (arguments[0], MCS[:1], *arguments[2:]),
        (*arguments[:2], 21, *arguments[3:]),
        (*arguments[:2], [20, 21], *arguments[3:]),
        (*arguments[:3], [0.0, 5.0], *arguments[4:]),
        (*arguments[:4], 21, seed),
        (*arguments[:5], seed + 1),
        (*arguments, "ideal"),
    ):
        with pytest.raises(TypeError, match="not callable"):
            bler_table(*other)
    monkeypatch.setattr(bler, "version", lambda name: "0")
    with pytest.raises(TypeError, match="not callable"):
        bler_table(*arguments)
    assert path.read_text() == content and len(list((folder / "bler").iterdir())) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: "",
        lambda c: "not json",
        lambda c: "\udc80",
        lambda c: json.dumps([1, 2]),
        lambda c: json.dumps({**c, "key": {**c["key"], "seed": -1}}),
        lambda c: json.dumps({"key": c["key"]}),
        lambda c: json.dumps({**c, "curves": c["curves"][:1]}),
        lambda c: json.dumps({**c, "curves": [c["curves"][0], None]}),
        lambda c: json.dumps({**c, "curves": [c["curves"][0] | {"errors": [99, 99, 99]}] * 2}),
        lambda c: json.dumps({**c, "curves": [c["curves"][0] | {"errors": [-1, -1]}] * 2}),
        lambda c: json.dumps(
            {**c, "curves": [c["curves"][0] | {"snr_db": [15.0, 0.0], "errors": [0, 0]}] * 2}
        ),
        lambda c: json.dumps({**c, "curves": [c["curves"][0] | {"snr_db": [0.0], "errors": [20]}] * 2}),
        lambda c: json.dumps({**c, "curves": [c["curves"][0] | {"snr_db": [0.0, 9.0, 15.0]}] * 2}),
        lambda c: json.dumps({**c, "curves": [c["curves"][0] | {"payload_bytes": 5}] * 2}),
        lambda c: json.dumps(c)[:-40],
    ],
)
def test_a_bad_file_is_measured_again(folder: Path, damage: Any) -> None:
    arguments: Any = (channels.create("awgn"), MCS[:2], 20, [0.0, 5.0, 10.0, 15.0], 20, 1)
    table = bler_table(*arguments)
    (path,) = (folder / "bler").iterdir()
    good = path.read_text()
    path.write_text(damage(json.loads(good)), errors="surrogateescape")
    assert bler_table(*arguments) == table
    assert path.read_text() == good
    path.write_bytes(b"\xff\xfe\x00")
    assert bler_table(*arguments) == table


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEMCOM_CACHE", str(tmp_path / "file"))
    table = bler_table(channels.create("awgn"), "qpsk-1/2", 20, [0.0, 10.0], 20)
    assert table.curves[0].errors == (20, 0)
    monkeypatch.setenv("SEMCOM_CACHE", str(tmp_path))
    monkeypatch.setattr(Path, "replace", _full)
    assert bler_table(channels.create("awgn"), "qpsk-1/2", 20, [0.0, 10.0], 20) == table
    assert list((tmp_path / "bler").iterdir()) == []  # no half-written file stays


def _full(*_: Any) -> None:
    raise OSError("no space left on device")


def test_the_default_folder_is_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SEMCOM_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    bler_table(channels.create("awgn"), "qpsk-1/2", 20, [0.0, 10.0], 5)
    assert len(list((tmp_path / ".cache" / "semcom" / "bler").iterdir())) == 1
    assert os.environ["HOME"] == str(tmp_path)


def test_the_adaptive_link_keeps_its_target_and_is_that_of_its_mcs(seed: int) -> None:
    link = AdaptiveLink(channels.create("awgn"), MCS, payload_bytes=30, blocks=100)
    labels = [link.choice(s).mcs.label for s in (-5.0, 4.0, 9.0, 30.0)]
    assert labels == ["qpsk-1/2", "qpsk-1/2", "qam16-1/2", "qam64-3/4"]
    assert [link.choice(s).meets_target for s in (-5.0, 4.0)] == [False, True]
    for snr_db in (3.0, 8.0, 14.0, 16.0):
        plain = link.at(snr_db)
        assert isinstance(plain, DigitalLink) and plain is link.at(snr_db)
        assert link.uses(30, snr_db) == plain.uses(30)
        assert link.max_bytes(300, snr_db) == plain.max_bytes(300)
        assert link.uses(30, snr_db, "robust") == plain.uses(30, "robust")
        lost = sum(not r.ok for r in plain.send([bytes(30)] * 200, snr_db, range(seed, seed + 200)))
        assert tails(lost, 200, 0.1 + 0.15)[1] > 1e-6  # both this and the table are counts


def test_what_is_sent_together_arrives_as_if_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    link = AdaptiveLink(channels.create("rayleigh", coherence=8), MCS, payload_bytes=30, blocks=30)
    payloads = [rng.bytes(int(n)) for n in rng.choice([10, 30, 31], 30)]
    snrs, classes = rng.uniform(-3, 25, 30).tolist(), [str(c) for c in rng.choice(["payload", "robust"], 30)]
    seeds = [int(s) for s in rng.integers(2**63, size=30)]
    together = link.send(payloads, snrs, seeds, classes)
    assert len({link.choice(s).mcs for s in snrs}) > 1 and any(r.ok for r in together)
    for i in range(30):
        (alone,) = link.at(snrs[i]).send([payloads[i]], snrs[i], [seeds[i]], [classes[i]])
        assert together[i] == alone
        assert together[i].ledger.channel_uses == link.uses(len(payloads[i]), snrs[i], classes[i])
    assert link.send(payloads, 9.0, seed) == link.at(9.0).send(payloads, 9.0, seed)
    assert link.send([], 9.0, []) == []
    copy = pickle.loads(pickle.dumps(link))
    assert copy.send(payloads, snrs, seeds, classes) == together


def test_envelope_is_the_best_of_all_at_equal_uses() -> None:
    awgn, snrs = channels.create("awgn"), [-20.0, 0.0, 3.0, 6.0, 10.0, 14.0, 18.0, 30.0]
    points = envelope(awgn, MCS, snrs, 200, blocks=60)
    assert [p.snr_db for p in points] == snrs and [p.mcs.label for p in points[-1:]] == ["qam64-3/4"]
    goodput = [p.goodput for p in points]
    assert goodput == sorted(goodput) and goodput[0] == 0
    for point in points:
        link = DigitalLink(awgn, point.mcs.modulation, point.mcs.code_rate)
        assert point.payload_bytes == link.max_bytes(200) and link.uses(point.payload_bytes) <= 200
        assert point.goodput == pytest.approx(8 * point.payload_bytes * (1 - point.bler) / 200)
        assert point.goodput <= float(theory.awgn_capacity(point.snr_db))
    alone = [envelope(awgn, [m], snrs, 200, blocks=60) for m in MCS]
    assert goodput == pytest.approx([max(p.goodput for p in at) for at in zip(*alone, strict=True)])


def test_numpy_numbers_and_single_snrs_will_do() -> None:
    awgn = channels.create("awgn")
    assert envelope(awgn, MCS, 5.0, 200, blocks=20) == envelope(awgn, MCS, [5.0], np.int64(200), blocks=20)  # type: ignore[arg-type]
    plain = AdaptiveLink(awgn, "qpsk-1/2", payload_bytes=10, blocks=20)
    given: Any = {"payload_bytes": np.int64(10), "blocks": np.int64(20)}
    assert AdaptiveLink(awgn, "qpsk-1/2", **given).choice(5) == plain.choice(5)
    assert BlerTable.measure(awgn, "qpsk-1/2", snr_db=5.0, **given) == BlerTable.measure(
        awgn, "qpsk-1/2", 10, [5.0], 20
    )


@pytest.mark.parametrize("snr_db", ["loud", None, {}, [None], [[1.0]]])
def test_bad_snrs_of_an_envelope(snr_db: Any) -> None:
    with pytest.raises(InputError, match="snr_db"):
        envelope(channels.create("awgn"), MCS, snr_db, 200, blocks=2)


def test_envelope_without_room() -> None:
    with pytest.raises(InputError, match="no payload of one byte fits into 3"):
        envelope(channels.create("awgn"), MCS, [5.0], 3)
    (point,) = envelope(channels.create("awgn"), ["qpsk-1/8", "qam64-3/4"], [30.0], 20, blocks=5)
    assert point.mcs.label == "qam64-3/4"  # the other one has no room


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mcs": ["qam16"]}, "an MCS is written"),
        ({"mcs": []}, "mcs must be"),
        ({"target_bler": 2}, "target_bler must be a number >= 0 and <= 1"),
        ({"target_bler": float("nan")}, "target_bler must be"),
        ({"payload_bytes": 0}, "a payload has 1 to"),
        ({"payload_bytes": [10]}, "a payload has 1 to"),
        ({"channel": channels.create("bsc"), "mcs": ["qam16-1/2"]}, "carries modulation qpsk"),
        ({"blocks": 0}, "blocks must be a whole number >= 1"),
        ({"blocks": 2.5}, "blocks must be a whole number"),
        ({"coding": "turbo"}, "unknown coding"),
        ({"channel": "awgn"}, "channel must come from"),
    ],
)
def test_bad_adaptive_links(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AdaptiveLink(**({"channel": channels.create("awgn"), "mcs": "qpsk-1/2"} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"snr_db": []}, "at least one SNR"),
        ({"snr_db": [float("nan")]}, "snr_db must be finite"),
        ({"snr_db": None}, "snr_db must be finite"),
        ({"snr_db": "loud"}, "snr_db must be a number"),
        ({"coding": []}, "unknown coding"),
        ({"payload_bytes": None}, "a payload has 1 to"),
        ({"payload_bytes": [2.5]}, "a payload has 1 to"),
        ({"blocks": None}, "blocks must be"),
        ({"blocks": 0}, "blocks must be"),
        ({"payload_bytes": [5, 6]}, "payload_bytes has 2 entries for 1 MCSs"),
        ({"payload_bytes": 0}, "a payload has 1 to"),
    ],
)
def test_bad_measurements(arguments: dict[str, Any], message: str) -> None:
    good = {"channel": channels.create("awgn"), "mcs": "qpsk-1/2", "snr_db": [0.0, 1.0], "blocks": 2}
    for measure in (BlerTable.measure, bler_table):
        with pytest.raises(InputError, match=message):
            measure(**(good | arguments))


def test_bad_snrs_of_a_choice() -> None:
    with pytest.raises(InputError, match="snr_db must be finite"):
        choose(made([[0] * 3] * 3), float("inf"))
