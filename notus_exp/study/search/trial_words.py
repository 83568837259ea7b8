"""What terminal, page and W&B say of a search's trials in the same words. It imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from notus_exp.contracts.study_file import SearchSummary, TrialRecord

BEST, TIES = "best", "ties for best"
"""Remark on a trial that is the best, or one of several with the best value."""


def remark_of(found: SearchSummary, number: int) -> str:
    """Return what is said of a trial among all: whether it is the best, or ties with others for that."""
    best = found["best"]
    if number not in best:
        return ""
    return TIES if len(best) > 1 and len(found["objectives"]) == 1 else BEST


def ended(trials: Sequence[TrialRecord]) -> str:
    """Return how many trials ended in which way, as a sentence: what has no value is no part of any figure."""
    states = [trial["state"] for trial in trials]
    others = [f"{states.count(state)} {state}" for state in dict.fromkeys(states) if state != "complete"]
    complete = states.count("complete")
    verb = "is" if complete == 1 else "are"
    rest = f" ({', '.join(others)})" if others else ""
    return f"{complete} of {len(states)} {'trial' if len(states) == 1 else 'trials'} {verb} complete{rest}."


def covered(seeds: int) -> str:
    """Return what a trial's value is a mean of, and what its interval covers."""
    if seeds == 1:
        return "of one seed [95 % interval for new prompts; how far another seed would differ is not in it]"
    return f"mean over {seeds} seeds [95 % interval for new prompts and new seeds]"
