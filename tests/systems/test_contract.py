"""What every system promises: the budget, an answer or nothing from any reception, and facts for listings."""

import time
from typing import Any

import numpy as np
import pytest

from channels.errors import InputError
from semcom import systems
from semcom.link import Link
from semcom.systems import SYSTEMS
from semcom.types import KINDS, Message, Reception, Recovered
from tests.fakes import FakeBudget, smooth_image
from tests.systems.common import IDS, SETTINGS, damage, models, models_for, perfect, queries

IMAGES = [smooth_image(np.random.default_rng(i), (64, 64) if i % 2 else (48, 56)) for i in range(4)]
SIZES = [(i.shape[0], i.shape[1]) for i in IMAGES]
AMPLE = FakeBudget(9_000)


def check(recovered: Recovered, system: systems.System, size: tuple[int, int]) -> None:
    """Exactly one field or none, of the right kind, shape and type, and finite."""
    fields = [v for v in (getattr(recovered, kind) for kind in KINDS[:-1]) if v is not None]
    assert len(fields) <= 1 and recovered.kind in (system.carries, "nothing")
    if recovered.image is not None:
        assert recovered.image.shape == (*size, 3) and recovered.image.dtype == np.uint8
    if recovered.embedding is not None:
        assert (
            recovered.embedding.shape == (system.models.dual.dim,) and recovered.embedding.dtype == np.float32
        )
        assert np.linalg.norm(recovered.embedding) == pytest.approx(1, abs=1e-4)
    if recovered.tokens is not None:
        assert recovered.tokens.shape[1] == system.models.generative.token_dim and len(recovered.tokens) >= 1
        assert recovered.tokens.dtype == np.float32 and np.isfinite(recovered.tokens).all()
    assert recovered.text != "" and recovered.answer != ""


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=IDS)
def test_with_room_and_no_noise_everything_arrives(name: str, options: dict[str, Any]) -> None:
    system = systems.create(name, models_for(name), **options)
    messages = system.transmit(IMAGES, AMPLE, queries(4))
    for message in messages:
        assert message.outage == bool(SYSTEMS[name].facts["reference"])
        if message.symbols is not None:
            assert np.mean(np.abs(message.symbols) ** 2) == pytest.approx(1, abs=1e-5)
            assert message.symbols.dtype == np.complex64
    recovered = system.receive([perfect(m) for m in messages], SIZES, queries(4))
    for one, size in zip(recovered, SIZES, strict=True):
        check(one, system, size)
        assert one.kind == ("nothing" if SYSTEMS[name].facts["reference"] else system.carries)
    again = systems.create(name, models_for(name), **options).transmit(IMAGES[:1], AMPLE, queries(1))
    assert again[0].packets == messages[0].packets
    assert system.transmit([], AMPLE, []) == [] and system.receive([], [], []) == []


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=IDS)
def test_the_budget_is_never_exceeded(name: str, options: dict[str, Any]) -> None:
    seed = int(np.random.default_rng().integers(2**32))
    rng = np.random.default_rng(seed)
    system = systems.create(name, models_for(name), **options)
    for uses in [0, 1, 13, 20, *(2 ** rng.uniform(3, 14, 8)).astype(int)]:
        budget = FakeBudget(int(uses), int(rng.integers(0, 30)), int(rng.integers(1, 7)))
        for message in system.transmit(IMAGES[:2], budget, queries(2)):
            assert budget.cost(message) <= budget.channel_uses, (seed, budget)
            assert all(p.payload for p in message.packets)
            assert message.symbols is None or len(message.symbols) > 0


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=IDS)
def test_the_budget_of_a_real_link_is_never_exceeded(name: str, options: dict[str, Any]) -> None:
    link = Link("awgn", modulation="qam16", code_rate=0.6)
    system = systems.create(name, models_for(name), **options)
    for uses in (8, 40, 100, 333, 1000, 2500, 6000):
        messages = system.transmit(IMAGES[:2], link.budget(uses), queries(2))
        assert all(link.uses(message) <= uses for message in messages)


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=IDS)
def test_any_reception_gives_an_answer_or_nothing(name: str, options: dict[str, Any]) -> None:
    seed = int(np.random.default_rng().integers(2**32))
    rng = np.random.default_rng(seed)
    system = systems.create(name, models_for(name), **options)
    good = [perfect(m) for m in system.transmit(IMAGES, FakeBudget(3000), queries(4))]
    slowest = 0.0
    for trial in range(25):
        bad = [damage(r, rng) for r in good]
        start = time.perf_counter()
        recovered = system.receive(bad, SIZES, queries(4) if trial % 5 else None)
        slowest = max(slowest, time.perf_counter() - start)
        for one, size in zip(recovered, SIZES, strict=True):
            try:
                check(one, system, size)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, trial {trial}") from error
    assert slowest < 5, seed
    lost = [Reception(tuple(type(p)(p.payload, False) for p in r.packets)) for r in good]
    assert {r.kind for r in system.receive([*lost, Reception()], [*SIZES, (8, 8)], None)} == {"nothing"}


def test_facts() -> None:
    # Other tests register fakes: only what the package ships is looked at.
    shipped = {n: e for n, e in SYSTEMS.items() if e.make.__module__.startswith("semcom.")}
    assert sorted(shipped) == sorted({name for name, _ in SETTINGS}) and set(shipped) <= set(
        systems.available()
    )
    for name, entry in shipped.items():
        assert next(iter(entry.options)) == "models", name  # options of a scenario are the others
        assert entry.facts.keys() == {"family", "paper", "sends", "reference", "carries", "needs_query"}
        assert entry.facts["family"] in entry.make.__module__
        assert "Over the air" in entry.summary and len(entry.summary) <= 110
        assert entry.facts["carries"] in KINDS
    assert [n for n, e in shipped.items() if e.facts["needs_query"]] == [
        "decide-at-transmitter",
        "taco-question",
    ]
    assert sorted(n for n, e in shipped.items() if e.facts["reference"]) == ["blind", "ceiling"]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("jpg", {}, "Did you mean 'jpeg'"),
        ("jpeg", {"header": "full"}, "Did you mean 'headers'"),
        ("jpeg", {"models": 3}, "models"),
        ("jpeg", {"headers": "short"}, "abbreviated"),
        ("jpeg", {"shrink": 0}, "from 1 to 64"),
        ("embedding", {"bits": 3}, "1, 2, 4, 8"),
        ("embedding", {"analog": "yes"}, "true or false"),
        ("visual-tokens", {"select": "divprun"}, "Did you mean 'divprune'"),
        ("visual-tokens", {"bits": 5}, "1, 2, 4, 8"),
        ("visual-tokens", {"tokens_per_packet": 0}, "positive"),
        ("visual-tokens", {"keep": 2.5}, "positive"),
        ("visual-tokens", {"select": "none", "keep": 4}, "choose how"),
        ("visual-tokens", {"analog": 1}, "true or false"),
    ],
)
def test_wrong_options_say_what_is_right(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        systems.create(name, None, **options)


def test_references() -> None:
    ceiling, blind = systems.create("ceiling", models()), systems.create("blind", models())
    assert [r.image is i for r, i in zip(ceiling.given(IMAGES), IMAGES, strict=True)] == [True] * 4  # type: ignore[attr-defined]
    assert {r.kind for r in blind.given(IMAGES)} == {"nothing"}  # type: ignore[attr-defined]
    assert ceiling.transmit(IMAGES, AMPLE)[0].outage and isinstance(Message(), Message)
