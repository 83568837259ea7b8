"""A search of real runs with a model that is as small as can be: starting it as a user would, and waiting for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import notus_exp

CHECKOUT = Path(notus_exp.__file__).parents[1]
TINY = [
    *("experiment=smoke", "data.prompts=120", "filters.max_pairs=16", "dpo.max_validation_pairs=4"),
    *("evaluation=[preferences]", "evaluation.preferences.max_prompts=4", "dpo.max_length=256"),
    "dpo.max_prompt_length=192",
]
STUDY = """# @package _global_
dpo:
  evaluations: {evaluations}
study:
  name: tiny
  seeds: [0]
  search:
    parameters:
      dpo.beta: {{low: 0.01, high: 1.0, log: true}}
    objectives: {{preferences/accuracy/average: maximize}}
    sampler: random
    pruner: {pruner}
    trials: {trials}
    lease: {lease}
"""
TIMEOUT = 300
_ELSEWHERE = (
    "import sys; from notus_exp.study.search import lease; lease._host = lambda: {machine!r};"
    " from notus_exp.__main__ import command; command()"
)


def start(root: Path, *overrides: str, machine: str | None = None, **study: Any) -> subprocess.Popen[str]:
    """Start the search `tiny` in a folder.

    Args:
        root: The working folder.
        overrides: Further ones.
        machine: What leases say of the machine; None: the truth.
        study: What the study's file says.
    """
    own = root / "own" / "study"
    own.mkdir(parents=True, exist_ok=True)
    (own / "tiny.yaml").write_text(
        STUDY.format(**{"evaluations": 2, "pruner": "none", "trials": 1, "lease": 600, **study})
    )
    called = ["-m", "notus_exp"] if machine is None else ["-c", _ELSEWHERE.format(machine=machine)]
    command = [sys.executable, *called, "--config-dir", str(root / "own"), "study=tiny", *TINY, *overrides]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.Popen(
        command, cwd=root, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a search, and return what it said."""
    said = process.communicate(timeout=TIMEOUT)[1]
    assert process.returncode == 0, said
    return said


def wait_for(what: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """Wait until a search has come as far."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if found := what():
            return found
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"did not come: {process.communicate()[1]}")
