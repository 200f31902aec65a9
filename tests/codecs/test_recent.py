"""What is remembered of the latest images, and what is not."""

from __future__ import annotations

import secrets
from collections import OrderedDict

import numpy as np

from semcom.codecs.base import Recent

SEED = secrets.randbelow(2**32)


def test_the_latest_images_are_kept_up_to_so_many_pixels() -> None:
    rng, room = np.random.default_rng(SEED), 500
    recent, model = Recent[int](room), OrderedDict[bytes, int]()  # the model: sums anew each time
    made: list[bytes] = []
    for turn in range(2000):
        key = bytes([int(rng.integers(30))])
        size = (
            1 + key[0],
            1 + key[0] % 7,
        )  # one image always has the same size, the largest half of the room
        known = key in model

        def make(key: bytes = key) -> int:
            made.append(key)
            return key[0]

        before = len(made)
        assert recent.of(key, size, make) == key[0]
        assert (len(made) > before) == (not known), (SEED, turn)
        model[key] = size[0] * size[1]
        model.move_to_end(key)
        while len(model) > 1 and sum(model.values()) > room:
            model.popitem(last=False)


def test_an_image_larger_than_the_room_is_kept_until_the_next() -> None:
    recent, made = Recent[int](10), []
    for key in (b"a", b"a", b"b", b"a"):
        recent.of(key, (100, 100), lambda: made.append(0) or 0)  # type: ignore[func-returns-value]
    assert len(made) == 3
