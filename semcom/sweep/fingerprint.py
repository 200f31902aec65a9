"""What, beside the scenario, determines the numbers of a run: sources, weights, and versions of libraries."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from channels.errors import InputError
from semcom.scenario import Scenario

PACKAGES = (
    *("torch", "numpy", "scipy", "sionna", "transformers", "tokenizers", "pillow", "av"),
    *("constriction", "jpeglib"),
)
SOURCES = ("channels", "semcom/codecs", "semcom/data", "semcom/systems", "semcom/tasks", "semcom/vlm")
FILES = (
    "semcom/link.py",
    "semcom/stats.py",
    "semcom/types.py",
    *(f"semcom/sweep/{name}.py" for name in ("chunk", "engine", "finish", "plan", "rows")),
)
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Fingerprint:
    """Pairs of a name (a source file, ``weights of NAME``, a library) and a hash or version."""

    marks: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, scenario: Scenario) -> Fingerprint:
        """Of a scenario in this installation.

        :raises InputError: weights that are not there
        """
        marks = {"python": ".".join(platform.python_version_tuple()[:2])}
        marks |= {name: metadata.version(name) for name in PACKAGES}
        marks |= dict(_sources()) | dict(_foreign(scenario)) | dict(_weights(scenario))
        return cls(tuple(sorted(marks.items())))

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        """What :attr:`json` gave."""
        return cls(tuple(sorted((str(k), str(v)) for k, v in json.loads(text).items())))

    @property
    def json(self) -> str:
        """As text."""
        return json.dumps(dict(self.marks))

    @property
    def key(self) -> str:
        """One hash over everything that determines what a transmitter sends: all but the channels."""
        kept = [mark for mark in self.marks if not mark[0].startswith("channels/")]
        return hashlib.blake2b(repr(kept).encode(), digest_size=16).hexdigest()

    def differences(self, other: Fingerprint) -> list[str]:
        """What changed from ``other`` to this one."""
        mine, theirs = dict(self.marks), dict(other.marks)
        found = []
        for name in sorted(mine.keys() | theirs.keys()):
            new, old = mine.get(name), theirs.get(name)
            if new != old:
                hashed = name.endswith(".py") or name.startswith("weights")
                how = "changed" if hashed and new and old else f"{old or 'nothing'} -> {new or 'nothing'}"
                if hashed and not (new and old):
                    how = "is new" if new else "is gone"
                found.append(f"{name} {how}")
        return found


@lru_cache(maxsize=1)
def _sources() -> tuple[tuple[str, str], ...]:
    paths = [path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))]
    paths += [ROOT / file for file in FILES]
    return tuple((path.relative_to(ROOT).as_posix(), _hash_source(path)) for path in paths)


def _foreign(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """The source files of registered classes from elsewhere: a user's own systems, tasks, data sets, channels."""
    from channels import CHANNELS
    from semcom.data import DATASETS
    from semcom.systems import SYSTEMS
    from semcom.tasks import TASKS

    used: list[Any] = [DATASETS.find(scenario.data.name), *(CHANNELS.find(x.channel) for x in scenario.links)]
    used += [*(SYSTEMS.find(s.name) for s in scenario.systems), *(TASKS.find(t.name) for t in scenario.tasks)]
    for link in scenario.links:
        for file in (link.options.get("file"), link.options.get("scene")):  # a trace, a user's own scene
            if isinstance(file, str) and Path(file).is_file():
                yield file, hashlib.blake2b(Path(file).read_bytes(), digest_size=8).hexdigest()
    for entry in used:
        try:
            path = Path(inspect.getfile(entry.make)).resolve()
        except (TypeError, OSError):  # written in a notebook or on a command line
            continue
        if (
            not any(path.is_relative_to(ROOT / package) for package in ("channels", "semcom"))
            and path.is_file()
        ):
            yield path.name, _hash_source(path)


def _hash_source(path: Path) -> str:
    """Hash of the code in a file: comments, layout and docstrings do not count."""
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Expr(ast.Constant(""))
    return hashlib.blake2b(ast.dump(tree).encode(), digest_size=8).hexdigest()


def _weights(scenario: Scenario) -> Iterator[tuple[str, str]]:
    from semcom.codecs.text import SHIPPED
    from semcom.vlm.load import fingerprint

    yield from _learned(scenario)
    yield f"weights of the dual encoder {scenario.dual}", fingerprint(scenario.dual, "dual-encoder")
    yield (
        f"weights of the generative model {scenario.generative}",
        fingerprint(scenario.generative, "generative"),
    )
    for path in sorted(SHIPPED.glob("*.json")):
        if path.name != "card.json":
            yield (
                "weights of the caption model",
                hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest(),
            )


def _learned(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Of systems with an option ``weights``: the name of a shipped folder, or a path."""
    from semcom.pretrained import WEIGHTS
    from semcom.systems import SYSTEMS

    for system in scenario.systems:
        known = inspect.signature(SYSTEMS.find(system.name).make).parameters
        source = system.options.get("weights", getattr(known.get("weights"), "default", None))
        if not isinstance(source, str | Path):
            continue
        folder = WEIGHTS / source if isinstance(source, str) and "/" not in source else Path(source)
        hashed = hashlib.blake2b(digest_size=16)
        for name in ("config.json", "model.safetensors"):
            try:
                content = (folder / name).read_bytes()
            except OSError as error:
                raise InputError(
                    f"systems: {system.label!r}: weights: {str(source)!r} has no {name}; `semcom train NAME "
                    "--out FOLDER` makes such a folder (NAME: see `semcom list recipes`)"
                ) from error
            hashed.update(len(content).to_bytes(8, "little") + content)
        yield f"weights {source} of {system.name}", hashed.hexdigest()
