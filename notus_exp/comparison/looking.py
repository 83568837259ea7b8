"""Looks afterwards, once the study has gone on: which of them are of before, and the command that makes one anew."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from notus_exp.contracts.comparison_file import LOOKS, ComparisonFile, read_comparison
from notus_exp.contracts.format import DamagedFileError
from notus_exp.disk.outputs import COMPARISON_JSON
from notus_exp.errors import UserError


def old_looks(folder: Path, finished: Mapping[str, Collection[int]]) -> Iterator[str]:
    """Say of each look afterwards that lacks an arm or a seed, or has one more, what makes it anew.

    Args:
        folder: outputs/studies/<name>.
        finished: Arm -> seeds of its finished runs.
    """
    for path in sorted((folder / LOOKS).glob(f"*/{COMPARISON_JSON}")):
        try:
            found = read_comparison(path)
        except (UserError, DamagedFileError, OSError):
            continue
        if why := moved_on(found, finished):
            yield f"{LOOKS}/{path.parent.name} {why}: `{command_of(folder, found, path.parent.name)}` makes it anew"


def moved_on(comparison: ComparisonFile, finished: Mapping[str, Collection[int]]) -> str:
    """Return in which arm a comparison is not of the runs that are finished now; "" where it is of all of them.

    Args:
        comparison: Its content.
        finished: Arm -> seeds of its finished runs.
    """
    counted = {row["arm"]: sorted(row["seeds"]) for row in comparison["arms"]}
    for arm in dict.fromkeys([*counted, *finished]):
        before, now = counted.get(arm, []), sorted(finished.get(arm, []))
        if before != now:
            return f"counts the seeds {before} of arm '{arm}', of which {now} are finished now"
    return ""


def command_of(folder: Path, comparison: ComparisonFile, name: str) -> str:
    """Return the command that makes a look afterwards: with what was chosen for it, and its name."""
    study = comparison["study"]
    values = {"baseline": study["baseline"], "metric": study["metric"], "margin": study["margin"]}
    chosen = [word for key in study["chosen_afterwards"] for word in (f"--{key}", str(values[key]))]
    return shlex.join(["python", "-m", "notus_exp.compare", str(folder), *chosen, "--name", name])
