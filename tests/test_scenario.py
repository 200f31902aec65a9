"""Scenario files: what loads, what is refused and how it is said."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.errors import InputError
from semcom.scenario import Scenario, available, from_dict

GOOD: dict[str, Any] = {
    "title": "Two systems",
    "data": {"name": "scenes", "split": "test", "samples": 20},
    "systems": ["jpeg", {"name": "visual-tokens", "bits": 4, "label": "tokens"}],
    "link": {"channel": "rayleigh", "coherence": 64, "modulation": "qpsk", "code_rate": 0.5},
    "tasks": ["vqa", {"name": "classification", "prompt": "a {label}"}],
    "sweep": {"snr_db": [-5, 0.5, 10], "channel_uses": [128, 512]},
    "seed": 3,
}


def changed(key: str, value: Any) -> dict[str, Any]:
    """GOOD with one dotted key changed; ``...`` removes it."""
    raw = yaml.safe_load(yaml.safe_dump(GOOD))
    *parents, last = key.split(".")
    place = raw
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place[parent]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return raw


def test_defaults_and_fields() -> None:
    s = Scenario.load(GOOD)
    assert (s.dual, s.generative, s.draws, s.seed) == ("embedded", "embedded", 1, 3)
    assert [x.label for x in s.systems] == ["jpeg", "tokens"]
    assert s.systems[1].options == {"bits": 4}
    link = s.links[0]
    assert (link.channel, link.options, link.coding) == ("rayleigh", {"coherence": 64}, "ldpc")
    assert link.label == "rayleigh coherence=64 qpsk-1/2 ldpc"
    assert s.snr_db == (-5.0, 0.5, 10.0) and s.channel_uses == (128, 512)
    assert s.tasks[1].options == {"prompt": "a {label}"}


def test_resolved_file_loads_to_an_equal_scenario() -> None:
    for link in (
        GOOD["link"],
        ["awgn", {"channel": "rayleigh", "mcs": ["qpsk-1/3", "qam16-0.7"], "coding": "ideal"}],
        {"channel": "rayleigh", "mcs": {"target_bler": 0.1}, "coherence": 8},
        {"channel": "awgn", "mcs": [{"mcs": "qpsk-1/2", "snr_db": [0, 5]}, "table1-17"]},
        {"channel": "awgn", "coding": "uncoded", "modulation": "qam16"},
        {
            "channel": "awgn",
            "harq": {"scheme": "chase"},
            "impairments": ["pa", {"name": "cfo", "offset": 1e-3}],
        },
    ):
        s = Scenario.load(changed("link", link))
        again = from_dict(yaml.safe_load(s.to_yaml()))
        assert again == s and s.differences(again) == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(1, 10**6), min_size=1, max_size=4, unique=True),
    st.floats(0.2, 0.92),
    st.text(min_size=1).filter(lambda t: t.strip()),
)
def test_any_valid_values_survive_the_file(
    snrs: list[float], uses: list[int], rate: float, title: str
) -> None:
    raw = changed("sweep", {"snr_db": snrs, "channel_uses": uses}) | {"title": title}
    raw["link"] = {"channel": "awgn", "code_rate": rate}
    s = Scenario.load(raw)
    assert from_dict(yaml.safe_load(s.to_yaml())) == s


def test_mcs_list_becomes_links_of_one_entry() -> None:
    s = Scenario.load(changed("link", ["awgn", {"channel": "rayleigh", "mcs": ["qpsk-1/2", "qam64-2/3"]}]))
    assert [(x.channel, x.mcs, x.entry) for x in s.links] == [
        ("awgn", "qpsk-1/2", 0),
        ("rayleigh", "qpsk-1/2", 1),
        ("rayleigh", "qam64-2/3", 1),
    ]


def test_labels_say_how_systems_differ() -> None:
    systems = ["jpeg", {"name": "embedding", "bits": 8}, {"name": "embedding", "bits": 1}, "embedding"]
    labels = [x.label for x in Scenario.load(changed("systems", systems)).systems]
    assert labels == ["jpeg", "embedding bits=8", "embedding bits=1", "embedding"]


FAULTS: list[tuple[str, Any, str]] = [
    ("sistems", ["jpeg"], "unknown key of the scenario: 'sistems'. Did you mean 'systems'"),
    ("systems", ["jpg"], "unknown system 'jpg'. Did you mean 'jpeg'"),
    ("systems", [], r"systems: expected at least one value, got \[\]"),
    ("systems", ..., "systems: missing"),
    ("systems", ["jpeg", "jpeg"], "systems: 'jpeg' is given twice; give each its own 'label'"),
    ("systems", [{"name": "jpeg", "label": "blind"}], "'blind' is taken by the reference row"),
    ("systems", [{"label": "x"}], r"systems\[0\].name: missing"),
    ("systems", [{"name": "jpeg", "haders": "full"}], "option of .*'jpeg'.*'haders'. Did you mean 'headers'"),
    ("systems", [{"name": "jpeg", "models": 1}], "'models'"),
    ("systems", [3], r"systems\[0\]: expected a mapping"),
    ("tasks", ["qva"], "unknown task 'qva'. Did you mean 'vqa'"),
    ("tasks", ["vqa", "vqa"], "given twice"),
    ("data.name", "scene", "unknown data set 'scene'. Did you mean 'scenes'"),
    ("data.sample", 3, "'sample'. Did you mean 'samples'"),
    ("data", None, "data: expected a mapping"),
    ("link.channel", "raleigh", "unknown channel 'raleigh'. Did you mean 'rayleigh'"),
    ("link.coherenc", 3, "'coherenc'. Did you mean 'coherence'"),
    ("link.modulation", "qam_16", r"link.modulation: expected one of .*did you mean 'qam16'.*got 'qam_16'"),
    ("link.code_rate", 1.5, "code_rate: expected a code rate between 0 and 1.*got 1.5"),
    ("link.code_rate", float("nan"), "code_rate: expected"),
    ("link.code_rate", "1/0", "code_rate: expected"),
    ("link.coding", "turbo", "coding: expected one of ldpc, polar"),
    ("link.mcs", ["qpsk-1/2"], "either mcs or modulation, not both"),
    ("link", {"channel": "awgn", "mcs": ["bpsk-1/2"]}, r"mcs\[0\]: expected MODULATION-RATE"),
    ("link", {"channel": "awgn", "mcs": []}, "mcs: expected at least one"),
    ("link", {"channel": "awgn", "mcs": ["qpsk-1/2", "qpsk-0.5"]}, "given twice"),
    ("link", {"channel": "awgn", "mcs": {"target_bler": 2}}, "mcs.target_bler: expected a block error rate"),
    ("link", {"channel": "awgn", "mcs": {"target": 0.1}}, "target_bler: missing"),
    ("link", {"channel": "awgn", "mcs": [{"mcs": "qpsk-1/2", "snr": 3}]}, "snr_db: missing"),
    ("link", {"channel": "awgn", "mcs": "table1-40"}, "link.mcs.*table"),
    ("link", ["awgn", "awgn"], "link: 'awgn qpsk-1/2 ldpc' is given twice"),
    ("link", [], "link: expected at least one"),
    ("sweep.snr_db", [], r"sweep.snr_db: expected at least one value, got \[\]"),
    ("sweep.snr_db", [0, float("nan")], r"sweep.snr_db\[1\]: expected an SNR in dB .*got nan"),
    ("sweep.snr_db", [float("inf")], r"sweep.snr_db\[0\].*got inf"),
    ("sweep.snr_db", "high", "sweep.snr_db: .*got 'high'"),
    ("sweep.snr_db", [True], "got True"),
    ("sweep.snr_db", [0, 0.0], "sweep.snr_db: 0.0 is given twice"),
    ("sweep.snr_db", [1000], "from -100 to 100"),
    ("sweep.channel_uses", [0], r"sweep.channel_uses\[0\]: expected a budget in channel uses .*got 0"),
    ("sweep.channel_uses", [-128], "got -128"),
    ("sweep.channel_uses", [12.5], "whole number.*got 12.5"),
    ("sweep.channel_uses", [10**12], "whole number from 1 to 1000000000"),
    ("sweep.draws", 0, "sweep.draws: expected a number of channel draws"),
    ("sweep.draw", 2, "unknown key of sweep: 'draw'. Did you mean 'draws'"),
    ("sweep", [1, 2], "sweep: expected a mapping"),
    ("seed", -1, "seed: expected"),
    ("seed", "one", "seed: expected"),
    ("title", "", "title: expected a word or sentence"),
    ("vlm", 3, "vlm: expected a mapping"),
    ("vlm", {"dual": "embedded", "generativ": "x"}, "Did you mean 'generative'"),
]


@pytest.mark.parametrize(("key", "value", "message"), FAULTS, ids=[f"{k}={v!r}"[:50] for k, v, _ in FAULTS])
def test_faults_are_named(key: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Scenario.load(changed(key, value))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("raw", [None, [], "x", 3, {1: 2}])
def test_not_a_scenario_at_all(raw: Any) -> None:
    with pytest.raises(InputError):
        from_dict(raw)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*GOOD, "name", "x"]), inner, max_size=4)
        ),
        max_leaves=12,
    ),
    st.sampled_from(sorted(GOOD)),
)
def test_junk_is_an_input_error(junk: Any, key: str) -> None:
    """Whatever stands under a key: it loads, or it is one InputError."""
    try:
        Scenario.load(changed(key, 0) | {key: junk})
    except InputError as error:
        assert str(error)


def test_set_overrides_with_yaml_values(tmp_path: Path) -> None:
    s = Scenario.load(
        GOOD,
        [
            "sweep.snr_db=[0, 10]",
            "link.modulation=qam16",
            "systems.1.bits=2",
            "data.samples=7",
            "sweep.draws=3",
        ],
    )
    assert s.snr_db == (0.0, 10.0) and s.links[0].modulation == "qam16" and s.draws == 3
    assert s.systems[1].options["bits"] == 2 and s.data.options["samples"] == 7
    assert GOOD["data"]["samples"] == 20  # the mapping that was given is not changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sweep.snr_db", "expected KEY=VALUE"),
        ("sweep.snr=[1]", "Did you mean 'snr_db'"),
        ("systems.9.bits=2", "there is no '9'"),
        ("title.x=2", "there is no 'x'"),
        ("seed=[1", "--set seed.*not valid YAML"),
        ("=3", "unknown key"),
    ],
)
def test_bad_set(change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scenario.load(GOOD, [change])


def test_replace_and_differences() -> None:
    s = Scenario.load(GOOD)
    t = s.replace({"sweep.snr_db": np.arange(3), "seed": np.int64(9)})
    assert t.snr_db == (0.0, 1.0, 2.0) and s.snr_db[0] == -5.0
    assert t.differences(s) == ["seed: 3 -> 9", "sweep.snr_db: [-5.0, 0.5, 10.0] -> [0.0, 1.0, 2.0]"]


def test_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    s = Scenario.load(path)
    assert s.name == "mine" and s == Scenario.load(GOOD)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"title: [", r"line \d+: not valid YAML"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"seed: 1\nseed: 2\n", "line 2: not valid YAML: key 'seed' is given twice"),
        (b"a: &a [*a]", "."),
        (b"!!python/object/apply:os.getcwd []", "not valid YAML"),
        (b"[" * 1500, "not valid YAML"),
        (b"", "expected a mapping"),
    ],
)
def test_bad_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        Scenario.load(path)


def test_missing_file_and_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        Scenario.load(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="Did you mean 'quickstart'"):
        Scenario.load("quickstrat")
    with pytest.raises(InputError, match="unknown scenario"):
        Scenario.load("")


def test_every_shipped_scenario_loads() -> None:
    names = available()
    assert {"quickstart", "awgn-snr", "rayleigh-bandwidth", "smoke"} <= set(names)
    files = {
        f.name.removesuffix(".yaml")
        for f in resources.files("scenarios").iterdir()
        if f.name.endswith(".yaml")
    }
    assert files == set(names)
    for name, title in names.items():
        assert Scenario.load(name).title == title and title


@pytest.mark.parametrize("name", sorted(available()))
def test_every_shipped_scenario_can_be_built(name: str) -> None:
    """All data, systems, tasks and links exist with the options that the file gives them."""
    from semcom.sweep.engine import Engine

    scenario = Scenario.load(name, ["data.samples=100"])
    parts = Engine(scenario)
    assert set(parts.systems) == {s.label for s in scenario.systems}
    assert len(parts.links) == len(scenario.links) and len(parts.dataset) == 100


def test_importing_loads_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys, semcom, channels; s = semcom.Scenario; "
        "heavy = {'torch', 'sionna', 'transformers', 'matplotlib', 'datasets', 'pandas'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
