"""Small systems, tasks and data with known outcomes, in the real registries under names that start with ``fake``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from semcom.data import DATASETS
from semcom.systems import SYSTEMS
from semcom.tasks import TASKS
from semcom.types import Budget, Image, Kind, Message, Packet, Query, Question, Reception, Recovered, Sample

CALLS: Counter[str] = Counter()  # how often and with how many items each fake was called


@DATASETS.register("fake-pictures")
class Pictures:
    """8x12 pictures whose first pixel holds three numbers; each question asks for one of them."""

    name = "fake-pictures"
    labels = ("even", "odd")

    def __init__(self, samples: int = 5) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Sample:
        image = np.full((8, 12, 3), 7, np.uint8)
        image[0, 0] = numbers = [index % 256, (7 * index + 3) % 256, (index * index) % 256]
        questions = tuple(Question(f"number {i}", str(n), type=f"t{i % 2}") for i, n in enumerate(numbers))
        return Sample(f"picture-{index}", image, label="odd" if index % 2 else "even", questions=questions)


@TASKS.register("fake-numbers")
class Numbers:
    """Read the three numbers, one query each. The blind guess is 7."""

    name, metric, binary = "fake-numbers", "accuracy", True
    accepts: frozenset[Kind] = frozenset({"text", "embedding", "answer", "image"})

    def __init__(self, models: Any, dataset: Any) -> None:
        pass

    def queries(self, sample: Sample) -> list[Query]:
        return [Query(self.name, sample.id, q.text, q.type, truth=(q.answer,)) for q in sample.questions]

    def answer(self, recovered: Sequence[Recovered], queries: Sequence[Query]) -> list[str]:
        CALLS["answered"] += len(queries)
        return [_read(r, int(q.text.split()[1])) for r, q in zip(recovered, queries, strict=True)]

    def score(self, answer: str, query: Query) -> float:
        return float(answer in query.truth)

    def corpus(self, answers: Sequence[str], queries: Sequence[Query]) -> dict[str, float]:
        return {"length": float(np.mean([len(a) for a in answers]))}


@TASKS.register("fake-parity")
class Parity(Numbers):
    """Is the first number even? Cannot be told from an embedding. One query, score not binary."""

    name, metric, binary = "fake-parity", "closeness", False
    accepts: frozenset[Kind] = frozenset({"text", "image"})

    def queries(self, sample: Sample) -> list[Query]:
        return [Query(self.name, sample.id, "number 0", truth=(str(sample.label),))]

    def answer(self, recovered: Sequence[Recovered], queries: Sequence[Query]) -> list[str]:
        CALLS["answered"] += len(queries)
        return ["odd" if int(_read(r, 0)) % 2 else "even" for r in recovered]

    def score(self, answer: str, query: Query) -> float:
        return 1.0 if answer in query.truth else 0.25

    def corpus(self, answers: Sequence[str], queries: Sequence[Query]) -> dict[str, float]:
        return {}


def _read(recovered: Recovered, index: int) -> str:
    if recovered.image is not None:
        return str(recovered.image[0, 0, index])
    if recovered.text is not None:
        return (recovered.text.split() + ["7"] * 3)[index]
    if recovered.embedding is not None:
        return str(round(float(recovered.embedding[index])))
    return recovered.answer if recovered.answer is not None else "7"


class _Fake:
    needs_query = False

    def __init__(self, models: Any, repeat: int = 1) -> None:
        self.repeat = repeat


@SYSTEMS.register("fake-text", family="baselines", paper="none")
class Text(_Fake):
    """The three numbers in one packet (repeated ``repeat`` times), else an outage."""

    carries: Kind = "text"

    def transmit(self, images: Sequence[Image], budget: Budget, queries: Any = None) -> list[Message]:
        CALLS["transmitted"] += len(images)
        fits = budget.packet_bytes() >= 3 * self.repeat
        return [Message((Packet(bytes(i[0, 0]) * self.repeat),)) if fits else Message() for i in images]

    def receive(
        self, receptions: Sequence[Reception], sizes: Sequence[tuple[int, int]], queries: Any = None
    ) -> list[Recovered]:
        CALLS["received"] += len(receptions)
        assert len(sizes) == len(receptions) and all(size == (8, 12) for size in sizes)
        return [
            Recovered(text=" ".join(map(str, p[0].payload[:3]))) if _all(p) else Recovered()
            for p in map(_p, receptions)
        ]


@SYSTEMS.register("fake-packets", family="baselines", paper="none")
class Packets(_Fake):
    """Each number in a packet of its own; a lost one is read as 7. Nothing at all is an outage."""

    carries: Kind = "text"

    def transmit(self, images: Sequence[Image], budget: Budget, queries: Any = None) -> list[Message]:
        CALLS["transmitted"] += len(images)
        fits = budget.packet_bytes(3) >= 1
        return [Message(tuple(Packet(bytes([n])) for n in i[0, 0])) if fits else Message() for i in images]

    def receive(
        self, receptions: Sequence[Reception], sizes: Sequence[tuple[int, int]], queries: Any = None
    ) -> list[Recovered]:
        CALLS["received"] += len(receptions)
        texts = [[str(p.payload[0]) if p.ok else "7" for p in r.packets] for r in receptions]
        alive = [any(p.ok for p in r.packets) for r in receptions]
        return [Recovered(text=" ".join(t)) if a else Recovered() for t, a in zip(texts, alive, strict=True)]


@SYSTEMS.register("fake-analog", family="semantic", paper="none")
class Analog(_Fake):
    """The three numbers as amplitudes: an embedding that the noise moves."""

    carries: Kind = "embedding"

    def transmit(self, images: Sequence[Image], budget: Budget, queries: Any = None) -> list[Message]:
        CALLS["transmitted"] += len(images)
        fits = budget.symbols() >= 4
        return [Message(symbols=_symbols(i[0, 0])) if fits else Message() for i in images]

    def receive(
        self, receptions: Sequence[Reception], sizes: Sequence[tuple[int, int]], queries: Any = None
    ) -> list[Recovered]:
        CALLS["received"] += len(receptions)
        CALLS["analog received"] += len(receptions)
        return [
            Recovered() if r.symbols is None else Recovered(embedding=256 * r.symbols.real.astype(np.float32))
            for r in receptions
        ]


@SYSTEMS.register("fake-faulty", family="semantic", paper="none")
class Faulty(Analog):
    """As :class:`Analog`, but it breaks at one SNR while ``fault_db`` is set; ``moody``: its output depends on how much
    it receives at once."""

    fault_db: float | None = None

    def __init__(self, models: Any, moody: bool = False) -> None:
        self.moody = moody

    def receive(
        self, receptions: Sequence[Reception], sizes: Sequence[tuple[int, int]], queries: Any = None
    ) -> list[Recovered]:
        for r in receptions:
            noise = None if r.noise_var is None else float(np.mean(r.noise_var))
            if noise and self.fault_db is not None and abs(10 * np.log10(noise) + self.fault_db) < 0.01:
                raise FloatingPointError("not a number")
        found = super().receive(receptions, sizes, queries)
        shift = np.float32(len(receptions) if self.moody else 0)
        return [r if r.embedding is None else Recovered(embedding=r.embedding + shift) for r in found]


@SYSTEMS.register("fake-answer", family="baselines", paper="none")
class Answer(_Fake):
    """The transmitter knows which number is asked and sends that one."""

    carries: Kind = "answer"
    needs_query = True

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        assert queries is not None and len(queries) == len(images)
        CALLS["transmitted"] += len(images)
        which = [int(q.text.split()[1]) for q in queries]
        if not budget.packet_bytes(1, "robust"):
            return [Message()] * len(images)
        return [Message((Packet(bytes([i[0, 0, w]]), "robust"),)) for i, w in zip(images, which, strict=True)]

    def receive(
        self, receptions: Sequence[Reception], sizes: Sequence[tuple[int, int]], queries: Any = None
    ) -> list[Recovered]:
        return [
            Recovered(answer=str(p[0].payload[0])) if _all(p) else Recovered() for p in map(_p, receptions)
        ]


def _p(reception: Reception) -> tuple[Any, ...]:
    return reception.packets


def _all(packets: Sequence[Any]) -> bool:
    return bool(packets) and all(p.ok for p in packets)


def _symbols(numbers: Any) -> Any:
    """Three amplitudes below 1 and one that makes the mean power 1."""
    x = np.asarray(numbers, np.float64) / 256
    return np.append(x, np.sqrt(4 - np.sum(x**2))).astype(np.complex64)


def scenario(**changes: Any) -> dict[str, Any]:
    """A scenario of fakes over the real AWGN channel."""
    return {
        "data": {"name": "fake-pictures", "samples": 5},
        "systems": ["fake-text", "fake-packets", "fake-analog", "fake-answer"],
        "link": {"channel": "awgn", "modulation": "qpsk", "code_rate": 0.5},
        "tasks": ["fake-numbers", "fake-parity"],
        "sweep": {"snr_db": [-6, -1, 12], "channel_uses": [30, 400]},
        "seed": 11,
        **changes,
    }
