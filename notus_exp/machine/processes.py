"""The processes of one launch as a team: torchrun starts them, and they meet in the store that it keeps for them.

Messages are JSON in torch.distributed's key-value store. So the default process group is left to the training, which
has its own backend for each device, a message can hold nothing but data, and processes that wait for one that works
alone for hours keep no collective open.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from notus_exp.machine.team import Alone, Team

T = TypeVar("T")

WAIT = timedelta(days=365)
"""How long a process waits for the others: whoever hangs or dies is found by the launcher and by the parent."""
PART = 4_000_000
"""Characters (ASCII) of a message under one key: the store takes values of up to 8 MiB."""


OF_A_LAUNCH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables by which a process knows that it is one of several."""


def forget_launch() -> None:
    """Let this process be alone, though it is started from within a launch of others, such as a job of a cluster."""
    for name in OF_A_LAUNCH:
        os.environ.pop(name, None)


def launched_rank() -> int:
    """Return the number of this process among those of its launch; 0 where it was started alone."""
    return int(os.environ.get("RANK", "0"))


def launched_team() -> Team:
    """Return the processes that were launched together with this one, which is one of them; each has to call it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Alone()
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

    store, rank, size = next(rendezvous("env://"))
    return Processes(PrefixStore("notus_exp", store), rank, size)


def lost_others(error: BaseException) -> bool:
    """Say whether a process failed because others were gone or silent, which is never the reason of a run's end."""
    from torch.distributed import DistError

    found: BaseException | None = error
    while found is not None:
        if isinstance(found, DistError) or (isinstance(found, RuntimeError) and "gloo" in str(found)):
            return True
        found = found.__cause__ or found.__context__
    return False


class Processes:
    """Several processes over a store that all of them reach.

    Args:
        store: A store of torch.distributed.
        rank: Number of this process.
        size: Number of processes.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        store.set_timeout(WAIT)
        self.rank, self.size, self._store = rank, size, store
        self._round, self._said = 0, list[str]()

    def gather(self, own: T) -> list[T]:
        """Return what each process gives, in the order of their ranks, in every process.

        Raises:
            TypeError: It is not what JSON gives back as it was: of dicts with text for keys, lists, text, numbers,
                booleans and None.
        """
        self._round += 1
        said = self._say(packed(own))
        found = [json.loads(self._hear(rank)) for rank in range(self.size)]
        # Who is in this round has read all of the last one: when all are, nobody needs that any more.
        for key in self._said:
            self._store.delete_key(key)
        self._said = said
        return found

    def broadcast(self, make: Callable[[], T]) -> T:
        """Return in every process what process 0 makes; the others do not call `make`.

        Raises:
            TypeError: As `gather`.
        """
        made: T = self.gather(make() if self.rank == 0 else None)[0]  # type: ignore[assignment]
        return made

    def _say(self, text: str) -> list[str]:
        """Put a message into the store, its first part last, and return the keys of its parts."""
        parts = [text[start : start + PART] for start in range(0, len(text), PART)]
        keys = [self._key(self.rank, number) for number in range(len(parts))]
        for key, part in [*zip(keys, parts, strict=True)][:0:-1]:
            self._store.set(key, part)
        self._store.set(keys[0], f"{len(parts)} {parts[0]}")
        return keys

    def _hear(self, rank: int) -> str:
        count, _, first = self._store.get(self._key(rank, 0)).decode().partition(" ")
        later = (self._store.get(self._key(rank, number)).decode() for number in range(1, int(count)))
        return "".join([first, *later])

    def _key(self, rank: int, part: int) -> str:
        return f"{self._round}/{rank}/{part}"


def packed(own: object) -> str:
    """Return what a process gives as JSON.

    Raises:
        TypeError: JSON would not give it back as it is.
    """
    text = json.dumps(own)
    if repr(json.loads(text)) != repr(own):  # not ==: a NaN is one
        raise TypeError(f"{type(own).__name__} is changed by JSON, in which processes exchange what they make")
    return text
