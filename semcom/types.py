"""What flows through the program, one direction, no way back.

    Sample -> System.transmit -> Message -> Link.send -> Reception
           -> System.receive -> Recovered -> Task.answer -> score

Images are ``uint8 [H, W, 3]`` RGB arrays everywhere; batches of images are lists or ``[B, H, W, 3]`` arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from channels.ledger import Ledger

Image = NDArray[np.uint8]
Kind = Literal["image", "text", "embedding", "tokens", "answer", "nothing"]
KINDS: tuple[Kind, ...] = ("image", "text", "embedding", "tokens", "answer", "nothing")


@dataclass(frozen=True)
class Question:
    """One closed or open question about an image.

    ``candidates`` is the closed answer set (empty: free text). ``in_caption`` says whether the standard caption
    determines the answer (None: unknown, for real data). ``answers`` holds the ten human answers of VQAv2 where the
    data has them; otherwise it is ``(answer,)``.
    """

    text: str
    answer: str
    type: str = "question"
    candidates: tuple[str, ...] = ()
    in_caption: bool | None = None
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Sample:
    """One image and what is true of it."""

    id: str
    image: Image
    captions: tuple[str, ...] = ()
    label: str | None = None
    questions: tuple[Question, ...] = ()
    scene: Mapping[str, Any] | None = None


class Dataset(Protocol):
    """A finite, lazily read sequence of samples."""

    name: str
    labels: tuple[str, ...]  # the class names, in order; empty where the data has none

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


@dataclass(frozen=True)
class Query:
    """What one task asks of one image: the text put to the receiver, its closed answer set and the truth."""

    task: str
    sample: str
    text: str = ""
    type: str = ""
    candidates: tuple[str, ...] = ()
    truth: tuple[str, ...] = ()


@dataclass(frozen=True)
class Packet:
    """Bytes that live or die together under one CRC. ``protection`` names the link's class of code rate."""

    payload: bytes
    protection: str = "payload"  # or "robust", "robust-1/10" ... "robust-1/80"


@dataclass(frozen=True, eq=False)
class Message:
    """What one image became. An empty message is an outage: the system could not fit its budget."""

    packets: tuple[Packet, ...] = ()
    symbols: NDArray[np.complex64] | None = None  # [n], mean power 1

    @property
    def outage(self) -> bool:
        """Nothing is sent."""
        return not self.packets and self.symbols is None

    @property
    def payload_bits(self) -> int:
        """Digital payload, in bits."""
        return 8 * sum(len(p.payload) for p in self.packets)


@dataclass(frozen=True)
class ReceivedPacket:
    """A packet after the air: bytes of the sent length, and the verdict of its CRC."""

    payload: bytes
    ok: bool


@dataclass(frozen=True, eq=False)
class Reception:
    """The message after the air. Nothing in it can be trusted, not even a packet whose CRC passed."""

    packets: tuple[ReceivedPacket, ...] = ()
    symbols: NDArray[np.complex64] | None = None  # [n], equalised: sent symbol + noise
    noise_var: NDArray[np.float32] | None = None  # [n], effective noise variance of each symbol
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def key(self) -> str:
        """Content hash: equal receptions have equal outcomes."""
        digest = hashlib.blake2b(digest_size=16)
        for packet in self.packets:
            digest.update(b"%d:%d:" % (packet.ok, len(packet.payload)))
            digest.update(packet.payload if packet.ok else b"")
        for array in (self.symbols, self.noise_var):
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Recovered:
    """What the receiver now holds: exactly one of these, or nothing (an outage)."""

    image: Image | None = None
    text: str | None = None
    embedding: NDArray[np.float32] | None = None  # [d], of the dual encoder, any norm
    tokens: NDArray[np.float32] | None = (
        None  # [k, d], visual tokens of the generative VLM, before its projector
    )
    answer: str | None = None
    # FastV, (layer, ratio): after so many layers the language model drops this share of the visual tokens
    prune: tuple[int, float] | None = None

    @property
    def kind(self) -> Kind:
        """Which of the fields is set."""
        for kind in KINDS[:-1]:
            if getattr(self, kind) is not None:
                return kind
        return "nothing"


class Budget(Protocol):
    """How much may be sent for one image. Everything is charged."""

    @property
    def channel_uses(self) -> int:
        """The budget itself."""
        ...

    def packet_bytes(self, packets: int = 1, protection: str = "payload", beside: int = 0) -> int:
        """Largest payload in bytes of each of ``packets`` equal packets that fit together; 0 when none fits.

        :param beside: payload in bytes of one more packet of that class, which they must leave room for
        """
        ...

    def symbols(self) -> int:
        """How many analog symbols fit."""
        ...


class System(Protocol):
    """A transmitter and its receiver. It knows nothing of channels."""

    carries: Kind  # what ``receive`` recovers
    needs_query: bool  # the transmitter must know the question

    def transmit(
        self, images: Sequence[Image], budget: Budget, queries: Sequence[Query] | None = None
    ) -> list[Message]:
        """One message for each image; an empty message where the budget cannot be met."""
        ...

    def receive(
        self,
        receptions: Sequence[Reception],
        sizes: Sequence[tuple[int, int]],
        queries: Sequence[Query] | None = None,
    ) -> list[Recovered]:
        """One result for each reception, whatever its bytes are.

        ``sizes`` are the (height, width) of the originals; ``queries``, one for each, are for systems that need them.
        """
        ...
