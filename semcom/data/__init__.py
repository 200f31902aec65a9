"""Samples with their truth: procedural scenes, image folders, COCO captions, VQAv2, Hugging Face data sets.

>>> from semcom import data
>>> data.load("scenes", split="test", samples=2)[0].label  # doctest: +SKIP
'red star'
"""

from __future__ import annotations

from typing import Any

from semcom.data import coco, folder, hub, scenes, vqav2  # noqa: F401  they register themselves
from semcom.data.records import truths
from semcom.data.registry import DATASETS
from semcom.types import Dataset

__all__ = ["DATASETS", "load", "truths"]


def load(name: str, **options: Any) -> Dataset:
    """The data set ``name``; unknown names and options are an :class:`~channels.errors.InputError`."""
    return DATASETS.create(name, **options)
