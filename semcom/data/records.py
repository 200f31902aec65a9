"""Samples whose truth is indexed at construction and whose images are decoded when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from channels.errors import InputError
from semcom.data.files import texts, whole
from semcom.data.images import read_image
from semcom.types import Dataset, Question, Sample

NO_IMAGE = np.zeros((0, 0, 3), dtype=np.uint8)
YES_NO = ("yes", "no")


@dataclass(frozen=True)
class Record:
    """What is true of one image, and where the image is."""

    id: str
    image: Path | None = None
    captions: tuple[str, ...] = ()
    label: str | None = None
    questions: tuple[Question, ...] = ()


class Records:
    """A data set over a list of records. ``size``: centre-crop to a square of so many pixels (None: no)."""

    def __init__(
        self, name: str, labels: Sequence[str], records: Sequence[Record], size: int | None = None
    ) -> None:
        self.name = name
        self.labels = tuple(labels)
        self.records = list(records)
        self.size = None if size is None else whole("data.size", size, 8, 4096)

    def __len__(self) -> int:
        return len(self.records)

    def source(self, index: int) -> Path | bytes:
        """The image file of a sample, by path or as its bytes."""
        path = self.records[index].image
        assert path is not None
        return path

    def truth(self, index: int) -> Sample:
        """The sample without its pixels (an image of 0 x 0): cheap."""
        r = self.records[index]
        return Sample(r.id, NO_IMAGE, captions=r.captions, label=r.label, questions=r.questions)

    def __getitem__(self, index: int) -> Sample:
        return replace(
            self.truth(index), image=read_image(self.source(index), self.records[index].id, self.size)
        )


def truths(dataset: Dataset) -> Iterator[Sample]:
    """All samples of a data set in order, without their pixels where it has the method ``truth``."""
    read = getattr(dataset, "truth", dataset.__getitem__)
    return (read(index) for index in range(len(dataset)))


def window(total: int, samples: int | None, offset: int, shuffle: int | None, where: str) -> list[int]:
    """Indices ``offset`` to ``offset + samples`` of ``total``, in order or shuffled by a seed.

    Data that are sorted by class need the shuffle for a small ``samples`` to be representative.
    """
    if total == 0:
        raise InputError(f"{where}: there are no samples in it")
    offset = whole("data.offset", offset, 0)
    if offset >= total:
        raise InputError(f"data.offset is {offset}, but {where} has {total} samples")
    count = total - offset if samples is None else whole("data.samples", samples, 1)
    if offset + count > total:
        raise InputError(
            f"data.samples is {count} from data.offset {offset}, but {where} has {total} samples"
            f" ({total - offset} from there)"
        )
    order = np.arange(total)
    if shuffle is not None:
        order = np.random.default_rng(whole("data.shuffle", shuffle, 0)).permutation(total)
    return [int(i) for i in order[offset : offset + count]]


def read_questions(question: Any, answer: Any, kind: Any, where: str) -> list[Question]:
    """Questions of one table row; one without an answer is left out.

    One question may have one answer or a list, one from each person asked; a list of questions has a list of
    as many answers. Candidates are set afterwards by :func:`close`.
    """
    asked = texts(question, "question", where)
    if isinstance(question, str) or len(asked) <= 1:
        pairs = [(text, answer) for text in asked]
    else:
        answers = (
            list(answer)
            if isinstance(answer, Iterable) and not isinstance(answer, str | bytes | dict)
            else []
        )
        if len(answers) != len(asked):
            raise InputError(
                f"{where}: {len(asked)} questions need a list of {len(asked)} answers, not {answer!r:.80}"
            )
        pairs = list(zip(asked, answers, strict=True))
    kinds = texts(kind, "type", where)
    found = []
    for text, given in pairs:
        said = tuple(texts(given, "answer", where))
        if said:
            majority = Counter(said).most_common(1)[0][0]
            found.append(Question(text, majority, kinds[0] if kinds else answer_type(said), answers=said))
    return found


def answer_type(answers: Iterable[str]) -> str:
    """``yes/no``, ``number`` or ``other``, the answer types of VQAv2, judged by the answers."""
    words = {a.lower() for a in answers}
    if words <= set(YES_NO):
        return "yes/no"
    return "number" if all(w.isdigit() for w in words) else "other"


def common_answers(answers: Iterable[str], size: int) -> tuple[str, ...]:
    """The ``size`` most common of the answers, ties in the order of the alphabet: a closed answer set."""
    count = Counter(answers)
    return tuple(sorted(count, key=lambda a: (-count[a], a))[: whole("data.candidates", size, 0)])


def close(records: Sequence[Record], candidates: int) -> list[Record]:
    """Give every question its closed answer set: yes and no, or the ``candidates`` most common other answers.

    With ``candidates`` 0 the questions stay open: the answer is generated freely.
    """
    common = common_answers(
        (q.answer for r in records for q in r.questions if q.type != "yes/no"), candidates
    )

    def closed(question: Question) -> Question:
        return replace(question, candidates=YES_NO if question.type == "yes/no" else common)

    if candidates == 0:
        return list(records)
    return [replace(r, questions=tuple(closed(q) for q in r.questions)) for r in records]
