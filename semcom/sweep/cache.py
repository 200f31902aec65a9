"""What transmitters sent, on disk, by content: a second channel, SNR or run never encodes again.

A system sees its images, perhaps the queries, and what its budget answers. So an entry is found by a hash of images,
queries, system, options, weights and code; and it holds the questions that the system put to its budget, with the
answers it got. A budget that answers the same makes it send the same, whatever channel stands behind it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semcom.types import Budget, Message, Packet

MAGIC = b"semcom cache 1\n"
LIMIT = 4 * 2**30  # bytes; the entries that were not used for the longest time go first
STEP = 2**26  # bytes written between two looks at the size of the folder
Answered = list[list[Any]]  # [name, arguments, answer] of each call of a budget


class Traced:
    """A budget that writes down what it is asked and what it answers (:class:`semcom.types.Budget`)."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.calls: Answered = []

    @property
    def channel_uses(self) -> int:
        return int(self._note("channel_uses"))

    def packet_bytes(self, packets: int = 1, protection: str = "payload", beside: int = 0) -> int:
        return int(self._note("packet_bytes", int(packets), str(protection), int(beside)))

    def symbols(self) -> int:
        return int(self._note("symbols"))

    def _note(self, name: str, *arguments: Any) -> Any:
        answer = ask(self._budget, name, arguments)
        if [name, list(arguments), answer] not in self.calls:
            self.calls.append([name, list(arguments), answer])
        return answer


def ask(budget: Budget, name: str, arguments: Sequence[Any]) -> int:
    """One question to a budget."""
    value = getattr(budget, name)
    return int(value(*arguments) if callable(value) else value)


class Cache:
    """A folder of messages. A folder that cannot be used, or a damaged entry, is as good as no entry.

    :param path: of the folder; :param limit: of its size, in bytes.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path, self._limit, self._written = path, limit, STEP

    def transmit(
        self, key: str, budget: Budget, encode: Callable[[Budget], Sequence[Message]]
    ) -> tuple[list[Message], bool]:
        """The messages of ``encode(budget)``, and whether they came from the cache.

        :param key: hash of everything but the budget.
        """
        place = self._path / key[:2] / key
        for file in self._entries(place):
            if (found := self._read(file, budget)) is not None:
                return found, True
        traced = Traced(budget)
        messages = list(encode(traced))
        self._write(place, traced.calls, messages)
        return messages, False

    def _entries(self, place: Path) -> list[Path]:
        try:
            return sorted(place.glob("*.messages"))
        except OSError:
            return []

    def _read(self, file: Path, budget: Budget) -> list[Message] | None:
        """The messages of an entry, if this budget leads to them."""
        try:
            content = file.read_bytes()
            body = content[len(MAGIC) + 16 :]
            if content[: len(MAGIC)] != MAGIC or _digest(body) != content[len(MAGIC) : len(MAGIC) + 16]:
                file.unlink(missing_ok=True)
                return None
            (size,) = struct.unpack_from("<Q", body)
            calls, shapes = json.loads(body[8 : 8 + size])
            if any(ask(budget, name, arguments) != answer for name, arguments, answer in calls):
                return None
            os.utime(file)
        except OSError:
            return None
        return _unpack(shapes, body[8 + size :])

    def _write(self, place: Path, calls: Answered, messages: Sequence[Message]) -> None:
        """Whole or not at all: a file of another name, then renamed."""
        shapes, blob = _pack(messages)
        header = json.dumps([calls, shapes]).encode()
        body = struct.pack("<Q", len(header)) + header + blob
        name = hashlib.blake2b(json.dumps(calls).encode(), digest_size=16).hexdigest()
        try:
            place.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=place, prefix=".")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(MAGIC + _digest(body) + body)
                Path(temporary).replace(place / f"{name}.messages")
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            self._written += len(body)
            if self._written >= STEP:
                self._written = 0
                self._prune()
        except OSError:
            return  # full or read-only: the run goes on without

    def _prune(self) -> None:
        """Keep the folder under its limit (and remove what a killed process left half written)."""
        files = []
        for path in self._path.glob("??/*/*"):
            try:
                found = path.stat()
            except OSError:  # another process was faster
                continue
            files.append((found.st_mtime, found.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._limit:
                break
            path.unlink(missing_ok=True)
            total -= size


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()


def _pack(messages: Sequence[Message]) -> tuple[list[Any], bytes]:
    """Lengths (of packets with their protection, and of symbols or None), and all bytes in a row."""
    shapes: list[Any] = []
    parts: list[bytes] = []
    for message in messages:
        packets = [[len(p.payload), p.protection] for p in message.packets]
        shapes.append([packets, None if message.symbols is None else len(message.symbols)])
        parts += [p.payload for p in message.packets]
        if message.symbols is not None:
            parts.append(np.ascontiguousarray(message.symbols, np.complex64).tobytes())
    return shapes, b"".join(parts)


def _unpack(shapes: Sequence[Any], blob: bytes) -> list[Message]:
    messages, at = [], 0
    for lengths, count in shapes:
        packets = []
        for length, protection in lengths:
            packets.append(Packet(blob[at : at + length], protection))
            at += length
        symbols = None
        if count is not None:
            symbols = np.frombuffer(blob, np.complex64, count, at).copy()
            at += 8 * count
        messages.append(Message(tuple(packets), symbols))
    return messages
