"""The order of pairs in which a pass's texts are of like lengths, so that little of it is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

POOL = 50
"""Global batches whose pairs are sorted together, as transformers' LengthGroupedSampler does."""
BY_LENGTH = "group_by_length"
"""Word of transformers for such an order."""


def pair_lengths(pairs: Any) -> list[int]:
    """Return the tokens of each pair's longer side with its prompt, which is what it is padded by.

    Args:
        pairs: A dataset with the columns prompt_ids, chosen_ids and rejected_ids.
    """
    prompts, *sides = (map(len, pairs[name]) for name in ("prompt_ids", "chosen_ids", "rejected_ids"))
    return [prompt + max(both) for prompt, *both in zip(prompts, *sides, strict=True)]


def by_length(lengths: Sequence[int], batch: int, seed: int) -> list[int]:
    """Return rows in an order whose global batches hold rows of like lengths: each row once.

    Rows are shuffled and sorted by length within pools of `POOL` global batches; then the batches are shuffled, so that
    an epoch does not go from long texts to short ones. An incomplete batch is the last. It is transformers'
    `group_by_length` but for that, and for being of the global batch alone: neither passes nor processes move it.

    Args:
        lengths: Tokens of each row.
        batch: Rows of a global batch.
        seed: Moves the order.
    """
    chance = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(lengths), generator=chance).tolist()
    batches: list[list[int]] = []
    for start in range(0, len(shuffled), POOL * batch):
        pool = sorted(shuffled[start : start + POOL * batch], key=lambda row: -lengths[row])  # a stable sort
        batches += [pool[first : first + batch] for first in range(0, len(pool), batch)]
    rest = [batches.pop()] if batches and len(batches[-1]) < batch else []
    order = torch.randperm(len(batches), generator=chance).tolist()
    return [row for rows in [*(batches[number] for number in order), *rest] for row in rows]


class LengthSampler(Sampler[int]):
    """Yields rows `by_length`, in another order each epoch.

    Args:
        lengths: Tokens of each row.
        batch: Rows of a global batch.
        seed: With the epoch moves the order.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths, self._batch, self._seed, self._epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; accelerate says it before each, and before a resumed one."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Yield row numbers."""
        return iter(by_length(self._lengths, self._batch, self._seed + self._epoch))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._lengths)
