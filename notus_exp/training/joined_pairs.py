"""The pairs that are trained on: with their tokens and reference log-probs, and what each weighs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import polars as pl

from notus_exp.config.algorithms import check_weights
from notus_exp.config.training_settings import DPO, SpecialTokens
from notus_exp.errors import UserError
from notus_exp.models.encoding import Encoded
from notus_exp.models.markup import hold_marks
from notus_exp.training.trainer import COLUMNS, WEIGHT


class JoinedPairs(NamedTuple):
    """Pairs of a split with their token ids and reference log-probs (columns `COLUMNS`), and how many are left out.

    Attributes:
        rows: Those that are left.
        without_reference: They have no reference log-probs.
        same_tokens: Both sides are the same tokens: left out.
        special_tokens: Of the rest, those whose texts hold a mark of the model's own; left out if they are dropped.
    """

    rows: pl.DataFrame
    without_reference: int
    same_tokens: int
    special_tokens: int


def join_pairs(
    pairs: pl.DataFrame,
    reference: pl.DataFrame,
    known: Sequence[str] = (),
    special_tokens: SpecialTokens = SpecialTokens.keep,
) -> JoinedPairs:
    """Give each pair the token ids and reference log-probs of its two completions.

    Args:
        pairs: Rows of pairs.parquet of one split.
        reference: Columns of reference.parquet, one row per (prompt_id, row, completion); where the recipe needs no
            reference, `ref_logp` is null, and so are the columns made of it.
        known: Marks of the model's own (`models/markup.py`).
        special_tokens: What becomes of pairs whose texts hold one.

    Returns:
        The pairs that have both, in their own order, without those whose sides are the same tokens, and the number of
        those that have not: their prompt was too long, or (validation) they are more than `dpo.max_validation_pairs`.

    Raises:
        UserError: The reference artifact holds a completion twice or not under one prompt.
    """
    key = ["prompt_id", "row", "completion"]
    if reference.select(key).is_duplicated().any():
        raise UserError("the reference artifact holds a completion twice", "delete that artifact and run again")
    joined = pairs
    for side in ("chosen", "rejected"):
        columns = reference.select(
            "prompt_id",
            "row",
            pl.col("completion").alias(f"{side}_completion"),
            pl.col("prompt_ids").alias(f"{side}_prompt_ids"),
            pl.col("completion_ids").alias(f"{side}_ids"),
            pl.col("ref_logp").alias(f"ref_{side}_logps"),
        )
        joined = joined.join(columns, on=["prompt_id", "row", f"{side}_completion"], how="inner", maintain_order="left")
    differing = joined.filter(pl.col("chosen_prompt_ids") != pl.col("rejected_prompt_ids"))
    if not differing.is_empty():
        raise UserError(
            f"prompt {differing['prompt_id'][0]} has other token ids beside its chosen than its rejected response",
            "delete the reference artifact and run again",
        )
    differ = joined.filter(pl.col("chosen_ids") != pl.col("rejected_ids"))
    held = hold_marks(differ, known)
    rows = differ.filter(~held) if special_tokens is SpecialTokens.drop else differ
    weights = [WEIGHT] if WEIGHT in pairs.columns else []
    rows = rows.rename({"chosen_prompt_ids": "prompt_ids"}).select(*COLUMNS, *weights)
    return JoinedPairs(rows, len(pairs) - len(joined), len(joined) - len(differ), int(held.sum()))


def weighed(rows: pl.DataFrame, dpo: DPO) -> pl.DataFrame:
    """Return training pairs with weights whose mean is 1, as they are where they have none.

    Curation gives weights of mean 1 over all training pairs; some of those may have been left out since.

    Raises:
        UserError: A weight is no number of 0 or more, all are 0, or the recipe's loss is no sum over pairs.
    """
    if WEIGHT not in rows.columns:
        return rows
    check_weights(dpo)
    weights = rows[WEIGHT]
    if weights.null_count() or not weights.is_finite().all() or weights.min() < 0 or not weights.sum():  # type: ignore[operator]
        raise UserError(
            "the training pairs' weights are not all numbers of 0 or more, with one above 0",
            "look at the column `weight` of pairs.parquet, and at what pairs.weight computes",
        )
    return rows.with_columns(pl.col(WEIGHT) / pl.col(WEIGHT).mean())


def effective_pairs(rows: pl.DataFrame) -> dict[str, Any]:
    """Return the number of equally weighed pairs whose mean is as noisy, {} where pairs have no weights.

    It is (sum w)^2 / sum w^2 (Kish 1965, Survey Sampling).
    """
    if WEIGHT not in rows.columns:
        return {}
    weights = rows[WEIGHT].to_numpy()
    return {"effective_pairs": round(float(weights.sum() ** 2 / (weights**2).sum()), 3)}


def discount_tails(rows: pl.DataFrame, alpha: float, logps_of: Callable[[list[Encoded]], list[float]]) -> pl.DataFrame:
    """Return pairs whose reference log-probs count what a side has beyond the other's length `alpha` times.

    That is how TRL counts the policy's under `ld_alpha` (Liu et al. 2024, arXiv 2409.06411, equation 8); the reference
    must be counted alike, or the tail's log-prob would stand in the loss alone.

    Args:
        rows: Columns `COLUMNS`.
        alpha: In [0, 1]; 1 leaves them as they are.
        logps_of: Returns the reference's log-probs (nats) of texts.
    """
    sides = ("chosen", "rejected")
    beginnings: dict[tuple[int, str], Encoded] = {}
    for number, row in enumerate(rows.iter_rows(named=True)):
        shared = min(len(row[f"{side}_ids"]) for side in sides)
        for side in sides:
            if len(row[f"{side}_ids"]) > shared:
                beginnings[number, side] = Encoded(row["prompt_ids"], row[f"{side}_ids"][:shared])
    logps = dict(zip(beginnings, logps_of([*beginnings.values()]), strict=True))
    counted = {}
    for side in sides:
        whole = rows[f"ref_{side}_logps"].to_list()
        shared_part = [logps.get((number, side), value) for number, value in enumerate(whole)]
        counted[f"ref_{side}_logps"] = [
            part + alpha * (value - part) for part, value in zip(shared_part, whole, strict=True)
        ]
    return rows.with_columns(**{name: pl.Series(values, dtype=pl.Float64) for name, values in counted.items()})
