"""dice.py: cheap scalar draws for the thousands of small decisions of a scene."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """Scalar draws from one generator; a few times faster than `Generator.uniform` and `Generator.choice`.

    Attributes:
        rng: the generator that every draw comes from.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self._random = rng.random

    def chance(self, probability: float) -> bool:
        """Return True with `probability`."""
        return self._random() < probability

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self._random()

    def log_uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high) whose logarithm is uniform."""
        return low * math.exp(self._random() * math.log(high / low))

    def normal(self, mean: float, deviation: float) -> float:
        """Return a normal number, cut at 2.5 standard deviations."""
        return mean + deviation * min(2.5, max(-2.5, float(self.rng.standard_normal())))

    def exponential(self, mean: float) -> float:
        """Return an exponential number with `mean`."""
        return mean * float(self.rng.standard_exponential())

    def count(self, mean: float) -> int:
        """Return a Poisson count with `mean`."""
        return int(self.rng.poisson(mean))

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high], both included."""
        return low + int(self._random() * (high - low + 1))

    def sign(self) -> int:
        """Return -1 or 1."""
        return -1 if self._random() < 0.5 else 1

    def pick(self, items: Sequence[T]) -> T:
        """Return one of `items`, each equally likely."""
        return items[int(self._random() * len(items))]

    def weighted(self, items: Sequence[T], weights: Sequence[float]) -> T:
        """Return one of `items` with probability proportional to its weight."""
        mark = self._random() * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            mark -= weight
            if mark < 0:
                return item
        return items[-1]
