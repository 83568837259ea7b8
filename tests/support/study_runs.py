"""Real studies with a model that is as small as can be: starting them, and reading what they left."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import warm
from support.warm import ENVIRONMENT

SMALL = [
    "experiment=smoke",
    "hardware=cpu",
    "calibrate=never",
    "data.prompts=200",
    "filters.max_pairs=8",
    "evaluation=[preferences]",
]
ARMS = ["selection=critique,average", "study.name=mine"]


def command(*arguments: str, cold: bool = False) -> list[str]:
    """Return the command of a study; its workers are warm unless they are to be started as a user's are."""
    given = {argument.partition("=")[0] for argument in arguments}
    small = [setting for setting in SMALL if setting.partition("=")[0] not in given]
    given_all = ["-m", *small, *arguments]
    return [sys.executable, "-m", "notus_exp", *given_all] if cold else warm.command(*given_all)


def start(folder: Path, *arguments: str, cold: bool = False, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments, cold=cold),
        cwd=folder,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, timeout=500, env={**ENVIRONMENT, **environment}
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def runs(folder: Path) -> dict[str, dict[str, Any]]:
    """Run id -> content of run.json, of all runs below a working folder."""
    return {path.parent.name: read(path) for path in sorted(folder.glob("outputs/runs/*/run.json"))}


def run_of(folder: Path, study: str, arm: str, seed: int) -> dict[str, Any]:
    run_id = read(folder / "outputs/studies" / study / "study.json")["arms"][arm]["runs"][str(seed)]
    return read(folder / "outputs/runs" / run_id / "run.json")


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def alive(word: str) -> bool:
    """Say whether a process with this word in its command line is running."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in path.read_bytes().decode(errors="replace"):
                return True
        except OSError:
            continue
    return False
