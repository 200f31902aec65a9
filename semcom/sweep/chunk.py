"""A fixed slice of the data, what the tasks ask about it, and the messages that one system sends for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from semcom.types import Budget, Image, Kind, Message, Query, ReceivedPacket, Reception, Sample, System

Asked = tuple[str, int]  # (task, index of the query within its sample and task)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Samples and the queries of every task: ``queries[task][sample] -> list``."""

    index: int
    samples: Sequence[Sample]
    queries: dict[str, list[list[Query]]]

    @property
    def bytes(self) -> int:
        """Of all images."""
        return sum(sample.image.nbytes for sample in self.samples)

    def size(self, sample: int) -> tuple[int, int]:
        """(height, width) of the original image."""
        height, width = self.samples[sample].image.shape[:2]
        return height, width

    def asked(self, sample: int, tasks: Sequence[str]) -> list[Asked]:
        """All queries of one sample in those tasks."""
        return [(task, i) for task in tasks for i in range(len(self.queries[task][sample]))]

    def query(self, sending: Sending) -> Query:
        """The query that a sending with a single one answers."""
        ((task, index),) = sending.asked
        return self.queries[task][sending.sample][index]


@dataclass(frozen=True, eq=False)
class Sending:
    """One message and the queries that are answered from it."""

    sample: int  # index within the chunk
    asked: tuple[Asked, ...]
    message: Message


@dataclass(frozen=True)
class Outcome:
    """What came of one reception: the kind recovered, and for each query of its sending the answer, scored."""

    kind: Kind
    answers: dict[Asked, tuple[str, float]]


Transmit = Callable[[Sequence[Image], Budget, Sequence[Query] | None], list[Message]]


def sendings(
    system: System, chunk: Chunk, tasks: Sequence[str], budget: Budget, transmit: Transmit | None = None
) -> list[Sending]:
    """Let a system transmit the chunk: one message an image, or one a query where the transmitter knows it.

    :param transmit: stands in for the system's own (it may know the messages already).
    """
    wanted: list[tuple[int, tuple[Asked, ...]]]
    queries: list[Query] | None
    if system.needs_query:
        alone = [(i, one) for i in range(len(chunk.samples)) for one in chunk.asked(i, tasks)]
        queries = [chunk.queries[task][i][j] for i, (task, j) in alone]
        wanted = [(i, (one,)) for i, one in alone]
    else:
        queries = None
        wanted = [(i, tuple(chunk.asked(i, tasks))) for i in range(len(chunk.samples))]
    if not wanted:
        return []
    messages = (transmit or system.transmit)([chunk.samples[i].image for i, _ in wanted], budget, queries)
    if len(messages) != len(wanted):
        raise RuntimeError(
            f"{type(system).__name__}.transmit: {len(messages)} messages for {len(wanted)} images"
        )
    return [Sending(i, asked, message) for (i, asked), message in zip(wanted, messages, strict=True)]


def clean(message: Message) -> Reception | None:
    """The reception of a digital message without an error; None where there is no such thing."""
    if message.outage or message.symbols is not None:
        return None
    return Reception(tuple(ReceivedPacket(p.payload, True) for p in message.packets))


def digest(messages: Sequence[Message]) -> str:
    """Content hash of digital messages."""
    hashed = hashlib.blake2b(digest_size=16)
    for message in messages:
        for packet in message.packets:
            hashed.update(b"%d:" % len(packet.payload) + packet.payload)
        hashed.update(b"|")
    return hashed.hexdigest()
