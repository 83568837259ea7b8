"""The comparison of a search, which has no arms: what its trials found must be confirmed by a study of its own."""

from __future__ import annotations

from pathlib import Path

from notus_exp.comparison.compatibility import TEST
from notus_exp.config.searched_metrics import tested_metric
from notus_exp.contracts.comparison_file import FORMAT, ComparisonFile
from notus_exp.contracts.study_file import SearchSummary, StudyFile
from notus_exp.disk.outputs import read_run
from notus_exp.study.search.summary import summary

_SAID = (
    "This study is a search: its trials were picked by the values shown, so the best of them looks better than it"
    " is. Compare it with a baseline as an arm of a study of its own, with new seeds, on test prompts."
)
_ON_TEST = "trials were measured on test prompts: no unseen prompts are left to confirm the best of them on"


def search_comparison(folder: Path, study: StudyFile) -> ComparisonFile:
    """Return comparison.json of a search.

    Args:
        folder: outputs/studies/<name>.
        study: Its study.json.

    Raises:
        UserError: The search's storage cannot be reached.
    """
    found = summary(folder)
    splits = _splits(folder, found)
    return {
        "format": FORMAT,
        "study": {
            "name": study["name"],
            "kind": "search",
            "metric": tested_metric(found["objectives"], study["metric"]),
            "baseline": None,
            "margin": None,
            "seeds": study["seeds"],
            "evaluation_split": splits[0] if len(splits) == 1 else None,
            "chosen_afterwards": [],
        },
        "protocol": {"feedback": None, "evaluations": {}, "judge": None},
        "arms": [],
        "base": {"metrics": {}},
        "contrasts": [],
        "effects": [],
        "bradley_terry": None,
        "trained_by_evaluated": None,
        "search": found,
        "verdict": " ".join([*found["said"], _SAID]),
        "warnings": [*([_ON_TEST] if TEST in splits else []), *_elsewhere(found)],
    }


def _elsewhere(found: SearchSummary) -> list[str]:
    """Say which trials' runs another machine has: only what the storage keeps of them is known here."""
    numbers = [trial["number"] for trial in found["trials"] if trial.get("elsewhere")]
    if not numbers:
        return []
    which = f"trial {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} of {len(found['trials'])} trials"
    return [
        f"another machine has the runs of {which}: their values are from the storage, and their folders are not here;"
        " to look into them, copy its outputs/runs and outputs/artifacts into these and compare again"
    ]


def searched_splits(folder: Path) -> list[str]:
    """Return whose prompts the runs of a search were measured on: test, validation, both or none."""
    return _splits(folder, summary(folder))


def _splits(folder: Path, found: SearchSummary) -> list[str]:
    ids = {run for trial in found["trials"] for run in trial["runs"].values()}
    runs = [read_run(folder, run) for run in sorted(ids)]
    return sorted({run["config"].get("evaluation_split", TEST) for run in runs if "config" in run})
