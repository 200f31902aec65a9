"""Several questions about one image in one sequence.

    prefix (image) | question 1 | question 2 | ...

Each question attends to the prefix and to itself and is numbered as if it followed the prefix directly, so
its result is that of the unpacked sequence, while the prefix (mostly image tokens) is computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from semcom.vlm.words import Ids


@dataclass(frozen=True)
class Row:
    """One packed sequence: ``jobs[i]`` is the sequence ``prefix + suffixes[i]`` about what ``view`` holds."""

    view: int
    prefix: Ids
    suffixes: tuple[Ids, ...]
    jobs: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prefix) + sum(map(len, self.suffixes))

    @property
    def ids(self) -> Ids:
        """All tokens of the row."""
        return sum(self.suffixes, self.prefix)

    def last(self, number: int, count: int) -> list[int]:
        """Where in the row the last ``count`` tokens of sequence ``number`` stand, maybe in the prefix."""
        start = len(self.prefix) + sum(map(len, self.suffixes[:number]))
        return [*range(len(self.prefix)), *range(start, start + len(self.suffixes[number]))][-count:]


def pack(sequences: Mapping[int, Sequence[tuple[int, Ids]]], per_row: int) -> list[Row]:
    """Rows of at most ``per_row`` sequences that have their beginning in common.

    ``sequences`` gives for each view its (job, ids). Every suffix keeps at least one token.
    """
    rows = []
    for view, members in sequences.items():
        members = sorted(members, key=lambda member: len(member[1]))
        for start in range(0, len(members), per_row):
            jobs, texts = zip(*members[start : start + per_row], strict=True)
            shared = _common(texts)
            rows.append(Row(view, texts[0][:shared], tuple(ids[shared:] for ids in texts), jobs))
    return rows


def batches(rows: Sequence[Row], tokens: int) -> Iterator[list[Row]]:
    """Rows of similar length together, at most ``tokens`` padded tokens a batch (but at least one row)."""
    batch: list[Row] = []
    for row in sorted(rows, key=len):
        if batch and len(row) * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def layout(rows: Sequence[Row], pad: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids and positions ``[B, T]``, who sees whom ``[B, 1, T, T]`` (bool); padded on the right."""
    shape = (len(rows), max(map(len, rows)))
    ids, positions = torch.full(shape, pad), torch.zeros(shape, dtype=torch.long)
    segment = torch.full(shape, -1)  # 0 prefix, 1.. questions, -1 padding, which sees only itself
    for b, row in enumerate(rows):
        ids[b, : len(row)] = torch.tensor(row.ids)
        shared = len(row.prefix)
        segment[b, :shared], positions[b, :shared] = 0, torch.arange(shared)
        start = shared
        for number, suffix in enumerate(row.suffixes, 1):
            stop = start + len(suffix)
            segment[b, start:stop] = number
            positions[b, start:stop] = torch.arange(shared, shared + len(suffix))
            start = stop
    sees = (segment[:, :, None] == segment[:, None, :]) | (segment[:, None, :] == 0)
    sees &= torch.ones(shape[1], shape[1], dtype=torch.bool).tril()
    return ids, positions, sees[:, None]


def _common(texts: Sequence[Ids]) -> int:
    """Length of the beginning that all texts share, short of their last tokens."""
    limit = min(map(len, texts)) - 1
    for i in range(limit):
        if any(ids[i] != texts[0][i] for ids in texts):
            return i
    return limit
