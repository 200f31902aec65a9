"""What the receiver is asked, and how its answers are scored."""

from __future__ import annotations

from typing import Any

from semcom.tasks import captioning, classification, retrieval, vqa  # noqa: F401  they register themselves
from semcom.tasks.base import TASKS, Models, Task
from semcom.types import Dataset

__all__ = ["TASKS", "Models", "Task", "create"]


def create(name: str, models: Models, dataset: Dataset, **options: Any) -> Task:
    """The task ``name`` on a data set, answered by the receiver's ``models``.

    Unknown names and options, and data that lack what the task asks for, are an
    :class:`~channels.errors.InputError`.
    """
    return TASKS.create(name, models, dataset, **options)
