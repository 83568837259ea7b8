"""What the measurements of accept.sh share: running a command as a row of a table, and reading what a run wrote."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
GB = 1e9
ONCE = ["dpo.max_validation_pairs=4", "dpo.evaluations=1", "dpo.checkpoints=1"]
"""Overrides of a training that is measured: looked at, and saved, at its end alone."""
SHORT = ["filters.max_pairs=16", "dpo.global_batch_size=16", "dpo.epochs=1", *ONCE]
"""Of one that is only there to be followed by something else."""


class Options(NamedTuple):
    """How a measurement is made.

    Attributes:
        folder: Where it writes.
        rehearse: Tiny, on the CPU.
    """

    folder: Path
    rehearse: bool

    @property
    def hardware(self) -> str:
        """The profile."""
        return "cpu" if self.rehearse else "gpu"

    def pick(self, tiny: Any, whole: Any) -> Any:
        """Return the size of a rehearsal, or that of a measurement."""
        return tiny if self.rehearse else whole


class Done(NamedTuple):
    """A command's end: seconds, and why it failed, or ""."""

    seconds: float
    failure: str


def options() -> Options:
    """Read the command line that accept.sh gives every measurement."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    return Options(given.folder.absolute(), given.rehearse)


def environment() -> dict[str, str]:
    """Return the environment of a measured process: this checkout first."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def run(command: Sequence[str], log: Path, seconds: float) -> Done:
    """Run a Python command to its end, or end it and all of its group when its time is over.

    Args:
        command: What follows `python`.
        log: What it writes goes there.
        seconds: Its time.
    """
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Done(time.monotonic() - start, f"not done within {seconds:g} s")
    return Done(time.monotonic() - start, "" if code == 0 else reason(log) or f"ended with code {code}")


def reason(log: Path) -> str:
    """Return the line of a log that best says why it failed: the framework's own, else the last."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error:")]
    return (told or lines or [""])[-1][:300].replace("|", "/")


def framework(name: str, overrides: Sequence[str], given: Options, seconds: float, outputs: str = "outputs") -> Done:
    """Run the framework, with an output folder that most runs share; its log is called by the name."""
    command = ["-m", "notus_exp", *overrides, "tracking=none", f"hardware={given.hardware}"]
    return run([*command, f"output_dir={given.folder / outputs}"], given.folder / f"{name}.log", seconds)


def plan(name: str, overrides: Sequence[str], given: Options, outputs: str) -> str:
    """Return what `until=config` says of the memory that a run needs, or ""."""
    log = f"{name}-plan"
    framework(log, [*(one for one in overrides if not one.startswith("until=")), "until=config"], given, 600, outputs)
    lines = (given.folder / f"{log}.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in lines if "GB" in line and "needs" in line), "")


def artifact(name: str, stage: str, given: Options) -> tuple[Path, dict[str, Any]]:
    """Return folder and manifest of a stage's artifact, of the run whose log has this name.

    The run's folder is the last line that the framework prints.
    """
    lines = (given.folder / f"{name}.log").read_text(encoding="utf-8").splitlines()
    folder = next(Path(line.strip()) for line in reversed(lines) if "/runs/" in line and Path(line.strip()).is_dir())
    path = Path(json.loads((folder / "run.json").read_text(encoding="utf-8"))["stages"][stage]["path"])
    return path, json.loads((path / "manifest.json").read_text(encoding="utf-8"))


def steps(policy: Path) -> list[dict[str, float]]:
    """Return of each optimiser step of a training its loss and its seconds, from the event before it to its own.

    The first has no seconds: what comes before it is loading.
    """
    found, before = [], None
    for line in (policy / "events.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if "train/loss" in event["metrics"]:
            took = event["time"] - before if before is not None else float("nan")
            found.append({"loss": event["metrics"]["train/loss"], "seconds": took})
        before = event["time"]
    return found


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for a table: so many significant digits, a dash where there is none."""
    if value is None or value != value:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def write(given: Options, name: str, title: str, columns: list[str], rows: list[list[str]], words: list[str]) -> None:
    """Leave a measurement's table for report.py."""
    content = {"title": title, "columns": columns, "rows": rows, "words": words}
    (given.folder / f"{name}.json").write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
