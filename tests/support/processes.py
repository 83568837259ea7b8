"""Several processes that do one thing together, over gloo: forked from one in which the libraries are loaded."""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from notus_exp.machine.processes import packed
from support.places import IMPORTABLE, ROOT


class Group:
    """A team over the process group of torch.distributed."""

    def __init__(self):
        import torch.distributed as dist

        self._dist, self.rank, self.size = dist, dist.get_rank(), dist.get_world_size()

    def gather(self, own):
        found = [None] * self.size
        self._dist.all_gather_object(found, json.loads(packed(own)))
        return found

    def broadcast(self, make):
        given = [json.loads(packed(make())) if self.rank == 0 else None]
        self._dist.broadcast_object_list(given, src=0)
        return given[0]


def together(folder, do, *given, size=2, timeout=300, environment=None):
    """Return what `do(team, *given)` returns in each of `size` processes, as JSON; what fails or hangs is raised here.

    Args:
        folder: For what they tell each other.
        do: A function of a module of tests/support.
        given: What it is given beside its team.
        size: Number of processes.
        timeout: Seconds after which all are ended.
        environment: Variables that the libraries are loaded under.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    (folder / "job").write_bytes(pickle.dumps((do.__module__, do.__name__, given, size, timeout)))
    environment = {**os.environ, **IMPORTABLE, **(environment or {})}
    command = [sys.executable, "-m", "support.processes", str(folder)]
    with (folder / "said").open("w") as said:
        child = subprocess.Popen(command, env=environment, stdout=said, stderr=said, start_new_session=True, cwd=ROOT)
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            code = "none in time"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    assert code == 0, f"exit code {code}\n" + (folder / "said").read_text()
    return [json.loads((folder / f"returned-{rank}.json").read_text()) for rank in range(size)]


def main(folder):
    module, name, given, size, timeout = pickle.loads((folder / "job").read_bytes())  # noqa: S301 - the test's own
    do = getattr(importlib.import_module(module), name)
    children = [_forked(folder, rank, size, timeout, do, given) for rank in range(size)]
    for _ in children:
        _, status = os.wait()
        if status:
            sys.exit(1)  # the others are ended with the session


def _forked(folder, rank, size, timeout, do, given):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        faulthandler.dump_traceback_later(timeout / 2)
        os.environ.update(RANK=f"{rank}", LOCAL_RANK=f"{rank}", WORLD_SIZE=f"{size}", LOCAL_WORLD_SIZE=f"{size}")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")  # asked for, though the file below is used
        import torch.distributed as dist

        dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=size)
        returned = do(Group(), *given)
        (folder / f"returned-{rank}.json").write_text(json.dumps(returned))
        dist.barrier()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
