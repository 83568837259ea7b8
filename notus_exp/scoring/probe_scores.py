"""Implicit rewards of the policies of other runs: beta (log pi - log pi_ref), from those not trained on a prompt.

A policy that was trained on a fold of the prompts scores none of that fold, those neither that it did not train on: a
prompt's score is then the mean of as many policies as any other's, and has the same spread. One that was trained on no
fold scores all but its training prompts.

Rafailov et al. 2023, "Direct Preference Optimization", equation 5, without the term that a prompt's completions share.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from notus_exp.config.curation_settings import Split
from notus_exp.curation.split import fold_of
from notus_exp.disk.files import COMPLETIONS
from notus_exp.errors import UserError
from notus_exp.feedback.prompt_turns import CONTEXT
from notus_exp.feedback.same_prompts import folded_ids

ID = ["row", "completion"]


class ScoringPolicy(NamedTuple):
    """One policy's part in a probe.

    Attributes:
        likelihoods: likelihoods.parquet of it, over all completions.
        pairs: pairs.parquet that it was trained on.
        beta: Of its training.
        split: That of its training prompts where it was trained on one fold of them, else None.
    """

    likelihoods: Path
    pairs: Path
    beta: float
    split: Split | None = None


class Overlap(NamedTuple):
    """What becomes of prompts that no policy may score: each was trained on them, or on their fold."""

    exclude: bool
    in_sample: bool


class ProbeRewards(NamedTuple):
    """Rewards, and how many prompts no policy may score.

    Attributes:
        rewards: Columns row, completion and reward (Float64, null where there is none), a row a completion.
        trained_on: Prompts that every policy was trained on, or on their fold; those with the same folded text count
            once.
        scored_by: Number of policies -> how many of the other prompts that many score. More than one entry says that
            the rewards are means over different numbers, of which those over more spread less.
    """

    rewards: pl.DataFrame
    trained_on: int
    scored_by: dict[int, int]


def read_prompts(feedback: Path) -> pl.DataFrame:
    """Return the completions of an artifact `feedback` as far as `probe_rewards` reads them."""
    path = feedback / COMPLETIONS
    context = [CONTEXT] if CONTEXT in pl.scan_parquet(path, glob=False).collect_schema().names() else []
    return pl.read_parquet(path, columns=["prompt_id", *ID, "instruction", *context], glob=False)


def probe_rewards(
    completions: pl.DataFrame, policies: Sequence[ScoringPolicy], overlap: Overlap, column: str
) -> ProbeRewards:
    """Return the mean reward of each completion under the policies that may score its prompt.

    Of policies of folds all of them must have a reward of it, so that no completion's is a mean over fewer.

    Args:
        completions: The completions table: prompt_id, instruction, row, completion and, where it has it, context.
        policies: One at least.
        overlap: What becomes of prompts that none of them may score.
        column: The column's name, for messages.

    Raises:
        UserError: No policy may score some prompts, and `overlap` says nothing of them.
    """
    pairs, splits = [policy.pairs for policy in policies], [policy.split for policy in policies]
    table, hidden = _hidden(completions, pairs, splits)
    rewards = [_rewards(table, policy) for policy in policies]
    own = [f"_{place}" for place in range(len(policies))]
    seen = [f"_seen_{place}" for place in range(len(policies))]
    table = table.select(
        *ID,
        "folded",
        *(reward.alias(name) for reward, name in zip(rewards, own, strict=True)),
        *(flag.alias(name) for flag, name in zip(hidden, seen, strict=True)),
    )
    numbers = table.unique("folded").select(pl.sum_horizontal(~pl.col(seen))).to_series().value_counts(name="prompts")
    scored_by = dict(sorted(row for row in numbers.iter_rows() if row[0]))
    by_all = table.filter(pl.all_horizontal(seen))["folded"].n_unique()
    if by_all and not overlap.exclude and not overlap.in_sample:
        raise UserError(*trained_on_words(column, str(by_all), [], of_fold=any(splits)))
    fresh = [pl.when(~pl.col(flag)).then(pl.col(name)) for name, flag in zip(own, seen, strict=True)]
    reward = pl.mean_horizontal(fresh, ignore_nulls=True)
    if any(splits):
        lacking = [~pl.col(flag) & pl.col(name).is_null() for name, flag in zip(own, seen, strict=True)]
        reward = pl.when(~pl.any_horizontal(lacking)).then(reward)
    if overlap.in_sample:
        reward = pl.when(pl.all_horizontal(seen)).then(pl.mean_horizontal(own, ignore_nulls=True)).otherwise(reward)
    return ProbeRewards(table.select(*ID, reward=reward), by_all, scored_by)


def hidden_from_all(completions: pl.DataFrame, pairs: Sequence[Path], splits: Sequence[Split | None]) -> int:
    """Return how many prompts no policy may score, alike ones counted once.

    Args:
        completions: As `probe_rewards` takes them.
        pairs: The pairs.parquet of each policy.
        splits: The split of each, where it was trained on a fold.
    """
    table, hidden = _hidden(completions, pairs, splits)
    return table.filter(pl.all_horizontal(hidden))["folded"].n_unique()


def _hidden(
    completions: pl.DataFrame, pairs: Sequence[Path], splits: Sequence[Split | None]
) -> tuple[pl.DataFrame, list[pl.Series]]:
    """Return the table with the ids of its folded prompts, and for each policy which of them it may not score."""
    context = completions[CONTEXT] if CONTEXT in completions.columns else None
    table = completions.with_columns(folded=folded_ids(completions["prompt_id"], completions["instruction"], context))
    folded = table["folded"]
    hidden = [
        fold_of(folded, split) == split.fold if split else folded.is_in([*trained_on(path)])
        for path, split in zip(pairs, splits, strict=True)
    ]
    return table, hidden


def trained_on(pairs: Path) -> set[str]:
    """Return the ids of the folded prompts of the training pairs in a pairs.parquet."""
    table = pl.read_parquet(pairs, columns=["prompt_id", "split", "prompt"], glob=False).filter(
        pl.col("split") == "train"
    )
    user = table["prompt"].list.last().struct.field("content")
    turn = pl.element()
    before = pl.col("prompt").list.head(pl.col("prompt").list.len() - 1)
    context = table.select(before.list.eval(turn.filter(turn.struct.field("role") != "system"))).to_series()
    return {*folded_ids(table["prompt_id"], user, context if (context.list.len() > 0).any() else None)}


def trained_on_words(column: str, prompts: str, runs: Sequence[str], *, of_fold: bool) -> tuple[str, str]:
    """Return message and hint of the error that prompts would be scored by policies that were trained on them.

    Args:
        column: The column's name.
        prompts: How many.
        runs: Ids of the runs; none where they are not known.
        of_fold: Whether they were trained on a fold that these prompts are of.
    """
    who = f"run {runs[0]} was" if len(runs) == 1 else "every run of it was"
    what = f"{prompts} of the prompts that it is to score"
    said = f"{who} trained on the fold that {what} are of" if of_fold else f"{who} trained on {what}"
    return (
        f"scores: {column}: {said}",
        "train one run on each fold of the prompts, with split.folds=2 and split.fold=0 or 1, and write runs: [A, B]; "
        "or leave these prompts without a score (exclude: true), or score them all the same (in_sample: true)",
    )


def _rewards(table: pl.DataFrame, policy: ScoringPolicy) -> pl.Series:
    likelihoods = pl.read_parquet(policy.likelihoods, columns=[*ID, "logp", "ref_logp"], glob=False)
    reward = policy.beta * (pl.col("logp") - pl.col("ref_logp"))
    found = table.select(ID).join(likelihoods.select(*ID, reward=reward), on=ID, how="left", maintain_order="left")
    return found["reward"]
