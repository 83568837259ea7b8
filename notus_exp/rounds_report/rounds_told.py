"""The rounds of a run in the terminal: what each was trained on, its metrics, and what each added to the one before."""

from __future__ import annotations

from typing import Any

from notus_exp.evaluation.metrics import metric_of
from notus_exp.frames.run_data import RunData
from notus_exp.reporting.tables import Report, Table, number, p_value, with_span
from notus_exp.rounds_report.each_round import EachRound

EXPLORATORY = (
    "All rounds are measured on the same held-out prompts, which no round trains on. What a round added is paired by"
    " prompt and exploratory, without a correction for the number of metrics and rounds; each policy is one training,"
    " and how much another seed would move it is in no interval here"
)
NOT_KNOWN = "-"


def rounds_report(run: RunData, rounds: list[EachRound]) -> Report:
    """Return the rounds of a run side by side."""
    data = {"run": run.run_id, "rounds": [_data(one) for one in rounds]}
    tables = [made_of(rounds), measured(rounds), added(rounds)]
    notes = list(dict.fromkeys(note for one in rounds for note in one.notes))
    return Report(data, [table for table in tables if table.rows], [*notes, *([EXPLORATORY] if tables[1].rows else [])])


def made_of(rounds: list[EachRound]) -> Table:
    """Return a table of what each round was trained on: answers and ratings are of prompts for training."""
    rows = [
        [
            str(one.number),
            *(_count(count) for count in (one.prompts, one.held_out, one.answers, one.own)),
            with_span(one.rated),
            _count(one.pairs),
            number(one.usd, 2) if one.usd else NOT_KNOWN,
        ]
        for one in rounds
    ]
    columns = ["round", "training prompts", "held out", "answers", "of the own model", "their mean rating"]
    columns += ["training pairs", "USD"]
    return Table("What each round was trained on", columns, rows)


def measured(rounds: list[EachRound]) -> Table:
    """Return a table of the headline metrics, of the base model and of the policy of each round."""
    names = list(dict.fromkeys(name for one in rounds for name in one.metrics()))
    rows = []
    for name in names:
        digits, known = metric_of(name).digits, [one.run.record.get("metrics", {}) for one in rounds]
        base = next((found[f"base/{name}"] for found in known if f"base/{name}" in found), None)
        rows.append([name, with_span(base, digits), *(with_span(found.get(name), digits) for found in known)])
    columns = ["metric", "base", *(f"round {one.number}" for one in rounds)]
    return Table("Metrics: value [95 % interval]", columns, rows)


def added(rounds: list[EachRound]) -> Table:
    """Return a table of the policy of each later round less that of the one before."""
    rows = []
    for one in rounds[1:]:
        for name, row in one.against_before.items():
            shown = with_span(row, metric_of(name).digits_of_difference, sign=True)
            rows.append([name, f"{one.number} minus {one.number - 1}", shown, p_value(row["p"]), str(row["prompts"])])
    return Table("What each round added", ["metric", "rounds", "difference", "p", "prompts"], rows, ("rounds",))


def _count(count: int | None) -> str:
    return NOT_KNOWN if count is None else f"{count:,}"


def _data(one: EachRound) -> dict[str, Any]:
    metrics = one.run.record.get("metrics", {})
    return {
        "round": one.number,
        "training_prompts": one.prompts,
        "held_out_prompts": one.held_out,
        "answers": one.answers,
        "own_answers": one.own,
        "own_rating": one.rated,
        "training_pairs": one.pairs,
        "usd": one.usd,
        "metrics": {name: metrics[name] for name in one.metrics()},
        "difference_to_base": {
            name: metrics[f"difference/{name}"] for name in one.metrics() if f"difference/{name}" in metrics
        },
        "difference_to_before": one.against_before,
    }
