"""One thread for work made of many small tensor operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def single_thread() -> Iterator[None]:
    """Let torch use one thread inside the block.

    Several threads make operations on small tensors slower (many times slower on a busy machine), and where
    torch splits a tensor among threads may change the last bit of a result. Use processes to fill a
    machine.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
