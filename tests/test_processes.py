"""Each command as a process of its own: help is shown, and no end is without a word, or with a library's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

DOORS = ["artifacts", "compare", "power", "runs", "score", "track"]


def run(arguments: Sequence[str], folder: Path, out: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python; `out` is what a shell writes behind the command, such as `>/dev/full`."""
    shell = ["sh", "-c", f'exec "$@" {out}', "sh"] if out else []
    command = [*shell, sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60)


@pytest.mark.parametrize("door", ["", *(f".{name}" for name in DOORS)])
def test_help_is_shown_and_a_full_disk_is_said(door: str, tmp_path: Path) -> None:
    done = run(["-m", f"notus_exp{door}", "--help"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) > 5
    full = run(["-m", f"notus_exp{door}", "--help"], tmp_path, ">/dev/full")
    assert full.returncode == 2
    assert full.stderr == "error: standard output takes nothing: No space left on device\n"


def test_help_names_every_command(tmp_path: Path) -> None:
    help_ = run(["-m", "notus_exp", "--help"], tmp_path).stdout
    assert [door for door in DOORS if f"notus_exp.{door}" not in help_] == []


@pytest.mark.parametrize(
    ("does", "code", "said"),
    [
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("raise_(KeyboardInterrupt())", 130, "error: interrupted"),
        ("raise_(BrokenPipeError())", 0, ""),
        ("print('of a library') or 3", 3, ""),
    ],
)
def test_a_process_ends_with_its_code_and_our_word(does: str, code: int, said: str, tmp_path: Path) -> None:
    program = f"""
from notus_exp.reporting.commands import as_process
def raise_(error): raise error
as_process(lambda: {does})
"""
    done = run(["-c", program], tmp_path)
    assert done.returncode == code
    assert (done.stderr.splitlines() or [""])[-1] == said
    assert done.stdout == ""


def test_a_command_runs_where_standard_output_is_closed(tmp_path: Path) -> None:
    done = run(["-m", "notus_exp.runs", "list", "."], tmp_path, ">&-")
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2)
