"""Implicit rewards of the policies of other runs: beta (log pi - log pi_ref), from those not trained on a prompt.

Rafailov et al. 2023, "Direct Preference Optimization", equation 5, without the term that a prompt's completions share.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from notus_exp.curation.same_prompts import folded_ids
from notus_exp.disk.files import COMPLETIONS
from notus_exp.errors import UserError
from notus_exp.feedback.prompt_turns import CONTEXT

ID = ["row", "completion"]


class ScoringPolicy(NamedTuple):
    """One policy's part in a probe.

    Attributes:
        likelihoods: likelihoods.parquet of it, over all completions.
        pairs: pairs.parquet that it was trained on.
        beta: Of its training.
    """

    likelihoods: Path
    pairs: Path
    beta: float


class Overlap(NamedTuple):
    """What becomes of prompts that every policy was trained on."""

    exclude: bool
    in_sample: bool


class ProbeRewards(NamedTuple):
    """Rewards, and how many prompts had been trained on by every policy.

    Attributes:
        rewards: Columns row, completion and reward (Float64, null where there is none), a row a completion.
        trained_on: Prompts; those with the same folded text count once.
    """

    rewards: pl.DataFrame
    trained_on: int


def read_prompts(feedback: Path) -> pl.DataFrame:
    """Return the completions of an artifact `feedback` as far as `probe_rewards` reads them."""
    path = feedback / COMPLETIONS
    context = [CONTEXT] if CONTEXT in pl.scan_parquet(path, glob=False).collect_schema().names() else []
    return pl.read_parquet(path, columns=["prompt_id", *ID, "instruction", *context], glob=False)


def probe_rewards(
    completions: pl.DataFrame, policies: Sequence[ScoringPolicy], overlap: Overlap, column: str
) -> ProbeRewards:
    """Return the mean reward of each completion under the policies that were not trained on its prompt.

    Args:
        completions: The completions table: prompt_id, instruction, row, completion and, where it has it, context.
        policies: One at least.
        overlap: What becomes of prompts that all of them were trained on.
        column: The column's name, for messages.

    Raises:
        UserError: All policies were trained on some prompts, and `overlap` says nothing of them.
    """
    table, trained = _seen(completions, [policy.pairs for policy in policies])
    rewards = [_rewards(table, policy) for policy in policies]
    own = [f"_{place}" for place in range(len(policies))]
    seen = [f"_seen_{place}" for place in range(len(policies))]
    table = table.select(
        *ID,
        "folded",
        *(reward.alias(name) for reward, name in zip(rewards, own, strict=True)),
        *(flag.alias(name) for flag, name in zip(trained, seen, strict=True)),
    )
    by_all = table.filter(pl.all_horizontal(seen))["folded"].n_unique()
    if by_all and not overlap.exclude and not overlap.in_sample:
        raise UserError(*trained_on_words(column, by_all, []))
    fresh = [pl.when(~pl.col(flag)).then(pl.col(name)) for name, flag in zip(own, seen, strict=True)]
    reward = pl.mean_horizontal(fresh, ignore_nulls=True)
    if overlap.in_sample:
        reward = pl.when(pl.all_horizontal(seen)).then(pl.mean_horizontal(own, ignore_nulls=True)).otherwise(reward)
    return ProbeRewards(table.select(*ID, reward=reward), by_all)


def seen_by_all(completions: pl.DataFrame, pairs: Sequence[Path]) -> int:
    """Return how many prompts are among the training pairs of each pairs.parquet, alike ones counted once.

    Args:
        completions: As `probe_rewards` takes them.
        pairs: One a policy.
    """
    table, trained = _seen(completions, pairs)
    return table.filter(pl.all_horizontal(trained))["folded"].n_unique()


def _seen(completions: pl.DataFrame, pairs: Sequence[Path]) -> tuple[pl.DataFrame, list[pl.Series]]:
    """Return the table with the ids of its folded prompts, and for each policy whether it was trained on them."""
    context = completions[CONTEXT] if CONTEXT in completions.columns else None
    table = completions.with_columns(folded=folded_ids(completions["prompt_id"], completions["instruction"], context))
    return table, [table["folded"].is_in([*trained_on(path)]) for path in pairs]


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


def trained_on_words(column: str, prompts: int, runs: Sequence[str]) -> tuple[str, str]:
    """Return message and hint of the error that prompts would be scored by policies that were trained on them."""
    who = f"run {runs[0]} was" if len(runs) == 1 else "every run of it was"
    return (
        f"scores: {column}: {who} trained on {prompts} of the prompts that it is to score",
        "train one run on each fold of the prompts, with split.folds=2 and split.fold=0 or 1, and write runs: [A, B]; "
        "or leave these prompts without a score (exclude: true), or score them all the same (in_sample: true)",
    )


def _rewards(table: pl.DataFrame, policy: ScoringPolicy) -> pl.Series:
    likelihoods = pl.read_parquet(policy.likelihoods, columns=[*ID, "logp", "ref_logp"], glob=False)
    reward = policy.beta * (pl.col("logp") - pl.col("ref_logp"))
    found = table.select(ID).join(likelihoods.select(*ID, reward=reward), on=ID, how="left", maintain_order="left")
    return found["reward"]
