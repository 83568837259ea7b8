"""Dealing a global batch out to processes: each gets its share of every forward pass, and the batch stays what it is.

accelerate deals out forward passes, fills up an epoch's last batch with pairs from its beginning, and so trains other
batches with two processes than with one. Here the order of pairs and the bounds of global batches are those of one
process, whatever their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.utils.data import BatchSampler, Sampler

ABSENT = "absent"
"""Key of a pass that stands in where a process has no pair left, while others have: it counts for nothing."""


class DealtBatches(BatchSampler):
    """The forward passes of one of several processes: lists of row numbers, empty where none is left for it.

    Every process has the same number of passes, since in each of them all processes exchange something. A pass takes
    `micro` units of each process from the batch, and what is left for the last pass is dealt out evenly.

    Args:
        sampler: The rows in their order, the same in every process.
        batch: Rows of a global batch.
        micro: Rows of a process and pass.
        unit: Rows that stay together, such as the two of a pair for KTO; `batch` and `micro` are multiples of it.
        processes: Their number.
        rank: That of this process, from 0.
    """

    # accelerate replaces `sampler` by one whose order is of a seed and an epoch
    def __init__(self, sampler: Sampler[int], batch: int, micro: int, unit: int, processes: int, rank: int) -> None:
        self.sampler, self.batch_size, self.drop_last = sampler, micro, False
        self._batch, self._unit, self._processes, self._rank = batch, unit, processes, rank

    def __iter__(self) -> Iterator[list[int]]:
        """Return the passes of an epoch."""
        held: list[int] = []
        for row in self.sampler:
            held.append(row)
            if len(held) == self._batch:
                yield from self._dealt(held)
                held = []
        yield from self._dealt(held)

    def __len__(self) -> int:
        """Return the number of passes of an epoch."""
        whole, rest = divmod(len(self.sampler), self._batch)  # type: ignore[arg-type]
        return whole * self._passes(self._batch) + self._passes(rest)

    def _dealt(self, rows: list[int]) -> Iterator[list[int]]:
        together = self.batch_size * self._processes
        for start in range(0, len(rows), together):
            units = [rows[i : i + self._unit] for i in range(start, min(start + together, len(rows)), self._unit)]
            yield [row for unit in units[self._rank :: self._processes] for row in unit]

    def _passes(self, rows: int) -> int:
        return math.ceil(rows / (self.batch_size * self._processes))


class StandIn(NamedTuple):
    """A collator that makes of no example at all a pass of others, marked `ABSENT`."""

    collate: Any
    others: list[dict[str, Any]]

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a pass's tensors."""
        found: dict[str, Any] = self.collate(examples or self.others)
        return found if examples else found | {ABSENT: torch.ones(1)}


@contextmanager
def gathered_by_row(accelerator: Any, *, absent: bool) -> Iterator[None]:
    """Within, let `accelerator.gather` take what differs in length between processes, and nothing of a stand-in.

    What a pass logs is then of its pairs alone, however they are dealt out. A value without dimensions is one of each
    process that is not `absent`.
    """
    if accelerator.num_processes == 1:
        yield
        return
    plain, for_metrics = accelerator.gather, accelerator.gather_for_metrics
    present = plain(torch.tensor([not absent], device=accelerator.device, dtype=torch.long)).bool()

    def gather(value: torch.Tensor) -> torch.Tensor:
        if value.dim() == 0:
            found: torch.Tensor = plain(value)
            return found[present]
        sizes = plain(torch.tensor([0 if absent else len(value)], device=value.device)).tolist()
        padded = value.new_zeros((max(sizes), *value.shape[1:]))
        padded[: sizes[accelerator.process_index]] = value[: sizes[accelerator.process_index]]
        return torch.cat([part[:size] for part, size in zip(plain(padded).split(max(sizes)), sizes, strict=True)])

    accelerator.gather = accelerator.gather_for_metrics = gather
    try:
        yield
    finally:
        accelerator.gather, accelerator.gather_for_metrics = plain, for_metrics


def mean_of(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the mean of values that are means over so many pairs each."""
    return sum(v * n for v, n in zip(values, weights, strict=True)) / sum(weights)
