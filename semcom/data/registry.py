"""The data sets by name."""

from __future__ import annotations

from channels.registry import Registry
from semcom.types import Dataset

DATASETS: Registry[Dataset] = Registry("data set")
