"""Two processes that make a stage's artifact together: as threads, which cost nothing, and as processes over gloo.

Under torchrun this file is one of the latter; see `run_over_gloo`.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from notus_exp.machine.processes import packed
from support.places import IMPORTABLE

WAIT_SECONDS = 60.0


@dataclass
class ThreadTeam:
    """A team of one thread among several, which share a barrier and a board."""

    rank: int
    size: int
    barrier: threading.Barrier
    board: list[Any]

    def gather(self, own: Any) -> list[Any]:
        self.board[self.rank] = json.loads(packed(own))
        self.barrier.wait()
        found = [*self.board]
        self.barrier.wait()
        return found

    def broadcast(self, make: Callable[[], Any]) -> Any:
        return self.gather(make() if self.rank == 0 else None)[0]


def in_threads(size: int, work: Callable[[ThreadTeam], Any]) -> list[Any]:
    """Do work as a team of threads, and return what each returned; the first error ends the others and is raised."""
    barrier, board = threading.Barrier(size, timeout=WAIT_SECONDS), [None] * size
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def member(rank: int) -> None:
        try:
            results[rank] = work(ThreadTeam(rank, size, barrier, board))
        except threading.BrokenBarrierError:
            pass
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=member, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    if errors:
        raise errors[0]
    return results


class GlooTeam:
    """A team of torchrun's processes."""

    def __init__(self) -> None:
        import torch.distributed as dist

        dist.init_process_group("gloo")
        self.rank, self.size, self._dist = dist.get_rank(), dist.get_world_size(), dist

    def gather(self, own: Any) -> list[Any]:
        found = [None] * self.size
        self._dist.all_gather_object(found, json.loads(packed(own)))
        return found

    def broadcast(self, make: Callable[[], Any]) -> Any:
        made = [json.loads(packed(make())) if self.rank == 0 else None]
        self._dist.broadcast_object_list(made)
        return made[0]


class SilentEvents:
    """What a process beside process 0 tells: nothing."""

    def progress(self, *args: Any, **named: Any) -> None: ...

    def emit(self, *args: Any, **named: Any) -> None: ...

    def say(self, line: str) -> None: ...

    def keep(self, size: int) -> None: ...


def beside(context: Any, team: Any) -> Any:
    """Return a stage's context in one process of a team: those beside process 0 are silent, and have no store."""
    silent = {} if team.rank == 0 else {"events": SilentEvents(), "cache": context.cache / "of nobody"}
    return replace(context, team=team, **silent)


def run_over_gloo(stages: list[tuple[str, Any, dict[str, Path]]], folder: Path, context: Any, size: int = 2) -> Path:
    """Run stages (module, settings, inputs) in processes of torchrun, below `folder`; return where they wrote.

    Each writes into a folder of its number. The store is in `folder/cache`, and facts in `folder/facts.json`, of every
    process those of all stages.
    """
    job = folder / "job.pickle"
    job.write_bytes(pickle.dumps((stages, context.hardware, context.sources)))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(size), __file__, str(folder)]
    environment = os.environ | IMPORTABLE | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *launch], check=True, timeout=240, env=environment)
    return folder


def _run_job(folder: Path) -> None:
    from notus_exp.stages.context import Context

    stages, hardware, sources = pickle.loads((folder / "job.pickle").read_bytes())  # noqa: S301 - `run_over_gloo` has just written it
    team = GlooTeam()
    context = beside(Context(SilentEvents(), hardware, folder / "cache", sources), team)
    facts = []
    for number, (module, settings, inputs) in enumerate(stages):
        out = folder / str(number)
        if team.rank == 0:
            out.mkdir()
        facts.append(importlib.import_module(module).run(settings, inputs, out, context))
        team.gather(None)  # as after every stage: what process 0 wrote is there
    told = team.gather(facts)
    if team.rank == 0:
        (folder / "facts.json").write_text(json.dumps(told))


if __name__ == "__main__":
    _run_job(Path(sys.argv[1]))
