"""The worker process: makes a list of artifacts from a job file, `python -m notus_exp.run.worker_process JOB.json`.

It ends when its parent does (end of file on standard input), takes the same locks as every other process, and reports
through event files. Its own output goes to a log; an expected error goes to error.json beside the job.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from notus_exp.config.schema import Stage
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import SERVER_LOG, WORKER_ERROR, WORKER_RESULT
from notus_exp.disk.full import DISK_HINT, disk_problem
from notus_exp.disk.json_files import write_json
from notus_exp.errors import UserError, named_line, whole_traceback
from notus_exp.machine.servers import Servers
from notus_exp.run.execution import Job, execute
from notus_exp.run.nodes import Node
from notus_exp.run.worker import DISK
from notus_exp.stages.context import Context
from notus_exp.stages.settings import ReferenceSettings, from_json


def main(arguments: list[str]) -> int:
    """Run a job; return 0, 2 after an expected error, 4 where the disk is the reason, or 1 after any other."""
    path = Path(arguments[0])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    made: dict[str, bool] = {}
    places = [path.parent]
    try:
        job = Job.read(path)
        places = job.places()
        prepare = fill_once(job)
        # Base models first: what the reference nodes miss is computed for all of them before the first is made.
        with Servers(path.with_name(SERVER_LOG)) as servers:
            for node in sorted(job.nodes, key=lambda node: node.stage is not Stage.base_model):
                _, made[node.name] = execute(node, job, prepare if node.stage is Stage.reference else None, servers)
                write_json(path.with_name(WORKER_RESULT), made)
    except UserError as error:
        return _tell(path, error.message, error.hint, 2)
    except BaseException as error:
        if problem := disk_problem(error, *places):
            return _tell(path, problem, DISK_HINT, DISK)
        print(whole_traceback(error), file=sys.stderr)
        return _tell(path, named_line(error), "", 1)
    return 0


def _tell(path: Path, message: str, hint: str, code: int) -> int:
    """Leave an error beside the job and return the exit code; where the disk takes nothing the code alone says it."""
    try:
        write_json(path.with_name(WORKER_ERROR), {"message": message, "hint": hint})
    except OSError as error:
        print(f"{message}; and it cannot be written down: {error}", file=sys.stderr)
        return DISK
    return code


def fill_once(job: Job) -> Callable[[Context], None]:
    """Return what prepares each reference node: before the first, the union of what all of them miss is computed.

    So the batches, which move a log-prob's last bits, do not depend on the order of the nodes, and the base model is
    loaded once. A job with a single node to make leaves the computing to it.
    """
    waiting = [node for node in job.nodes if node.stage is Stage.reference]
    filled: dict[str, int] = {}
    store = ArtifactStore(job.artifacts)

    def prepare(context: Context) -> None:
        missing = {node.key: node for node in waiting if store.find(node.wanted) is None}
        waiting.clear()
        if len(missing) > 1:
            from notus_exp.models.reference import fill  # imports torch: only where it is needed

            filled.update(fill([_request(node, store) for node in missing.values()], context))
        context.filled = filled

    return prepare


def _request(node: Node, store: ArtifactStore) -> tuple[ReferenceSettings, dict[str, Path]]:
    inputs = {use: store.path(node.uses[use], key) for use, key in node.inputs.items()}
    return from_json(ReferenceSettings, node.settings), inputs


def _end_with_parent() -> None:
    """Wait for the end of standard input, which comes when the parent dies in any way, and leave at once."""
    os.read(sys.stdin.fileno(), 1)  # not through sys.stdin, whose lock would break the interpreter's own exit
    os._exit(3)


if __name__ == "__main__":
    sys.modules["wandb"] = None  # type: ignore[assignment]  # the parent owns the tracker, and TRL would import it
    sys.exit(main(sys.argv[1:]))
