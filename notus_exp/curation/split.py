"""Train, validation and test by a hash of the folded prompt: the same for every strategy, other rows do not move it.

Prompts that are the same once folded (disk/folding.py) are of the same split; of a prompt that is folded already the
hash is of its own id.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from notus_exp.config.curation_settings import Split
from notus_exp.disk.hashing import uniform
from notus_exp.feedback.prompt_turns import CONTEXT
from notus_exp.feedback.same_prompts import folded_ids

SPLITS = ("train", "validation", "test")


def assign(prompt_ids: Iterable[str], split: Split) -> pl.Series:
    """Say which split each prompt belongs to.

    With u = uniform(id of the folded prompt, split.seed): test where u < test, validation where u < test + validation,
    else train. One exception looks across prompts: where no prompt at all would be in train, all of them are, so a
    table of one prompt trains. Give it every prompt of the feedback, before any filter, so that all stages agree.

    Args:
        prompt_ids: Ids of the folded prompts (16 hex digits), shape (n,), repeats allowed.
        split: Shares and seed.

    Returns:
        String series `split` of shape (n,), aligned with the ids.
    """
    names = _by_draw(prompt_ids, split)
    if not (names == "train").any():
        names = np.full(len(names), "train")
    return pl.Series("split", names.tolist(), dtype=pl.String)


def fold_of(prompt_ids: Iterable[str], split: Split) -> pl.Series:
    """Return the fold of each prompt, floor(u folds) with u = uniform(id of the folded prompt, split.seed).

    Args:
        prompt_ids: Ids of the folded prompts (16 hex digits), shape (n,).
        split: Seed and number of folds.

    Returns:
        Int64 series `fold` of shape (n,).
    """
    assert split.folds is not None
    return pl.Series("fold", (uniform(prompt_ids, split.seed, "fold") * split.folds).astype(np.int64))


def moved_to_train(prompt_ids: Iterable[str], split: Split) -> int:
    """Return how many of these ids `assign` moves to train because none would be there otherwise."""
    names = _by_draw(prompt_ids, split)
    return 0 if (names == "train").any() else len(names)


def _by_draw(prompt_ids: Iterable[str], split: Split) -> np.ndarray:
    held_out = split.test + split.validation
    draws = uniform(prompt_ids, split.seed, "split")
    return np.select([draws < split.test, draws < held_out], ["test", "validation"], default="train")


def held_out_prompts(completions: pl.DataFrame, split: Split, part: str, max_prompts: int | None) -> list[str]:
    """Return the ids of the prompts that policies are scored on, the same whatever the curation.

    Args:
        completions: The completions table (only `prompt_id`, `instruction` and `context` are read).
        split: Shares and seed.
        part: The split that they are of: test, for comparing policies, or validation, for tuning one.
        max_prompts: At most so many, those with the smallest draw; None for all.

    Returns:
        Distinct prompt ids of that split, in the order of their draw; of prompts that are the same once folded one.
    """
    turns = [CONTEXT] if CONTEXT in completions.columns else []
    prompts = completions.select("prompt_id", "instruction", *turns).unique("prompt_id", keep="any").sort("prompt_id")
    prompts = prompts.with_columns(folded_ids(*prompts.get_columns()))
    prompts = prompts.filter(assign(prompts["folded_id"], split) == part)
    prompts = prompts.sort(pl.col("prompt_id") != pl.col("folded_id"), "prompt_id")
    held_out = prompts.unique("folded_id", keep="first", maintain_order=True)["prompt_id"].sort()
    order = np.argsort(uniform(held_out, split.seed, f"{part}_prompts"), kind="stable")
    return held_out.gather(order[:max_prompts].tolist()).to_list()
