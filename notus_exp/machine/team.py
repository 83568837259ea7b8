"""The processes that make one artifact together: what each does of a stage's work, and how the parts come together.

Process 0 conducts: it alone writes, and its return value is the stage's. The others run the same stage on their share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")
Result = TypeVar("Result")


class Team(Protocol):
    """What a stage knows of the processes beside it. Every process calls the same methods in the same order.

    What they exchange is what JSON gives back as it was: no tuple, no path, text as keys.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    @property
    def rank(self) -> int: ...  # noqa: D102 - above

    @property
    def size(self) -> int: ...  # noqa: D102 - above

    def gather(self, own: T) -> list[T]:
        """Return what each process gives, in the order of their ranks, in every process."""

    def broadcast(self, make: Callable[[], T]) -> T:
        """Return in every process what process 0 makes; the others do not call `make`."""


class Alone:
    """A team of this process."""

    rank, size = 0, 1

    def gather(self, own: T) -> list[T]:
        """Return what this process gives."""
        return [own]

    def broadcast(self, make: Callable[[], T]) -> T:
        """Return what this process makes."""
        return make()


def conducts(team: Team) -> bool:
    """Say whether this process is the one that writes."""
    return team.rank == 0


def rounds(team: Team, batches: Sequence[T]) -> list[tuple[T | None, list[T]]]:
    """Deal batches out, one a process and round: (this process's, or None where none is left for it; all of the round).

    The batches are those of one process, whatever the team's size, so that no result depends on it.
    """
    whole = [batches[start : start + team.size] for start in range(0, len(batches), team.size)]
    return [(dealt[team.rank] if team.rank < len(dealt) else None, [*dealt]) for dealt in whole]


def worked_together(
    team: Team, batches: Sequence[T], work: Callable[[T], Result]
) -> Iterator[tuple[list[T], list[Result]]]:
    """Yield, in every process, the batches of each round and what became of them, in the batches' order.

    Args:
        team: The processes.
        batches: The same in every process.
        work: Done with one batch, by the process that it is dealt to.
    """
    for own, dealt in rounds(team, batches):
        results = team.gather(None if own is None else [work(own)])
        yield dealt, [result for part in results if part is not None for result in part]
