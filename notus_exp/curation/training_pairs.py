"""What looks across prompts: which training pairs are kept, how many of them, and what each weighs in the loss."""

from __future__ import annotations

import math

import polars as pl

from notus_exp.config.curation_settings import Keep, KeepSide, PairChoice
from notus_exp.contracts.curation_file import WeightsFound
from notus_exp.curation.formulas import FormulaValues
from notus_exp.disk.hashing import uniform
from notus_exp.errors import UserError

WEIGHT = "weight"
"""Column of pairs.parquet where `pairs.weight` is set."""
LEAST_EFFECTIVE = 0.5
"""Share of the training pairs below which their effective number is remarked on."""
_WITHIN = ("draw", "row", "prompt_id", "rank")
"""The order of pairs that are alike in all else: by the prompt's draw, then by rank within the prompt."""


def beyond_most(pairs: pl.DataFrame, most: int, by: PairChoice, seed: int) -> pl.Series:
    """Return the numbers of the training pairs beyond `most`.

    Args:
        pairs: The pairs that no rule took: `number, split, prompt_id, row, rank, margin`.
        most: How many stay.
        by: Which: those whose prompts have the smallest draw, or those with the largest margin.
        seed: Moves the draw.
    """
    train = _drawn(pairs.filter(pl.col("split") == "train"), seed, "max_pairs")
    first = [-pl.col("margin")] if by is PairChoice.largest_margin else []
    return train.sort(*first, *_WITHIN)["number"].slice(most)


def beyond_share(pairs: pl.DataFrame, values: FormulaValues, keep: Keep, seed: int) -> pl.Series:
    """Return the numbers of the training pairs that are not of the share that is kept.

    Of n training pairs ceil(share n) are kept: those with the highest or lowest values, or as many below as above the
    middle of their order. A pair whose value is missing counts among the n and is not kept.

    Args:
        pairs: The pairs that no rule took: `number, split, prompt_id, row, rank`.
        values: By what they are ranked, one of each pair.
        keep: The share and the side.
        seed: Moves the draw among equal values.
    """
    train = pairs.with_columns(value=values.values).filter(pl.col("split") == "train")
    number = math.ceil(round(keep.share * train.height, 6))
    known = _drawn(train.filter(pl.col("value").is_not_null()), seed, "keep")
    ordered = known.sort("value", *_WITHIN, descending=[keep.side is KeepSide.highest, False, False, False, False])
    start = max(0, (ordered.height - number) // 2) if keep.side is KeepSide.middle else 0
    kept = ordered["number"].slice(start, number)
    return train["number"].filter(~train["number"].is_in(kept.implode()))


def weights(pairs: pl.DataFrame, values: FormulaValues) -> pl.Series:
    """Return the weights of pairs, scaled so that those of the training pairs have mean 1 (Float64, shape (n,)).

    Raises:
        UserError: A weight is missing or negative, or those of all training pairs are 0.
    """
    if values.missing:
        causes = ", ".join(f"{cause} {number}" for cause, number in values.missing.items())
        raise UserError(
            f"pairs.weight is missing for {sum(values.missing.values())} of {pairs.height} pairs: {causes}",
            "write COALESCE(..., 1), or leave such pairs out with filters.where",
        )
    negative = int((values.values < 0).sum())
    if negative:
        raise UserError(
            f"pairs.weight is negative for {negative} of {pairs.height} pairs", "write GREATEST(..., 0), or ABS(...)"
        )
    train = values.values.filter(pairs["split"] == "train").to_numpy()
    if not train.any():
        raise UserError("pairs.weight is 0 for every training pair", "write a weight that is above 0 for some")
    return values.values / float(train.mean())


def weights_found(pairs: pl.DataFrame) -> WeightsFound | None:
    """Return how unevenly the training pairs weigh; None where all weigh alike because no weight is set.

    Args:
        pairs: `split` and, where it is set, `weight`.
    """
    if WEIGHT not in pairs.columns:
        return None
    found = pairs.filter(pl.col("split") == "train")[WEIGHT].to_numpy()
    shares = found / found.max()  # squares of very large or small weights leave the numbers
    return {
        "training_pairs": len(found),
        "effective": float(shares.sum() ** 2 / (shares**2).sum()),
        "largest": float(found.max()),
    }


def weight_notes(found: WeightsFound | None) -> list[str]:
    """Say of weights under which less than `LEAST_EFFECTIVE` of the training pairs count that they do; or nothing."""
    if found is None or found["effective"] >= LEAST_EFFECTIVE * found["training_pairs"]:
        return []
    return [
        f"pairs.weight makes {found['training_pairs']:,} training pairs count as {found['effective']:,.1f} of one "
        f"weight would: the largest weight is {found['largest']:,.4g} times the mean"
    ]


def _drawn(pairs: pl.DataFrame, seed: int, salt: str) -> pl.DataFrame:
    return pairs.with_columns(draw=pl.Series(uniform(pairs["prompt_id"], seed, salt), dtype=pl.Float64))
