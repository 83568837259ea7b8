"""What the scripts that hurt a folder share: running the command in a copy, and calling what came of it by its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
SAME, ERROR, SILENT, TRACEBACK = "same result", "one clear error", "SILENT", "TRACEBACK"


class Ended(NamedTuple):
    """How a command ended: exit code and what it wrote on standard error."""

    code: int
    said: str


def run(folder: Path, arguments: Sequence[str], seconds: float = 900.0) -> Ended:
    """Run `python -m notus_exp` in a folder to its end."""
    command = [sys.executable, "-m", "notus_exp", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, errors="replace", timeout=seconds
    )
    return Ended(done.returncode, done.stderr)


def verdict(ended: Ended, found: Sequence[str]) -> str:
    """Name an outcome.

    Args:
        ended: How the command ended.
        found: In what its result is not that of an undisturbed folder.
    """
    if "Traceback" in ended.said:
        return TRACEBACK
    if ended.code == 0:
        return SILENT if found else SAME
    return ERROR if ended.said.count("error:") >= 1 else TRACEBACK


class Journal:
    """The trials that were done, one JSON object a line, so that a script which is stopped goes on.

    Args:
        path: The file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, dict[str, Any]] = {}
        if path.exists():
            self.done = {one["trial"]: one for one in map(json.loads, path.read_text().splitlines())}

    def missing(self, trials: Sequence[str]) -> Iterator[str]:
        """Yield the trials that were not done."""
        for trial in trials:
            if trial not in self.done:
                yield trial

    def note(self, trial: str, **outcome: Any) -> None:
        """Write one down at once."""
        self.done[trial] = {"trial": trial, **outcome}
        with self.path.open("a") as stream:
            stream.write(json.dumps(self.done[trial]) + "\n")
