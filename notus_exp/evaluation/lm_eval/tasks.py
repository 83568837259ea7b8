"""Tasks of lm-evaluation-harness: which there are, and that those of one's own name no code."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from notus_exp.errors import UserError, did_you_mean
from notus_exp.evaluation.lm_eval.own_tasks import check_task_files

NOT_INSTALLED = (
    "evaluation=lm_eval needs lm-evaluation-harness, which is not installed",
    "pip install 'notus-exp[lm_eval]'",
)
UNKNOWN = 2
"""Exit code of the process that looks tasks up, where one of them is no task."""


def check_tasks(tasks: list[str], own: list[str]) -> None:
    """Check that there are such tasks, in a process of its own: the harness imports torch.

    Args:
        tasks: Their names, or patterns of names.
        own: The folder of one's own task files, or nothing.

    Raises:
        UserError: The harness is not installed, or as `task_manager`.
    """
    for folder in own:
        check_task_files(Path(folder))
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError(*NOT_INSTALLED)
    command = [sys.executable, "-m", "notus_exp.evaluation.lm_eval.tasks"]
    done = subprocess.run(command, input=json.dumps([tasks, own]), capture_output=True, text=True, check=False)
    if done.returncode == UNKNOWN:
        raise UserError(*json.loads(done.stdout.splitlines()[-1]))
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise UserError(f"evaluation=lm_eval: its tasks cannot be listed: {last}", "check the harness's installation")


def task_manager(tasks: list[str], own: list[str]) -> Any:
    """Return the harness's list of tasks, with those of one's own folder.

    Raises:
        UserError: A task is unknown, or a file of one's own names code or cannot be read.
    """
    for folder in own:
        check_task_files(Path(folder))
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=own[0] if own else None)
    for task in tasks:
        if not manager.match_tasks([task]):
            raise UserError(f"evaluation.lm_eval.tasks: '{task}' is no task", did_you_mean(task, manager.all_tasks))
    return manager


def main() -> int:
    """Look up the tasks named on standard input; say on standard output what is wrong."""
    try:
        task_manager(*json.load(sys.stdin))
    except UserError as error:
        print(json.dumps([error.message, error.hint]))
        return UNKNOWN
    return 0


if __name__ == "__main__":
    sys.exit(main())
