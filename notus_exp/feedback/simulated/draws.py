"""Random choices that depend on the seed, the purpose and the number of the prompt alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_BLOCK = 64

WORLD, UNSEEN, KIND_ORDER, ANNOTATORS, MADE = range(5)
"""Purposes: the world's prompts and answers, prompts for evaluation, their balance of kinds, the labels, and answers of
writers that are not the world's."""
VALIDATION_SEED = 2**32
"""Added to the seed that makes validation prompts: far from any seed that a user gives."""


def generator(purpose: int, part: int, index: int, seed: int) -> np.random.Generator:
    """Return a NumPy generator for four integers >= 0; different ones give independent streams.

    The seed comes last because it alone may be longer than the 32 bits that make one word of entropy.
    """
    return np.random.Generator(np.random.PCG64((purpose, part, index, seed)))


class Draws:
    """A stream of single choices.

    Args:
        purpose: One of the purposes above.
        part: A number within the purpose, such as that of an attempt.
        index: The number of the prompt.
        seed: The user's seed.
    """

    def __init__(self, purpose: int, part: int, index: int, seed: int) -> None:
        self._generator = generator(purpose, part, index, seed)
        self._block: list[float] = []

    def uniform(self) -> float:
        """Return a number in [0, 1)."""
        if not self._block:
            self._block = self._generator.random(_BLOCK).tolist()
        return self._block.pop()

    def chance(self, probability: float) -> bool:
        """Return True with a probability; 1.0 always and 0.0 never."""
        return self.uniform() < probability

    def below(self, number: int) -> int:
        """Return an integer in [0, number)."""
        return int(self.uniform() * number)

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options, each equally likely."""
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """Return the options in a random order (Fisher and Yates)."""
        order = list(options)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order
