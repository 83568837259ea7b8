"""Who answers which prompt, and what each is told: drawn by a hash of the prompt, the seed and the writer's name.

A prompt's writers are those of the pool with the smallest draws, without replacement. So no other prompt, no order of
the pool and no number of prompts moves what is drawn for a prompt; another writer in the pool takes the place of one
where its own draw is smaller, and leaves all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from notus_exp.config.curation_settings import Split
from notus_exp.config.made_settings import ANY_SOURCE, NO_PRINCIPLE
from notus_exp.curation.split import assign
from notus_exp.disk.hashing import uniform
from notus_exp.errors import UserError
from notus_exp.feedback.prompt_turns import CONTEXT, CONVERSATION
from notus_exp.feedback.same_prompts import folded_ids
from notus_exp.feedback.table import CORPUS
from notus_exp.stages.settings import ResponsesSettings, from_json


def drawn(prompts: pl.DataFrame, settings: ResponsesSettings) -> pl.DataFrame:
    """Return the prompts that a writer answers, in their order, and what it is told with each.

    Args:
        prompts: As `made_table.asked_prompts` returns them.
        settings: The writer's.

    Returns:
        The columns of `prompts`, in which `principle` and `system_prompt` are what the writer is told ("" for nothing),
        and `place`: which of the prompt's answers it gives, from 0. A prompt that has a system turn of its own keeps
        it, and no principle is drawn.
    """
    draw = settings.draw
    prompts = of_part(_at_most(prompts, draw["max_prompts"], draw["seed"]), draw)
    ids = prompts["prompt_id"].to_list()
    place = places(ids, draw["writers"], draw["seed"])[:, sorted(draw["writers"]).index(settings.writer)]
    own = prompts.with_columns(pl.Series("place", place, dtype=pl.Int64)).filter(pl.col("place") < draw["per_prompt"])
    ids = own["prompt_id"].to_list()
    which, wording = (
        uniform(ids, draw["seed"], f"made/{purpose}/{settings.writer}").tolist() for purpose in ("principle", "wording")
    )
    corpora = own[CORPUS].to_list() if CORPUS in own.columns else [""] * len(ids)
    told = [
        (CONVERSATION, of_its_own)
        if principle == CONVERSATION and of_its_own
        else _told(settings, corpus, source, one, other)
        for principle, of_its_own, corpus, source, one, other in zip(
            own["principle"], own["system_prompt"], corpora, own["source"], which, wording, strict=True
        )
    ]
    return own.with_columns(
        pl.Series("principle", [one for one, _ in told], dtype=pl.String),
        pl.Series("system_prompt", [text for _, text in told], dtype=pl.String),
    )


def of_part(prompts: pl.DataFrame, draw: Mapping[str, Any]) -> pl.DataFrame:
    """Return the prompts of a round, in their order; all where the draw has no `part`.

    Prompts of the test split are those of the first round, on which all rounds are compared, and those of the
    validation split those of every round. Each of the others is of the round floor(u parts) + 1 with u a hash of its
    folded id, of the draw's seed and of nothing else; where there is one part, all of them are of every round.

    Args:
        prompts: With the columns prompt_id, instruction and, where prompts have turns before it, context.
        draw: `part` has `round` (from 1), `parts` and `split` (settings of the split).

    Raises:
        UserError: Some round would have no prompt of the training split.
    """
    part = draw.get("part")
    if part is None:
        return prompts
    turns = [CONTEXT] if CONTEXT in prompts.columns else []
    ids = folded_ids(*prompts.select("prompt_id", "instruction", *turns).get_columns())
    split = assign(ids, from_json(Split, part["split"])).to_numpy()
    parts, train = part["parts"], split == "train"
    rounds = (uniform(ids, draw["seed"], "made/round") * parts).astype(np.int64) + 1
    without = next((number for number in range(1, parts + 1) if not (train & (rounds == number)).any()), None)
    if without is not None:  # said in the first round, before anybody is asked
        raise UserError(
            f"round {without} would have no prompt to train on: of {len(ids)} prompts {train.sum()} are for training,"
            f" shared out among {parts} round(s)",
            "give more prompts (data.prompts, data.max_prompts), fewer rounds, or rounds.prompts=same",
        )
    trained = rounds == part["round"] if parts > 1 else np.full(len(ids), True)
    kept = np.select([split == "test", split == "validation"], [np.full(len(ids), part["round"] == 1), True], trained)
    return prompts.filter(pl.Series(kept.astype(bool)))


def places(prompt_ids: Sequence[str], writers: Sequence[str], seed: int) -> np.ndarray:
    """Return the place of each writer among those of each prompt, shape (prompts, writers), writers sorted by name."""
    draws = np.array([uniform(prompt_ids, seed, f"made/writer/{name}") for name in sorted(writers)]).T
    order = draws.reshape(len(prompt_ids), len(writers)).argsort(axis=1, kind="stable")
    return order.argsort(axis=1, kind="stable")


def weights_of(principles: Mapping[str, Mapping[str, float]], corpus: str, source: str) -> Mapping[str, float]:
    """Return the weights of principles for a prompt: those of its corpus, else of its source, else of any."""
    named = next((name for name in (corpus, source) if name and name in principles), ANY_SOURCE)
    return principles[named]


def _told(settings: ResponsesSettings, corpus: str, source: str, which: float, wording: float) -> tuple[str, str]:
    """Return the principle that a number in [0, 1) draws, and which of its system prompts another one draws."""
    if settings.skill is not None:  # a simulated writer reads no system prompt
        return "", ""
    weights = weights_of(settings.principles, corpus, source)
    left = which * sum(weights.values())
    names = sorted(name for name, weight in weights.items() if weight > 0)
    for name in names:
        left -= weights[name]
        if left < 0:
            break
    if name == NO_PRINCIPLE:
        return "", ""
    texts: Any = settings.told[name]
    return name, texts[int(wording * len(texts))]


def _at_most(prompts: pl.DataFrame, most: int | None, seed: int) -> pl.DataFrame:
    if most is None or most >= prompts.height:
        return prompts
    draws = uniform(prompts["prompt_id"].to_list(), seed, "made/prompts")
    kept = np.sort(draws.argsort(kind="stable")[:most])
    some: pl.DataFrame = prompts[kept.tolist()]
    return some
