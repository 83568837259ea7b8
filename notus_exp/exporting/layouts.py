"""The pairs in the layouts of others: pure functions from the scored pairs to a table a split.

Each layout is read back by an option of `data` (`READ_BY`), to the same prompts, sides and scores.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

SplitTables = dict[str, pl.DataFrame]
"""Split, by the name that it has in the layout -> its rows; splits without any are left out."""

SPLITS = ("train", "validation", "test")


def everything(pairs: pl.DataFrame) -> SplitTables:
    """Return all columns of `scored_pairs`, with the split beside them."""
    return by_split(pairs, {split: split for split in SPLITS})


def conversational(pairs: pl.DataFrame) -> SplitTables:
    """Return TRL's conversational preference layout: `prompt`, `chosen`, `rejected` as messages.

    `prompt_id`, `score_chosen` and `score_rejected` stand beside them; TRL's trainers pass over them.
    """
    table = pairs.select("split", "prompt", "chosen", "rejected", "prompt_id", *_scores())
    return by_split(table, {split: split for split in SPLITS}, drop="split")


def handbook(pairs: pl.DataFrame) -> SplitTables:
    """Return the columns and splits of the alignment handbook's binarised sets.

    `prompt` is the user's last message, `chosen` and `rejected` are whole conversations, `messages` is the chosen one.
    All that is held out, for validation and for tests, is `test_prefs`.
    """
    table = pairs.select(
        "split",
        "prompt_id",
        prompt=_last_message(),
        chosen=_conversation("chosen"),
        rejected=_conversation("rejected"),
        messages=_conversation("chosen"),
        score_chosen="chosen_score",
        score_rejected="rejected_score",
    ).select("split", "prompt", "prompt_id", "chosen", "rejected", "messages", "score_chosen", "score_rejected")
    return by_split(
        table, {split: "train_prefs" if split == "train" else "test_prefs" for split in SPLITS}, drop="split"
    )


def cleaned(pairs: pl.DataFrame) -> SplitTables:
    """Return the columns of argilla's cleaned binarised UltraFeedback; its own has the split `train` alone."""
    table = pairs.select(
        "split",
        "source",
        _last_message().alias("prompt"),
        _conversation("chosen").alias("chosen"),
        pl.col("chosen_score").alias("chosen-rating"),
        pl.col("chosen_model").alias("chosen-model"),
        _conversation("rejected").alias("rejected"),
        pl.col("rejected_score").alias("rejected-rating"),
        pl.col("rejected_model").alias("rejected-model"),
    )
    return by_split(table, {split: split for split in SPLITS}, drop="split")


def for_trainers(pairs: pl.DataFrame, system_prompt: str | None) -> SplitTables:
    """Return what the trainers of others are given: `messages`, and one message each in `chosen` and `rejected`.

    Tests are left out: no training may see them.

    Args:
        pairs: Of `scored_pairs`.
        system_prompt: The system turn that the recipe puts before prompts without one ("" is an empty turn); None adds
            none.
    """
    messages = pl.col("prompt")
    if system_prompt is not None:
        turn = pl.concat_list(pl.struct(role=pl.lit("system"), content=pl.lit(system_prompt)))
        begins = pl.col("prompt").list.first().struct.field("role") == "system"
        messages = pl.when(begins).then(pl.col("prompt")).otherwise(pl.concat_list(turn, pl.col("prompt")))
    sides = {side: pl.col(side).list.last() for side in ("chosen", "rejected")}
    return by_split(
        pairs.select("split", messages=messages, **sides), {name: name for name in SPLITS[:2]}, drop="split"
    )


def by_split(table: pl.DataFrame, names: dict[str, str], drop: str | None = None) -> SplitTables:
    """Return a table's rows by the name that their split has, in the order of the names.

    Args:
        table: With a column `split`.
        names: Split -> its name in the layout; several may have one.
        drop: A column to leave out.
    """
    found: SplitTables = {}
    for name in dict.fromkeys(names.values()):
        rows = table.filter(pl.col("split").is_in([split for split, named in names.items() if named == name]))
        if rows.height:
            found[name] = rows.drop(drop) if drop else rows
    return found


def _scores() -> list[pl.Expr]:
    return [pl.col(f"{side}_score").alias(f"score_{side}") for side in ("chosen", "rejected")]


def _last_message() -> pl.Expr:
    return pl.col("prompt").list.last().struct.field("content")


def _conversation(side: str) -> pl.Expr:
    return pl.concat_list(pl.col("prompt"), pl.col(side))


LAYOUTS: dict[str, Callable[[pl.DataFrame], SplitTables]] = {
    "parquet": everything,
    "trl": conversational,
    "h4": handbook,
    "argilla": cleaned,
}
"""Format -> what makes it of the scored pairs."""

READ_BY = {
    "parquet": "data=trl",
    "trl": "data=trl",
    "h4": "data=h4_ultrafeedback",
    "argilla": "data=argilla_ultrafeedback",
    "openbmb": "data=ultrafeedback",
}
"""Format -> the option of `data` that reads it back."""
