"""Several completions tables in one: how many prompts of each are taken, which, and what is common to them.

A weight is a share of the prompts of the mix, where a prompt counts once however many rows a source has of it. Weights
need not add up to 1. Which prompts of a source are taken is decided by a hash of the prompt, the seed and the name of
the source alone: a larger mix holds the prompts of a smaller one, and no source moves what is taken of another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import polars as pl

from notus_exp.disk.hashing import uniform
from notus_exp.errors import UserError
from notus_exp.feedback.same_prompts import same_prompts
from notus_exp.feedback.table import CORPUS, LATENT_QUALITY, schema


class MixPart(NamedTuple):
    """What was read of one source.

    Attributes:
        corpus: Its name.
        weight: Its share of the prompts; None takes all of it.
        table: Its completions table, with its own aspects.
        counts: What its reader counted; `records` and `bad_rows` at least.
    """

    corpus: str
    weight: float | None
    table: pl.DataFrame
    counts: dict[str, int]


def mix(sources: Sequence[MixPart], aspects: Sequence[str], most: int | None, seed: int) -> pl.DataFrame:
    """Return the completions table of all sources, with the column `corpus`.

    A source's `row` goes on where that of the source before it ended, malformed records counted. Ratings that a source
    does not have are null. The true quality is kept only where each source has it.

    Args:
        sources: At least one; all with a weight, or none.
        aspects: Those of all sources.
        most: Prompts of the mix, where there are weights; None takes as many as the weights allow.
        seed: Moves which prompts a weight takes.

    Raises:
        UserError: A source has too few prompts for its share, or its share is less than one prompt.
    """
    taken = quotas([source.table["prompt_id"].n_unique() for source in sources], sources, most)
    every = [name for source in sources for name in source.table.columns]
    types = {name: dtype for source in sources for name, dtype in source.table.schema.items()}
    wanted = schema(aspects)
    wanted |= {name: types[name] for name in every if name not in wanted and name != LATENT_QUALITY}
    wanted[CORPUS] = pl.String()
    if every.count(LATENT_QUALITY) == len(sources):
        wanted[LATENT_QUALITY] = pl.Float64()
    tables, first = [], 0
    for source, number in zip(sources, taken, strict=True):
        table = _chosen(source, number, seed)
        table = table.with_columns(pl.col("row") + first, pl.lit(source.corpus).alias(CORPUS))
        tables.append(table.select([_column(name, dtype, table) for name, dtype in wanted.items()]))
        first += source.counts["records"]
    return pl.concat(tables)


def quotas(sizes: Sequence[int], sources: Sequence[MixPart], most: int | None) -> list[int]:
    """Return how many prompts of each source are taken: their shares of the total, rounded by largest remainders.

    Args:
        sizes: Distinct prompts of each source.
        sources: Their names and weights.
        most: The total; None for the largest one with which no source has too few.

    Raises:
        UserError: A source has too few prompts, or is to give none.
    """
    weights = [Fraction(str(source.weight)) for source in sources if source.weight is not None]
    if not weights:
        return list(sizes)
    shares = [weight / sum(weights) for weight in weights]
    largest = int(min(size / share for size, share in zip(sizes, shares, strict=True)))
    total = largest if most is None else most
    exact = [total * share for share in shares]
    found = [int(number) for number in exact]
    for place in sorted(range(len(exact)), key=lambda place: found[place] - exact[place])[: total - sum(found)]:
        found[place] += 1
    for source, size, number in zip(sources, sizes, found, strict=True):
        told = f"{source.corpus} is to give {number:,} of {total:,} prompts (weight {source.weight:g})"
        if number > size:
            hint = f"data.prompts={largest} is the most that these weights allow, and null takes it"
            raise UserError(f"{told}, and has {size:,}", hint)
        if number == 0:
            raise UserError(told, "raise its weight or data.prompts, or leave the source out")
    return found


def counted(sources: Sequence[MixPart], table: pl.DataFrame) -> dict[str, int]:
    """Return the counts of all sources together, and of each what was read and what is in the mix.

    `corpus_records/NAME`, `corpus_bad_rows/NAME`, `corpus_prompts_read/NAME`, `corpus_prompts/NAME` and
    `corpus_completions/NAME`; `prompts_in_several` are those of the mix that more than one source has, of which
    curation takes each once (see `same_prompts`); `scored_pairs` the records of which scores may contradict the sides.
    """
    total = Counter[str]()
    for source in sources:
        total.update(source.counts)
    facts = dict(total)
    if "contradicting_scores" in facts:
        facts["scored_pairs"] = sum(
            source.counts["records"] - source.counts["bad_rows"]
            for source in sources
            if "contradicting_scores" in source.counts
        )
    for source in sources:
        own = table.filter(pl.col(CORPUS) == source.corpus)
        facts |= {
            f"corpus_records/{source.corpus}": source.counts["records"],
            f"corpus_bad_rows/{source.corpus}": source.counts["bad_rows"],
            f"corpus_prompts_read/{source.corpus}": source.table["prompt_id"].n_unique(),
            f"corpus_prompts/{source.corpus}": own["prompt_id"].n_unique(),
            f"corpus_completions/{source.corpus}": own.height,
        }
    return facts | {"prompts_in_several": in_several(table)}


def _chosen(source: MixPart, number: int, seed: int) -> pl.DataFrame:
    ids = source.table.select(pl.col("prompt_id").unique(maintain_order=True))
    if number == ids.height:
        return source.table
    draws = pl.Series("draw", uniform(ids["prompt_id"], seed, f"mix/{source.corpus}"), dtype=pl.Float64)
    kept = ids.with_columns(draws).sort("draw", "prompt_id").head(number)
    return source.table.join(kept.select("prompt_id"), on="prompt_id", how="semi", maintain_order="left")


def _column(name: str, dtype: pl.DataType, table: pl.DataFrame) -> pl.Expr:
    """Return a column of a source, or where it has none what stands for that: no rating, an empty list."""
    if name in table.columns:
        return pl.col(name)
    missing = pl.lit(pl.Series([[]], dtype=dtype)).first() if isinstance(dtype, pl.List) else pl.lit(None, dtype)
    return missing.alias(name)


def in_several(table: pl.DataFrame) -> int:
    """Return how many prompts of a mix are in more than one corpus, by the rule by which curation takes each once."""
    prompts = table.unique(["row", "prompt_id"], keep="first", maintain_order=True)
    known = same_prompts(prompts)
    corpora = known.with_columns(prompts[CORPUS]).group_by(known.columns).agg(pl.col(CORPUS).n_unique())
    return corpora.filter(pl.col(CORPUS) > 1).height
