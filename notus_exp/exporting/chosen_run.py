"""Which run is handed over: the one that is named, or of a study that of an arm, which nobody guesses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from notus_exp.browsing.finding import find_run
from notus_exp.contracts.comparison_file import HIGHER, LOWER, ComparisonFile, ContrastRow, family_of
from notus_exp.disk.files import RUN_JSON
from notus_exp.disk.outputs import STUDY_JSON
from notus_exp.errors import UserError, did_you_mean
from notus_exp.evaluation.kit.description import MAXIMIZE, MINIMIZE
from notus_exp.evaluation.metrics import metric_of
from notus_exp.frames.run_data import RunData
from notus_exp.frames.study_data import StudyData, load_study


class ChosenRun(NamedTuple):
    """The run that is handed over.

    Attributes:
        run: The run.
        study: The study that it was found by, else None.
        arm: Its arm there, else None.
        seed: Its seed there, else None.
        why: In words why it is this one.
    """

    run: RunData
    study: StudyData | None = None
    arm: str | None = None
    seed: int | None = None
    why: str = "named by its id or folder"


def chosen_run(text: str, outputs: Path, arm: str | None = None, seed: int | None = None) -> ChosenRun:
    """Return the run that is asked for.

    Args:
        text: A run's folder, its id or a part of it that no other has; or a study's folder or name.
        outputs: Folder that holds `runs/` and `studies/`.
        arm: Of a study; None takes the arm that its verdict calls the best one.
        seed: Of the arm; None takes the lowest one whose run is finished.

    Raises:
        UserError: No run or study is named so, an arm or seed is given for a run, or the study does not say which arm
            is meant; the arms that there are are named then.
    """
    study = _study(text, outputs)
    if study is None:
        if arm is not None or seed is not None:
            given = "--arm" if arm is not None else "--seed"
            raise UserError(f"{given} goes with a study, and '{text}' is not one", "leave it out: a run is one run")
        return ChosenRun(find_run(text, outputs))
    if "search" in study.record:
        raise UserError(
            f"'{study.name}' is a search: its trials are runs of its validation prompts",
            "test its best trial with the command that its report shows, and export what that made",
        )
    if arm is None:
        arm, why = _best_arm(study)
    else:
        why = "named by --arm"
    seed = _seed(study, arm) if seed is None else seed
    return ChosenRun(study.run(arm, seed), study, arm, seed, why)


def _study(text: str, outputs: Path) -> StudyData | None:
    """Return the study that a text names; None where a run is named so, or nothing."""
    if (Path(text) / RUN_JSON).is_file() or (outputs / "runs" / text / RUN_JSON).is_file():
        return None
    places = (Path(text), outputs / "studies" / text.rstrip("/"))
    found = next((place for place in places if text and (place / STUDY_JSON).is_file()), None)
    return load_study(found) if found else None


def _best_arm(study: StudyData) -> tuple[str, str]:
    """Return the arm that a study's verdict calls the best one, and why, in words.

    It is the only arm that is better than the baseline by the family's corrected test; or the baseline, where every
    other arm is worse.

    Raises:
        UserError: There is none, or the comparison is not there or of before.
    """
    arms = list(study.record["arms"])
    if len(arms) == 1:
        return arms[0], "the study's only arm"
    comparison = study.comparison
    family, better, worse = _sides(comparison)
    metric, baseline = comparison["study"]["metric"], comparison["study"]["baseline"]
    if len(better) == 1:
        return better[0]["arm"], f"alone better than the baseline '{baseline}' in {metric}"
    if baseline is not None and family and len(worse) == len(family):
        return baseline, f"the baseline, and every other arm is worse in {metric}"
    if better:
        named = ", ".join(row["arm"] for row in better)
        why = f"{named} are better than the baseline '{baseline}' in {metric}, and not compared with each other"
    else:
        why = f"no arm is shown to be better than the baseline '{baseline}' in {metric}"
    raise UserError(f"study '{study.name}' calls no arm the best one: {why}", f"give --arm: {_listed(arms)}")


def _sides(comparison: ComparisonFile) -> tuple[list[ContrastRow], list[ContrastRow], list[ContrastRow]]:
    """Return the family of the primary metric, and which of it are better and worse than the baseline."""
    family = list(family_of(comparison))
    direction = metric_of(comparison["study"]["metric"]).direction
    good, bad = {MAXIMIZE: (HIGHER, LOWER), MINIMIZE: (LOWER, HIGHER)}.get(direction or "", (None, None))
    better = [row for row in family if row["verdict"] == good]
    worse = [row for row in family if row["verdict"] == bad]
    return family, better, worse


def _seed(study: StudyData, arm: str) -> int:
    """Return the lowest seed of which an arm's run is finished.

    Raises:
        UserError: The study has no such arm, or none of its runs is finished.
    """
    arms = study.record["arms"]
    if arm not in arms:
        raise UserError(
            f"study '{study.name}' has no arm '{arm}'", did_you_mean(arm, arms) or f"it has {_listed(list(arms))}"
        )
    seeds = sorted(map(int, arms[arm]["runs"]))
    finished = next((seed for seed in seeds if study.run(arm, seed).status == "finished"), None)
    if finished is None:
        raise UserError(
            f"no run of arm '{arm}' of study '{study.name}' is finished", "give the study's command again, or --seed N"
        )
    return finished


def _listed(arms: Sequence[str], most: int = 20) -> str:
    return ", ".join(arms[:most]) + (f" and {len(arms) - most} more" if len(arms) > most else "")
