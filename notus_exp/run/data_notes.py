"""What a reader of the results must know of the data: what was set aside, stripped or decided against its labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notus_exp.reporting.texts import many

_RULES = {
    "unreadable": "no JSON object, or not UTF-8",
    "duplicate_key": "a key stands twice in one object",
    "wrong_field": "a field is missing or of another type",
    "unusable_number": "not a usable number",
    "repeated_prompt": "repeats its prompt, but not exactly",
    "transcript": "a transcript of more than its prompt",
    "different_prompts": "its answers have other turns before them than its prompt, or one than the other",
    "messages_as_text": "a text that holds messages, in the form of JSON or of Python",
}
"""What the rules say that set records aside (feedback/table.py, records.py, repeats.py, lifting.py, serialised.py)."""

MOST_REASONS = 3
"""Reasons that are named at most."""
_DONE = {
    "stripped": "stripped to the answer alone; data.repeated_prompts=keep leaves them",
    "emptied": "nothing was left after it was stripped, and curation leaves out empty responses; give the data its "
    "answers, or data.repeated_prompts=keep takes these as they are",
    "kept": "kept as they are; data.repeated_prompts=strip takes the answer alone",
}
"""What was done about responses that are not the answer alone."""


_WITHOUT = "/without_score"
_BESIDE = {
    "unmatched": "scores of its file that fit no completion",
    "double": "scores said twice",
    "missing": "rows without a usable number",
    "several_turns": "completions of prompts of several turns, which a digest alone can name, not their texts",
    "unclear": "completions that share their prompt's id and number with another",
    "prompts_trained_on": "prompts that every run of it was trained on, or on their fold",
}
"""What else is counted of a column, in words."""


def data_notes(feedback: Mapping[str, Any], pairs: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each thing that was not taken as the data has it.

    Args:
        feedback: Facts of the stage `feedback`.
        pairs: Facts of the stage `pairs`.
    """
    notes = []
    quarantined = _of(feedback, "quarantined")
    if quarantined:
        rules = "; ".join(f"{number} by {rule} ({_RULES.get(rule, rule)})" for rule, number in quarantined.items())
        notes.append(
            f"{many(sum(quarantined.values()), 'record')} of {feedback['records']} set aside: {rules}; "
            "quarantine.jsonl in the feedback's folder has them"
        )
    begun = feedback.get("common_beginnings", 0)
    if begun:
        notes.append(f"the prompt of {many(begun, 'record')} is what the texts of the answers begin with in common")
    passed = feedback.get("answers_passed_over", 0)
    if passed:
        notes.append(f"{many(passed, 'answer')} missing in lists of answers, passed over as data.mapping allows")
    for done, said in _DONE.items():
        for rule, number in _of(feedback, done).items():
            what = "began with the prompt" if rule == "repeated_prompt" else "had the form of a transcript"
            notes.append(f"{many(number, 'response')} {what}: {said}")
    notes += _mix_notes(feedback, pairs)
    contradicting, tied = (feedback.get(name, 0) for name in ("contradicting_scores", "tied_scores"))
    if contradicting or tied:
        read = feedback.get("scored_pairs", feedback["records"] - feedback["bad_rows"])
        notes.append(
            f"of {many(read, 'pair')} {many(contradicting, 'has', 'have')} scores that contradict the named sides, and "
            f"{tied} equal scores: the scores decide, not the sides"
        )
    replaced = pairs.get("rejected_replaced", 0)
    if replaced:
        notes.append(
            f"in {many(replaced, 'pair')} the rejected response would have had the chosen one's text: "
            "another response took its place"
        )
    return notes


def made_notes(answers: Mapping[str, Any], feedback: Mapping[str, Any]) -> list[str]:
    """Return a sentence for what data that is made here lacks: answers, texts in them, ratings.

    Args:
        answers: Facts of the node `answers`.
        feedback: Facts of the node `feedback`.
    """
    notes = []
    if failed := answers.get("failed_answers"):
        whose = ", ".join(f"{name} {number}" for name, number in _of(answers, "failed").items() if number)
        notes.append(f"{many(sum(failed.values()), 'answer')} did not come ({whose}): {_reasons(failed)}")
    if empty := {name: number for name, number in _of(answers, "empty").items() if number}:
        whose = ", ".join(f"{name} {number}" for name, number in empty.items())
        notes.append(
            f"{many(sum(empty.values()), 'answer is', 'answers are')} empty ({whose}): not rated, and curation leaves "
            "out empty responses"
        )
    for aspect, reasons in (feedback.get("missing_ratings") or {}).items():
        if reasons:
            notes.append(f"{many(sum(reasons.values()), 'rating')} of {aspect} missing: {_reasons(reasons)}")
    return notes


def _reasons(counted: Mapping[str, int]) -> str:
    most = sorted(counted.items(), key=lambda one: (-one[1], one[0]))
    more = "; ..." if len(most) > MOST_REASONS else ""
    return "; ".join(f"{reason} ({number})" for reason, number in most[:MOST_REASONS]) + more


def _mix_notes(feedback: Mapping[str, Any], pairs: Mapping[str, Any]) -> list[str]:
    """Return a sentence for what a mix takes of each of its sources, and one for the prompts that several have."""
    prompts, read = _of(feedback, "corpus_prompts"), _of(feedback, "corpus_prompts_read")
    if not prompts:
        return []
    made = {name: f" ({many(number, 'pair')})" for name, number in _of(pairs, "corpus_pairs").items()}
    told = ", ".join(
        f"{number} of {many(read[name], 'prompt')} of {name}{made.get(name, '')}" for name, number in prompts.items()
    )
    notes = [f"the mix has {told}"]
    if several := pairs.get("prompts_in_several", feedback["prompts_in_several"]):
        notes.append(
            f"{many(several, 'prompt of the mix stands', 'prompts of the mix stand')} in more than one source; "
            f"filters.duplicate_prompts=true takes {'it' if several == 1 else 'each'} once"
        )
    return notes


def column_notes(columns: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each column of a completion that some have not, or whose file has what fits none.

    Args:
        columns: Facts of the stage `columns`.
    """
    notes = []
    for name in (fact.removesuffix(_WITHOUT) for fact in columns if fact.endswith(_WITHOUT)):
        counts = {count: columns.get(f"{name}/{count}", 0) for count in ("without_score", *_BESIDE)}
        without = f"{counts['without_score']} of {columns['completions']} completions"
        beside = "".join(f"; {said}: {counts[count]}" for count, said in _BESIDE.items() if counts[count])
        if any(counts.values()):
            notes.append(f"the column {name} is missing for {without}{beside}")
        if by := _of(columns, f"{name}/prompts_by"):
            told = ", ".join(f"{many(prompts, 'prompt')} by {runs}" for runs, prompts in by.items())
            notes.append(
                f"the column {name} is the mean over different numbers of runs ({told}), and that over more "
                "spreads less"
            )
    return notes


def _of(facts: Mapping[str, Any], group: str) -> dict[str, int]:
    return {name[len(group) + 1 :]: number for name, number in facts.items() if name.startswith(f"{group}/")}
