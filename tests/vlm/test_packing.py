"""The packed layout and the contexts of candidates, against their definitions."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from semcom.vlm.likelihood import Job, contexts, read, terminated
from semcom.vlm.packing import batches, layout, pack

ids = st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple)


@settings(deadline=None)  # a shared machine is no failure
@given(
    st.dictionaries(st.integers(0, 3), st.lists(ids, min_size=1, max_size=5), min_size=1), st.integers(1, 4)
)
def test_every_sequence_is_found_by_following_the_mask(
    texts: dict[int, list[tuple[int, ...]]], per_row: int
) -> None:
    numbered, number = {}, 0
    for view, members in texts.items():
        numbered[view] = [(number + i, text) for i, text in enumerate(members)]
        number += len(members)
    rows = pack(numbered, per_row)
    tokens, positions, sees = layout(rows, pad=9)
    for b, row in enumerate(rows):
        stop = len(row.prefix)
        for place, (job, suffix) in enumerate(zip(row.jobs, row.suffixes, strict=True)):
            stop += len(suffix)
            assert len(suffix) >= 1
            visible = sees[b, 0, stop - 1].nonzero()[
                :, 0
            ]  # what the last token attends to is the whole sequence
            assert tuple(tokens[b, visible].tolist()) == dict(numbered[row.view])[job]
            assert positions[b, visible].tolist() == list(range(len(visible)))
            for token in visible.tolist():  # and each token attends to those before it in the sequence
                assert sees[b, 0, token].nonzero()[:, 0].tolist() == [
                    v for v in visible.tolist() if v <= token
                ]
            for count in range(1, len(visible) + 1):
                assert row.last(place, count) == visible.tolist()[-count:]
    assert sorted(job for row in rows for job in row.jobs) == list(range(number))


@settings(deadline=None)
@given(st.lists(ids, min_size=1, max_size=9), st.integers(1, 40))
def test_batches_keep_every_row_and_the_limit(texts: list[tuple[int, ...]], limit: int) -> None:
    rows = pack({i: [(i, text)] for i, text in enumerate(texts)}, 1)
    parts = list(batches(rows, limit))
    assert sorted(row.view for part in parts for row in part) == list(range(len(texts)))
    assert all(len(part) == 1 or len(part) * max(map(len, part)) <= limit for part in parts)


@settings(deadline=None)
@given(st.lists(ids, min_size=1, max_size=8))
def test_contexts_give_every_candidate_its_likelihood(candidates: list[tuple[int, ...]]) -> None:
    def log_prob(history: tuple[int, ...]) -> np.ndarray:  # an arbitrary language model over four tokens
        logits = np.random.default_rng([7, *history]).normal(size=4)
        return logits - np.log(np.exp(logits).sum())

    needed = contexts(candidates)
    scores = [np.full(len(candidates), np.nan, np.float32)]
    for context, members in needed.items():
        job = Job(0, "", context, tuple((0, i, candidates[i]) for i in members))
        read(scores, job, np.stack([log_prob(context[:t]) for t in range(len(context) + 1)]))
    truth = [sum(log_prob(c[:t])[token] for t, token in enumerate(c)) for c in candidates]
    np.testing.assert_allclose(scores[0], truth, rtol=1e-5)
    # none of the passes is contained in another, so there are as few as can be
    assert not any(a != b and b[: len(a)] == a for a in needed for b in needed)


def test_single_tokens_need_one_pass() -> None:
    assert contexts([(4,), (5,), (6,)]) == {(): [0, 1, 2]}


def test_end_token_only_where_one_candidate_begins_another() -> None:
    assert terminated([(1,), (2,)], 9) == [(1,), (2,)]
    assert terminated([(1, 2), (3,), (1,)], 9) == [(1, 2, 9), (3, 9), (1, 9)]
    assert terminated([(1,), (1,)], None) == [(1,), (1,)]
