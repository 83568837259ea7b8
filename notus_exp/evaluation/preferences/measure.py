"""The evaluation `preferences`: the implicit reward against each labelling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from notus_exp.disk.files import BY_PROMPT, COMPLETIONS, LIKELIHOODS
from notus_exp.evaluation.kit.entrance import Locate, Part
from notus_exp.evaluation.preferences.agreement import agree, estimates, left_out
from notus_exp.evaluation.preferences.spec import CRITIQUE_REPAIRED
from notus_exp.stages.context import Context
from notus_exp.stages.settings import EvaluationSettings

_UNREPAIRED = (
    "preferences/*/critique_repaired is not reported: the repair takes completions with an overall score and ratings, "
    "and the scored ones have none"
)


def measure(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> Part:
    """Compare implicit rewards with the labellings; write `preferences.parquet`, a row a prompt and raw row.

    Args:
        settings: Aspects and beta.
        inputs: `likelihoods` and `feedback`.
        out: Gets the table.
        context: Not read.

    Raises:
        UserError: A log-prob is not finite, or an aspect has the name of a labelling.
    """
    agreement = agree(
        pl.read_parquet(inputs["likelihoods"] / LIKELIHOODS, glob=False),
        _read_feedback(inputs["feedback"] / COMPLETIONS),
        aspects=settings.aspects,
        beta=settings.beta,
    )
    agreement.records.write_parquet(out / BY_PROMPT.format("preferences"))
    facts = {"labellings": agreement.labellings, **left_out(agreement)}
    notes = [] if CRITIQUE_REPAIRED in agreement.labellings else [_UNREPAIRED]
    return Part(estimates(agreement), facts, notes=notes)


def by_prompt(place: Locate) -> pl.DataFrame:
    """Return the mean of each measure over the prompt's records."""
    records = pl.read_parquet(place("evaluation", BY_PROMPT.format("preferences")), glob=False).drop(
        "row", "completions"
    )
    return records.group_by("prompt_id").agg(pl.all().mean()).sort("prompt_id")


def check_files(files: Mapping[str, Path]) -> None:
    """Check nothing: the completions are the feedback's."""


def _read_feedback(path: Path) -> pl.DataFrame:
    """Read what labellings need, and none of the texts."""
    present = pl.scan_parquet(path, glob=False).collect_schema()
    needed = ("prompt_id", "row", "completion", "overall_score", "latent_quality")
    return pl.read_parquet(
        path, columns=[name for name in present if name in needed or name.startswith("rating_")], glob=False
    )
