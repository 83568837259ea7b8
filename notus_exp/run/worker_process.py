"""A worker's process: makes a list of artifacts from a job file, `python -m notus_exp.run.worker_process JOB.json`.

It ends when its parent does (end of file on standard input), takes the same locks as every other process, and reports
through event files. Its own output goes to a log; an expected error goes to error.json beside the job.

Of several processes of one launch, process 0 conducts: it goes through the nodes as one process alone does, and where
all of them make an artifact it tells the others, which write nothing (`Conductor`, `follow`).
"""

from __future__ import annotations

import gc
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from notus_exp.config.hardware_settings import Device, Launch
from notus_exp.config.schema import Stage
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.events import NoEvents
from notus_exp.disk.files import SERVER_LOG, WORKER_BEATS, WORKER_ERROR, WORKER_LOST, WORKER_RESULT
from notus_exp.disk.full import DISK_HINT, disk_problem
from notus_exp.disk.json_files import write_json
from notus_exp.errors import UserError, named_line, whole_traceback
from notus_exp.machine.out_of_memory import is_out_of_memory
from notus_exp.machine.processes import forget_launch, launched_rank, launched_team, lost_others
from notus_exp.machine.servers import Servers
from notus_exp.machine.team import Alone, Team
from notus_exp.run.execution import Job, context_of, execute, in_order, inputs_of, is_shared, run_stage
from notus_exp.run.heartbeat import Heartbeat
from notus_exp.run.nodes import Node
from notus_exp.run.worker import DISK, MEMORY
from notus_exp.stages.context import Context
from notus_exp.stages.settings import ReferenceSettings, from_json

FILL, NODE, OUT = "fill", "node", "out"
"""Keys of what process 0 tells the others: names of reference nodes, or a node and its folder; nothing at the end."""


def main(arguments: list[str]) -> int:
    """Run a job; return 0, 2 after an expected error, 4 for the disk, 5 where memory ran out, or 1 after any other."""
    path = Path(arguments[0])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    places = [path.parent]
    team: Team = Alone()
    try:
        job = Job.read(path)
        places = job.places()
        if job.hardware.device is Device.cpu:
            os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed takes a CUDA device where it sees one
        if job.hardware.launch is Launch.plain:
            forget_launch()
        heart = Heartbeat(path.with_name(WORKER_BEATS), launched_rank(), job.hardware.watchdog)
        team = launched_team()
        if team.size != job.hardware.processes:
            raise UserError(
                f"hardware.processes={job.hardware.processes}, but {team.size} processes were launched",
                "start the run through the launch command that its plan shows",
            )
        if team.rank == 0:
            conduct(job, path, Conductor(team, heart))
        else:
            follow(job, team, heart)
    except UserError as error:
        return _tell(path, error.message, error.hint, 2)
    except BaseException as error:
        if problem := disk_problem(error, *places):
            return _tell(path, problem, DISK_HINT, DISK)
        print(whole_traceback(error), file=sys.stderr)
        if is_out_of_memory(error):
            return _tell(path, named_line(error), "", MEMORY)
        lost = team.size > 1 and lost_others(error)
        return _tell(path, named_line(error), "", 1, WORKER_LOST if lost else WORKER_ERROR)
    return 0


class Conductor:
    """Process 0 of a worker, of which it may be the only one.

    Args:
        team: All processes.
        heart: Tells when this one has to move.
    """

    def __init__(self, team: Team, heart: Heartbeat) -> None:
        self._team, self._heart = team, heart

    def around(self, node: Node, out: Path, context: Context) -> AbstractContextManager[None]:
        """Return within what a node's stage runs: where all processes make it, they begin with it too."""
        return self._leading({NODE: node.name, OUT: str(out)}, context) if is_shared(node) else nullcontext()

    def filling(self, names: list[str], context: Context) -> AbstractContextManager[None]:
        """Return within what the union of what reference nodes miss is computed, by all processes."""
        return self._leading({FILL: names}, context)

    @contextmanager
    def _leading(self, told: dict[str, str | list[str]], context: Context) -> Iterator[None]:
        context.team = self._team
        with self._heart.must_move():
            self._team.broadcast(lambda: told)
            yield
        _give_back()

    def end(self) -> None:
        """Let the others end."""
        self._team.broadcast(dict)


def conduct(job: Job, path: Path, conductor: Conductor) -> None:
    """Make a job's artifacts; what was made is beside the job file after each.

    Base models come first: what the reference nodes miss is computed for all of them before the first is made.
    """
    made: dict[str, bool] = {}
    prepare = fill_once(job, conductor.filling)
    with Servers(path.with_name(SERVER_LOG)) as servers:
        for node in in_order(job.nodes):
            filling = prepare if node.stage is Stage.reference else None
            _, made[node.name] = execute(node, job, filling, conductor.around, servers)
            write_json(path.with_name(WORKER_RESULT), made)
    conductor.end()


def follow(job: Job, team: Team, heart: Heartbeat) -> None:
    """Take part in what process 0 makes, until it has made all."""
    nodes = {node.name: node for node in job.nodes}
    while told := team.broadcast(dict[str, object]):
        name = str(told.get(NODE, ""))
        context = context_of(job, NoEvents(name))
        context.team = team
        if FILL in told:
            _fill([nodes[name] for name in told[FILL]], job, context)  # type: ignore[attr-defined]
        else:
            run_stage(nodes[name], job, Path(str(told[OUT])), context)
        _give_back()


def _give_back() -> None:
    """Let others have the device's memory that a stage no longer needs: a judge, or a server on the same device."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def _tell(path: Path, message: str, hint: str, code: int, name: str = WORKER_ERROR) -> int:
    """Leave an error beside the job and return the exit code; where the disk takes nothing the code alone says it.

    Of several processes that fail the first one's error stays: the others may have failed for that.
    """
    place = path.with_name(name)
    try:
        os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        write_json(place, {"message": message, "hint": hint, "code": code})
    except FileExistsError:
        print(message, file=sys.stderr)
    except OSError as error:
        print(f"{message}; and it cannot be written down: {error}", file=sys.stderr)
        return DISK
    return code


def fill_once(
    job: Job, around: Callable[[list[str], Context], AbstractContextManager[None]] = lambda *_: nullcontext()
) -> Callable[[Context], None]:
    """Return what prepares each reference node: before the first, the union of what all of them miss is computed.

    So the batches, which move a log-prob's last bits, do not depend on the order of the nodes, and the base model is
    loaded once. A job with a single node to make leaves the computing to it.

    Args:
        job: What is to be made.
        around: Given the names of the nodes and the context; the computing runs within what it returns.
    """
    waiting = [node for node in job.nodes if node.stage is Stage.reference]
    filled: dict[str, int] = {}
    store = ArtifactStore(job.artifacts)

    def prepare(context: Context) -> None:
        missing = {node.key: node for node in waiting if store.find(node.wanted) is None}
        waiting.clear()
        if len(missing) > 1:
            with around([node.name for node in missing.values()], context):
                filled.update(_fill([*missing.values()], job, context))
        context.filled = filled

    return prepare


def _fill(nodes: list[Node], job: Job, context: Context) -> dict[str, int]:
    from notus_exp.models.reference import fill  # imports torch: only where it is needed

    store = ArtifactStore(job.artifacts)
    settings = [from_json(ReferenceSettings, node.settings) for node in nodes]
    return fill([*zip(settings, [inputs_of(node, store) for node in nodes], strict=True)], context)


def _leave_group(code: int) -> None:
    """Leave the processes of this launch; after an error at once, since an orderly end may wait for the others."""
    torch = sys.modules.get("torch.distributed")
    if torch is None or not torch.is_initialized():
        return
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    torch.destroy_process_group()


def _end_with_parent() -> None:
    """Wait for the end of standard input, which comes when the parent dies in any way, and leave at once.

    It is no pipe where somebody starts the launch command by hand, as on the other machines of a rendezvous.
    """
    kind = os.fstat(sys.stdin.fileno()).st_mode
    if not stat.S_ISFIFO(kind) and not stat.S_ISSOCK(kind):
        return
    os.read(sys.stdin.fileno(), 1)  # not through sys.stdin, whose lock would break the interpreter's own exit
    os._exit(3)


if __name__ == "__main__":
    sys.modules["wandb"] = None  # type: ignore[assignment]  # the parent owns the tracker, and TRL would import it
    code = main(sys.argv[1:])
    _leave_group(code)
    sys.exit(code)
