"""What each round of a run was trained on and measured by, and how far it is from the one before."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from notus_exp.browsing.paired_runs import paired_runs
from notus_exp.config.curation_settings import Split
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.curation.split import assign
from notus_exp.disk.files import COMPLETIONS
from notus_exp.disk.outputs import artifact
from notus_exp.errors import UserError
from notus_exp.evaluation.metrics import headlines
from notus_exp.feedback.prompt_turns import CONTEXT
from notus_exp.feedback.same_prompts import folded_ids
from notus_exp.frames.run_data import RunData
from notus_exp.inference.estimates import mean_estimate
from notus_exp.stages.settings import from_json


class EachRound(NamedTuple):
    """One round of a run.

    Attributes:
        number: From 1.
        run: The run as if this round were all of it.
        prompts: For training, that were answered and rated; None where the run did not get so far.
        held_out: Those of the validation and the test split, likewise.
        answers: Of all writers together to the prompts for training.
        own: Of the run's own model among them: that the run began with, or the policy of a round before.
        rated: Mean over the own model's answers to prompts for training of the mean of their ratings, with an interval
            over prompts; None where there are none.
        pairs: That were trained on.
        usd: Of answers and judgements, as far as prices are known.
        against_before: Metric -> value, interval, p, prompts: this round's policy less that of the round before, by
            prompt; empty for the first.
        notes: Why something of it is missing.
    """

    number: int
    run: RunData
    prompts: int | None
    held_out: int | None
    answers: int | None
    own: int | None
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
    facts = {name: stage["facts"] for name, stage in run.record.get("stages", {}).items()}
    usd = sum(one.get("cost") or 0.0 for name, one in facts.items() if name.startswith(("responses_", "annotations_")))
    made = _made(run) if "feedback" in facts else _Made(None, None, None, None, None)
    return EachRound(number, run, *made, facts.get("pairs", {}).get("split/train"), usd, paired, notes)


class _Made(NamedTuple):
    """What of a round's feedback is told; see `EachRound`."""

    prompts: int | None
    held_out: int | None
    answers: int | None
    own: int | None
    rated: MeasuredValue | None


def _own_writers(run: RunData) -> list[str]:
    """Return the names of the writers that are the run's own model."""
    data: dict[str, Any] = run.record.get("config", {}).get("data", {})
    others = ("base_url", "base", "simulated")
    return [one["name"] for one in data.get("writers", []) if all(one.get(name) is None for name in others)]


def _made(run: RunData) -> _Made:
    """Return what is told of a round's feedback, of which the held-out prompts are trained on by nobody."""
    table = pl.read_parquet(artifact(run.folder, run.record, "feedback") / COMPLETIONS, glob=False)
    turns = [CONTEXT] if CONTEXT in table.columns else []
    prompts = table.select("prompt_id", "instruction", *turns).unique("prompt_id", keep="first", maintain_order=True)
    split = assign(folded_ids(*prompts.get_columns()), from_json(Split, run.record["config"]["split"]))
    trained = prompts.filter(split == "train")["prompt_id"]
    table = table.filter(pl.col("prompt_id").is_in(trained.implode()))
    own = table.filter(pl.col("model").is_in(_own_writers(run)))
    ratings = [name for name in own.columns if name.startswith("rating_")]
    values = own.select("prompt_id", mean=pl.mean_horizontal(*ratings)).drop_nulls("mean")
    rated: MeasuredValue | None = None
    if not values.is_empty():
        found = mean_estimate(values["mean"].to_numpy().astype(np.float64), clusters=values["prompt_id"].to_list())
        rated = {"value": found.value, "low": found.low, "high": found.high}
    return _Made(len(trained), prompts.height - len(trained), table.height, own.height, rated)
