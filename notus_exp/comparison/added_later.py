"""What a reader must know of a study's plan: what was named, or added, when there were results to look at."""

from __future__ import annotations

from notus_exp.contracts.study_file import AddedLater, StudyFile


def after_results(study: StudyFile) -> list[str]:
    """Return a sentence on each part of a study that came when runs had results; none where that is not recorded."""
    plan = study.get("plan")
    if plan is None:
        return []
    found = []
    if plan["results"]:
        found.append(
            f"Metric, baseline and margin were named on {plan['named']}, when {_had_results(plan['results'])}: they are"
            " planned only for who had not seen those"
        )
    for added in plan["added"]:
        if what := _still_there(study, added):
            found.append(
                f"Added on {added['date']}, when {_had_results(added['results'])}: {what}; p-values and intervals"
                " do not know of that choice"
            )
    return found


def _had_results(runs: int) -> str:
    return "1 run had results" if runs == 1 else f"{runs} runs had results"


def _still_there(study: StudyFile, added: AddedLater) -> str:
    seeds = [str(seed) for seed in added["seeds"] if seed in study["seeds"]]
    arms = [f"'{arm}'" for arm in added["arms"] if arm in study["arms"]]
    said = [f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"] if seeds else []
    said += [f"arm{'s' * (len(arms) > 1)} {', '.join(arms)}"] if arms else []
    return " and ".join(said)
