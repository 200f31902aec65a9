"""A folder is continued only by what would repeat its numbers; the message says what changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import semcom
from channels.errors import InputError
from channels.registry import Entry
from semcom.scenario import Scenario
from semcom.sweep import fingerprint as module
from semcom.sweep.fingerprint import Fingerprint
from semcom.sweep.results import Results
from semcom.sweep.store import Store
from semcom.systems import SYSTEMS
from tests.sweep import fakes
from tests.sweep.test_run import export
from tests.vlm import tiny

CODE = '"""What it does."""\nX = 1\n\n\ndef f(a):\n    "Twice."\n    return 2 * a  # doubled\n'


def hashed(code: str, folder: Path) -> str:
    path = folder / "code.py"
    path.write_text(code)
    return module._hash_source(path)


def test_only_code_counts(tmp_path: Path) -> None:
    base = hashed(CODE, tmp_path)
    assert base == hashed(CODE.replace("# doubled", "# two of it").replace("Twice", "Two times"), tmp_path)
    assert base == hashed(CODE.replace("X = 1\n\n\n", "X = 1\n"), tmp_path)
    assert base != hashed(CODE.replace("2 * a", "3 * a"), tmp_path)
    assert base != hashed(CODE.replace("X = 1", 'X = "1"'), tmp_path)


def test_what_is_looked_at() -> None:
    marks = dict(Fingerprint.of(Scenario.load(fakes.scenario())).marks)
    looked_at = {
        "channels/base.py",
        "semcom/link.py",
        "semcom/sweep/engine.py",
        "semcom/systems/base.py",
        "torch",
    }
    assert looked_at | {"python", "weights of the caption model"} <= set(marks)
    assert "fakes.py" in marks  # a system from outside the package
    assert not [name for name in marks if name.startswith(("semcom/report", "semcom/cli", "semcom/training"))]
    assert "fakes.py" not in dict(Fingerprint.of(Scenario.load("quickstart")).marks)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("semcom/systems/base.py", "0", "semcom/systems/base.py changed"),
        ("semcom/systems/gone.py", "0", "semcom/systems/gone.py is gone"),
        ("channels/base.py", None, "channels/base.py is new"),
        ("weights of the dual encoder embedded", "0", "weights of the dual encoder embedded changed"),
        ("torch", "1.13.0", r"torch 1\.13\.0 -> "),
    ],
)
def test_changes_are_named(name: str, value: str | None, message: str, tmp_path: Path) -> None:
    """Results that were made with something else are refused, untouched, and readable."""
    results = semcom.run(fakes.scenario(), tmp_path / "run")
    before = export(results)
    with Store.create(tmp_path / "run", "", "") as store:
        marks = json.loads(store.meta("fingerprint"))
        marks[name] = value
        marks = {key: mark for key, mark in marks.items() if mark is not None}
        store.connection.execute("UPDATE meta SET value = ? WHERE key = 'fingerprint'", (json.dumps(marks),))
    with pytest.raises(InputError, match=rf"would not be repeated \({message}.*give another --out"):
        semcom.run(fakes.scenario(), tmp_path / "run")
    assert export(Results.open(tmp_path / "run")) == before
    semcom.run(fakes.scenario(), tmp_path / "another")


def test_other_weights_in_the_same_folder(tmp_path: Path) -> None:
    dual = tiny.clip(tmp_path / "clip")
    models = {"dual": str(dual), "generative": str(tiny.llava(tmp_path / "llava", dual))}
    scenario = fakes.scenario(vlm=models)
    semcom.run(scenario, tmp_path / "run")
    semcom.run(scenario, tmp_path / "run")
    weights = dual / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"weights of the dual encoder .*clip changed"):
        semcom.run(scenario, tmp_path / "run")


def test_other_device(tmp_path: Path) -> None:
    semcom.run(fakes.scenario(), tmp_path)
    with pytest.raises(InputError, match="was computed on device cpu, not meta"):
        semcom.run(fakes.scenario(), tmp_path, device="meta")


def test_models_that_are_missing_are_found_before_a_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="/no/such/folder"):
        semcom.run(fakes.scenario(vlm="/no/such/folder"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_of_learned_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any system with an option ``weights``: those that the scenario names, or its default."""

    class Learned(fakes.Text):
        def __init__(self, models: object, weights: str = "dual-encoder", repeat: int = 1) -> None:
            super().__init__(models, repeat)

    monkeypatch.setitem(SYSTEMS, "fake-learned", Entry("fake-learned", Learned, {}))
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text('{"width": 8}')
    (folder / "model.safetensors").write_bytes(b"1234")

    def scenario(*systems: object) -> Scenario:
        return Scenario.load(fakes.scenario(systems=list(systems)))

    named = scenario({"name": "fake-learned", "weights": str(folder)}, {"name": "fake-learned", "label": "b"})
    before = Fingerprint.of(named)
    assert {f"weights {folder} of fake-learned", "weights dual-encoder of fake-learned"} <= dict(
        before.marks
    ).keys()
    semcom.run(named, tmp_path / "run")
    semcom.run(named, tmp_path / "run")
    for name, content in ("config.json", b'{"width": 9}'), ("model.safetensors", b"1235"):
        old = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        changed = f"weights {folder} of fake-learned changed"
        assert Fingerprint.of(named).differences(before) == [changed]
        with pytest.raises(InputError, match=changed):
            semcom.run(named, tmp_path / "run")
        (folder / name).write_bytes(old)
    assert Fingerprint.of(named) == before
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"has no config\.json; `semcom train NAME --out"):
        Fingerprint.of(named)
