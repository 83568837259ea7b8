"""Whole runs of the command in processes of their own, and what they leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from support import warm
from support.warm import ENVIRONMENT


def command(*arguments: str, cold: bool = False) -> list[str]:
    """Return the command of a run; its worker is warm unless it is to be started as a user's is."""
    return [sys.executable, "-m", "notus_exp", *arguments] if cold else warm.command(*arguments)


def run(
    folder: Path, *arguments: str, code: int = 0, cold: bool = False, seconds: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*arguments, cold=cold),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**ENVIRONMENT, **environment},
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done


def record(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    folder = Path(done.stdout.splitlines()[-1])
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return content


def place(content: dict[str, Any], stage: str) -> Path:
    return Path(content["stages"][stage]["path"])
