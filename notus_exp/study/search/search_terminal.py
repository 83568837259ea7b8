"""A search in the terminal: its trials with their intervals, what the parameters matter, and the command that tests."""

from __future__ import annotations

from pathlib import Path

from notus_exp.comparison.terminal import study_report
from notus_exp.contracts.comparison_file import ComparisonFile
from notus_exp.contracts.study_file import SearchSummary, TrialRecord
from notus_exp.evaluation.metrics import metric_of
from notus_exp.reporting.tables import Report, Table, p_value, with_span
from notus_exp.study.search.trial_words import covered, ended, remark_of

_SHOWN = 20
"""Trials in the table; all are in the report."""


def search_report(comparison: ComparisonFile, out: Path) -> Report:
    """Return what is printed of a search.

    Args:
        comparison: What `search_comparison` returned; all of it is the report's data.
        out: Folder with the written files.
    """
    found, report = comparison["search"], study_report(comparison, out)
    complete = [trial for trial in found["trials"] if trial["state"] == "complete"]
    report.tables = [_trials(found, complete, len(comparison["study"]["seeds"]))] if complete else []
    report.tables += [_importances(found, name) for name in found["importances"]]
    if note := found["importances_note"]:
        report.sentences.insert(0, f"importances: {note}")
    report.sentences.insert(0, ended(found["trials"]))
    if found["command"]:
        which = "the first of those that tie" if len(found["best"]) > 1 and len(found["objectives"]) == 1 else "it"
        report.sentences += ["", f"the test of {which}, on prompts and with seeds that no trial had:"]
        report.commands = [found["command"]]
    return report


def _trials(found: SearchSummary, complete: list[TrialRecord], seeds: int) -> Table:
    """Return the complete trials, those that keep the constraints and are best in the first objective first."""
    first, direction = next(iter(found["objectives"].items()))
    sign = -1 if direction == "maximize" else 1
    ordered = sorted(complete, key=lambda one: (one["feasible"] is False, sign * (one["values"][first] or 0.0)))
    settings = list(dict.fromkeys(name for trial in complete for name in trial["params"]))
    rows = []
    for trial in ordered[:_SHOWN]:
        remark = remark_of(found, trial["number"])
        remark = "breaks a constraint" if trial["feasible"] is False else remark
        rows.append(
            [str(trial["number"]), *(_setting(trial, name) for name in settings)]
            + [_value(trial, name) for name in found["objectives"]]
            + [str(trial["seeds"]), remark]
        )
    left = f", {_SHOWN} of {len(complete)}" if len(complete) > _SHOWN else ""
    title = f"Complete trials{left}: {covered(seeds)}, on validation prompts"
    return Table(title, ["trial", *settings, *found["objectives"], "seeds", "remark"], rows, left=("remark",))


def _setting(trial: TrialRecord, name: str) -> str:
    value = trial["params"].get(name, "-")
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _value(trial: TrialRecord, name: str) -> str:
    known = trial.get("intervals", {}).get(name)
    return with_span(known or {"value": trial["values"].get(name), "low": None, "high": None}, metric_of(name).digits)


def _importances(found: SearchSummary, objective: str) -> Table:
    rows = [
        [
            name,
            with_span(row) if row["value"] is not None else "-",
            p_value(row["holm"]),
            row["reason"] or row["verdict"],
        ]
        for name, row in found["importances"][objective].items()
    ]
    columns = ["setting", "share [90 % interval]", "p", "verdict"]
    return Table(f"Importance for {objective}", columns, rows, left=("verdict",))
