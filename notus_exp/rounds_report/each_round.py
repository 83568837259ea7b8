"""What each round of a run was trained on and measured by, and how far it is from the one before."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from notus_exp.browsing.paired_runs import paired_runs
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.disk.files import COMPLETIONS
from notus_exp.disk.outputs import artifact
from notus_exp.errors import UserError
from notus_exp.evaluation.metrics import headlines
from notus_exp.frames.run_data import RunData
from notus_exp.inference.estimates import mean_estimate


class EachRound(NamedTuple):
    """One round of a run.

    Attributes:
        number: From 1.
        run: The run as if this round were all of it.
        prompts: That were answered and rated; None where the run did not get so far.
        answers: Of all writers together, likewise.
        own: Of the run's own model: that the run began with, or the policy of a round before.
        rated: Mean over the own model's answers of the mean of their ratings, with an interval over prompts; None where
            there are none.
        pairs: That were trained on.
        usd: Of answers and judgements, as far as prices are known.
        against_before: Metric -> value, interval, p, prompts: this round's policy less that of the round before, by
            prompt; empty for the first.
        notes: Why something of it is missing.
    """

    number: int
    run: RunData
    prompts: int | None
    answers: int | None
    own: int
    rated: MeasuredValue | None
    pairs: int | None
    usd: float
    against_before: dict[str, dict[str, Any]]
    notes: list[str]

    def metrics(self) -> list[str]:
        """Return the names of the headline metrics that the round was measured by."""
        return headlines(self.run.record.get("metrics", {}))


def each_round(run: RunData) -> list[EachRound]:
    """Return the rounds of a run, the first one first.

    Raises:
        UserError: The run has one round, or an artifact is gone or not what was written.
    """
    if run.rounds == 1:
        raise UserError(
            f"run {run.run_id} has one round", "rounds=2 makes two; python -m notus_exp.runs show tells of one"
        )
    runs = [run.round(number) for number in range(1, run.rounds + 1)]
    found: list[EachRound] = []
    for number, one in enumerate(runs, 1):
        paired = paired_runs(runs[number - 2], one) if number > 1 else None
        found.append(_round(number, one, paired.rows if paired else {}, paired.notes if paired else []))
    return found


def _round(number: int, run: RunData, paired: dict[str, dict[str, Any]], notes: list[str]) -> EachRound:
    stages = run.record.get("stages", {})
    facts = {name: stage["facts"] for name, stage in stages.items()}
    feedback, pairs = facts.get("feedback", {}), facts.get("pairs", {})
    own = _own_writers(run)
    usd = sum(one.get("cost") or 0.0 for name, one in facts.items() if name.startswith(("responses_", "annotations_")))
    return EachRound(
        number,
        run,
        feedback.get("prompts"),
        feedback.get("completions"),
        sum(feedback.get(f"answers/{name}", 0) for name in own),
        _rated(run, own) if feedback else None,
        pairs.get("split/train"),
        usd,
        paired,
        notes,
    )


def _own_writers(run: RunData) -> list[str]:
    """Return the names of the writers that are the run's own model."""
    data: dict[str, Any] = run.record.get("config", {}).get("data", {})
    others = ("base_url", "base", "simulated")
    return [one["name"] for one in data.get("writers", []) if all(one.get(name) is None for name in others)]


def _rated(run: RunData, own: list[str]) -> MeasuredValue | None:
    """Return how the own model's answers are rated on average."""
    path = artifact(run.folder, run.record, "feedback") / COMPLETIONS
    table = pl.read_parquet(path, glob=False).filter(pl.col("model").is_in(own))
    ratings = [name for name in table.columns if name.startswith("rating_")]
    values = table.select("prompt_id", mean=pl.mean_horizontal(*ratings)).filter(pl.col("mean").is_not_null())
    if values.is_empty():
        return None
    found = mean_estimate(values["mean"].to_numpy().astype(np.float64), clusters=values["prompt_id"].to_list())
    return {"value": found.value, "low": found.low, "high": found.high}
