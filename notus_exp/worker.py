"""The worker process: makes a list of artifacts from a job file, `python -m notus_exp.worker JOB.json`.

It ends when its parent does (end of file on standard input), takes the same locks as every other process, and reports
through event files. Its own output goes to a log; an expected error goes to error.json beside the job.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from pathlib import Path

from notus_exp.artifacts import write_json
from notus_exp.errors import UserError
from notus_exp.execution import Job, execute
from notus_exp.files import WORKER_ERROR, WORKER_RESULT


def main(arguments: list[str]) -> int:
    """Run a job; return 0, 2 after an expected error, or 1 after any other."""
    path = Path(arguments[0])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = Job.read(path)
    made: dict[str, bool] = {}
    try:
        for node in job.nodes:
            _, made[node.name] = execute(node, job)
            write_json(path.with_name(WORKER_RESULT), made)
    except UserError as error:
        write_json(path.with_name(WORKER_ERROR), {"message": error.message, "hint": error.hint})
        return 2
    except BaseException as error:
        traceback.print_exc()
        first = (str(error).splitlines() or [""])[0]
        write_json(path.with_name(WORKER_ERROR), {"message": f"{type(error).__name__}: {first}", "hint": ""})
        return 1
    return 0


def _end_with_parent() -> None:
    """Wait for the end of standard input, which comes when the parent dies in any way, and leave at once."""
    os.read(sys.stdin.fileno(), 1)  # not through sys.stdin, whose lock would break the interpreter's own exit
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
