"""Controls: the same pairs with their labels drawn at random or turned round, so that a study has both ends."""

from __future__ import annotations

import numpy as np
import polars as pl

from notus_exp.config.curation_settings import PairLabels
from notus_exp.disk.hashing import uniform

SIDES = ("", "_score", "_same")
"""What is exchanged with the two sides of a pair, behind `chosen` and `rejected`."""


def relabel(pairs: pl.DataFrame, prompt_ids: pl.Series, labels: PairLabels, seed: int) -> pl.DataFrame:
    """Exchange the sides of pairs, the last thing that is done to them: which pairs there are does not change.

    `kept` exchanges none, `reversed` all. `random` exchanges those of half the prompts, by a draw of (prompt id, seed)
    alone that sees no score: of a prompt with several pairs it turns all of them, so that they hang together as before.

    Args:
        pairs: Columns `chosen, rejected` (null where there is no pair), each also with `_score` and `_same`, and
            `margin`, which becomes negative where sides with different scores are exchanged.
        prompt_ids: Id of each pair's prompt (16 hex digits).
        labels: Which are exchanged.
        seed: Moves the draw.
    """
    if labels is PairLabels.kept:
        return pairs
    turned = np.full(pairs.height, fill_value=True)
    if labels is PairLabels.random:
        turned = uniform(prompt_ids, seed, "labels") < 0.5
    exchanged = pl.Series(turned, dtype=pl.Boolean)
    names = {f"chosen{part}": f"rejected{part}" for part in SIDES}
    other = names | {rejected: chosen for chosen, rejected in names.items()}
    sides = [pl.when(exchanged).then(there).otherwise(here).alias(here) for here, there in other.items()]
    return pairs.with_columns(*sides, margin=pl.when(exchanged).then(-pl.col("margin")).otherwise("margin"))


def label_notes(labels: PairLabels) -> list[str]:
    """Say of pairs whose labels are wrong on purpose that they are; one sentence, or none."""
    said = {PairLabels.random: "drawn at random", PairLabels.reversed: "turned round"}
    return [f"these pairs are a control: which side is chosen was {said[labels]}"] if labels in said else []
