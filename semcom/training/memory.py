"""Memory for learning one data set after another without forgetting (the MED of VLM-CSC, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from channels.base import check_number
from channels.errors import InputError, unknown

Rule = Literal["novel", "paper"]
Features = Callable[[Tensor], Tensor]


class Memory:
    """Memory-assisted encoder and decoder (MED): a short-term memory feeds a long-term one.   [sec. IV-C]

    New samples enter the short-term memory. When it is full, those that a rule selects by their mean similarity to
    the long-term memory move there, and it is emptied. Training batches draw from both.

    The paper contradicts itself: its text keeps samples that *differ* from the long-term memory (``novel``), its
    equation 16 the *similar* ones (``paper``). With its constants (tau 10, threshold 0.05) the similarity of
    text features is nearly 1 throughout, so the one rule stores nothing after the first data set and the
    other everything. A ``quantile`` selects a share of the samples whatever the scale is. The long-term
    memory of the paper is not bounded; here it is a reservoir: once full, each arrival replaces a random
    member with the probability that keeps all arrivals equally likely to be in it.   [Vitter 1985]

    :param features: samples [n, ...] to feature vectors [n, d].
    :param short: capacity of the short-term memory.
    :param long: capacity of the long-term memory.
    :param rule: ``novel`` or ``paper``.
    :param quantile: share of the short-term memory that moves; None to use ``threshold``.
    :param threshold: lambda of equation 16, for the mean similarity, in [0, 1].
    :param tau: width of the similarity; ``median`` for the median distance between the two memories.
    :param seed: of what is drawn at random.
    """

    def __init__(
        self,
        features: Features,
        short: int = 500,
        long: int = 500,
        rule: Rule = "novel",
        quantile: float | None = 0.3,
        threshold: float = 0.05,
        tau: float | Literal["median"] = 10.0,
        seed: int = 0,
    ) -> None:
        check_number("Memory", "short", short, 1, whole=True)
        check_number("Memory", "long", long, 1, whole=True)
        if rule not in get_args(Rule):
            raise unknown("rule", rule, get_args(Rule))
        if quantile is not None:
            check_number("Memory", "quantile", quantile, 0, 1)
        check_number("Memory", "threshold", threshold, 0, 1)
        if tau != "median":
            if isinstance(tau, str):
                raise InputError(f"tau: {tau!r} is not a positive number or 'median'")
            check_number("Memory", "tau", tau, 1e-12)
        self._features, self._capacity, self._long = features, short, long
        self._rule, self._quantile, self._threshold, self._tau = rule, quantile, threshold, tau
        self._rng = np.random.default_rng(seed)
        self.short_term: list[Tensor] = []
        self.long_term: list[Tensor] = []
        self.arrivals = 0  # samples that ever moved to the long-term memory

    def observe(self, samples: Tensor) -> None:
        """Take in new samples [n, ...]; consolidate whenever the short-term memory is full."""
        for sample in samples:
            self.short_term.append(sample.clone())
            if len(self.short_term) == self._capacity:
                self.consolidate()

    def consolidate(self) -> None:
        """Move what the rule selects to the long-term memory, and empty the short-term one."""
        for index in self.selected():
            self.arrivals += 1
            if len(self.long_term) < self._long:
                self.long_term.append(self.short_term[index])
            elif (place := int(self._rng.integers(self.arrivals))) < self._long:
                self.long_term[place] = self.short_term[index]
        self.short_term = []

    def selected(self) -> list[int]:
        """Which of the short-term memory the rule would move now, in a random order; all while nothing is stored."""
        order: list[int] = self._rng.permutation(len(self.short_term)).tolist()
        if not self.long_term or not order:
            return order
        similar = self.similarity()
        sign = 1 if self._rule == "novel" else -1
        if self._quantile is None:
            return [i for i in order if sign * (similar[i] - self._threshold) < 0]
        count = round(self._quantile * len(order))
        chosen = set(np.argsort(sign * similar, kind="stable")[:count].tolist())
        return [i for i in order if i in chosen]

    def similarity(self) -> np.ndarray:
        """R of each sample of the short-term memory: mean of exp(-|a - b|^2 / (2 tau^2)) over the long-term one."""
        with torch.no_grad():
            a = self._features(torch.stack(self.short_term)).double()
            b = self._features(torch.stack(self.long_term)).double()
        distance = torch.cdist(a, b)
        tau = float(distance.median()) or 1.0 if self._tau == "median" else float(self._tau)
        return torch.exp(-(distance**2) / (2 * tau**2)).mean(1).numpy()

    def replay(self, count: int, rng: np.random.Generator) -> Tensor | None:
        """``count`` random samples of the long-term memory, [count, ...]; None while it is empty."""
        if not self.long_term:
            return None
        return torch.stack([self.long_term[i] for i in rng.integers(len(self.long_term), size=count)])
