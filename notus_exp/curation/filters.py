"""Which prompts and completions are left out before pairs are made; each is charged to the first rule that takes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import polars as pl

from notus_exp.config.curation_settings import Filters
from notus_exp.curation.columns import NAMED, OVERALL, RATING, carried
from notus_exp.curation.contamination import overlap
from notus_exp.disk.hashing import digest
from notus_exp.feedback.prompt_turns import CONTEXT, prompt_columns
from notus_exp.feedback.same_prompts import same_prompts
from notus_exp.feedback.table import CORPUS

PROMPT_RULES = ("excluded_source", "duplicate_prompt", "contaminated")
COMPLETION_RULES = ("empty_response", "below_min_chars", "above_max_chars")


class Candidates(NamedTuple):
    """What the filters left: two narrow tables, and the texts that they point to.

    Attributes:
        prompts: One row a prompt: `group` (UInt32, in the order of row and prompt id), `row, prompt_id, source`,
            `folded_id` (equal for prompts that are the same once folded), `rule` (the prompt rule that took it, or
            null).
        completions: One row a completion of the remaining prompts: `group, at` (UInt32, its position in the table),
            `completion`, `same` (equal for equal texts, in this process), `overall_score`, `rating_*`, and
            `column:NAME` of each column that an expression names and that is neither.
        texts: `prompt_id, response` of every completion of the table, found by `at`.
        dropped: Completions taken by each completion rule.
    """

    prompts: pl.DataFrame
    completions: pl.DataFrame
    texts: pl.DataFrame
    dropped: dict[str, int]


def apply_filters(
    completions: pl.DataFrame, filters: Filters, benchmark: Sequence[str], named: Iterable[str] = ()
) -> Candidates:
    """Leave out prompts by source, repetition and contamination, then completions by emptiness and length.

    Args:
        completions: The completions table; its scores are not looked at.
        filters: The rules.
        benchmark: Benchmark prompts to keep out.
        named: Columns that expressions name.
    """
    located = completions.select("row", "prompt_id", "source").with_row_index("at")
    keys = ["row", "prompt_id"]
    prompts = located.group_by(keys).agg(pl.col("source").min(), pl.col("at").min()).sort(keys).with_row_index("group")
    turns = completions.select("prompt_id", *prompt_columns(completions.columns))
    prompts = prompts.with_columns(same_prompts(turns[prompts["at"]]))
    prompts = _exclude_sources(prompts, filters.exclude_sources)
    if filters.duplicate_prompts:
        prompts = _leave_out_duplicates(prompts, completions)
    prompts = _leave_out_contaminated(prompts, turns, filters, benchmark)
    remaining = prompts.filter(pl.col("rule").is_null()).select("group", *keys)
    numbers = [name for name in completions.columns if name == OVERALL or name.startswith(RATING)]
    more = carried(named, completions.columns)
    table = (
        completions.select(*keys, "completion", *numbers, *more, rule=_rule(filters), same=pl.col("response").hash())
        .with_row_index("at")
        .join(remaining, on=keys)
    )
    taken = table["rule"].value_counts()
    counts = dict(zip(taken["rule"].to_list(), taken["count"].to_list(), strict=True))
    table = table.filter(pl.col("rule").is_null())
    return Candidates(
        prompts.drop("at", "shown"),
        table.select("group", "at", "completion", "same", *numbers, *(one.meta.output_name() for one in more)),
        completions.select("prompt_id", "response"),
        {rule: counts.get(rule, 0) for rule in COMPLETION_RULES},
    )


def leave_out_repeats(completions: pl.DataFrame, best: bool = False) -> pl.DataFrame:
    """Keep one of a prompt's completions with the same text.

    Args:
        completions: `group, same, completion, score`, `order` where another score orders the rejected ones, and what
            else expressions read.
        best: Keep that of the highest score, of these that of the highest order, and of these by what else is known of
            them: whatever the order of completions. Otherwise that of the lowest index, as the rules without an
            expression always did.
    """
    repeated = completions.select(pl.struct("group", "same").is_duplicated()).to_series()
    scores = [-pl.col(name) for name in ("score", "order") if name in completions.columns]
    others = [name for name in completions.columns if name == OVERALL or name.startswith((RATING, NAMED))]
    known = [*scores, *map(pl.col, sorted(others))] if best else []
    kept = completions.filter(repeated).sort("group", *known, "completion", nulls_last=True)
    kept = kept.unique(["group", "same"], keep="first", maintain_order=True)
    return pl.concat([completions.filter(~repeated), kept])


def _exclude_sources(prompts: pl.DataFrame, sources: Sequence[str]) -> pl.DataFrame:
    excluded = pl.col("source").is_in(sources)
    return prompts.with_columns(rule=pl.when(excluded).then(pl.lit("excluded_source")))


def _leave_out_duplicates(prompts: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
    """Of rows with the same prompt keep the one whose content has the smallest digest, wherever it stands.

    `same_prompts` says which are the same. Of the same content under prompts that only fold to the same, the folded
    prompt's stays, else the smallest id's; of the same prompt in several sources of a mix that of the first one.
    """
    remaining = prompts.filter(pl.col("rule").is_null())
    repeated = remaining.filter(pl.len().over("folded_id", "shown") > 1)
    if repeated.is_empty():
        return prompts
    rows = completions.join(repeated.select("group", "row", "prompt_id"), on=["row", "prompt_id"])
    digests = {group: digest(sorted(_content(part), key=digest)) for (group,), part in rows.group_by("group")}
    ranked = repeated.with_columns(
        digest=pl.Series([digests[group] for group in repeated["group"]], dtype=pl.String)
    ).sort("folded_id", "digest", pl.col("prompt_id") != pl.col("folded_id"), "prompt_id", "group")
    kept = ranked.unique(["folded_id", "shown"], keep="first", maintain_order=True)["group"]
    lost = ranked["group"].filter(~ranked["group"].is_in(kept.implode()))
    return _mark(prompts, lost, "duplicate_prompt")


def _content(rows: pl.DataFrame) -> list[list[Any]]:
    """Return what each completion of a prompt is, wherever the prompt stands.

    In a mix a source's name is no part of it, nor is what a source lacks and another gave the table a column for: no
    name and no other source says which of two prompts stays.
    """
    place = ("prompt_id", "row", "completion", "instruction", CONTEXT, "group")
    joined = [name for name in rows.columns if name.startswith(NAMED)]  # what is joined moves no other rule
    content = [name for name in rows.columns if name not in (*place, *joined)]
    if CORPUS not in rows.columns:
        return [list(row) for row in rows.select(content).iter_rows()]
    told = rows.select(sorted(name for name in content if name != CORPUS))
    return [[[name, value] for name, value in row.items() if value is not None] for row in told.iter_rows(named=True)]


def _leave_out_contaminated(
    prompts: pl.DataFrame, turns: pl.DataFrame, filters: Filters, benchmark: Sequence[str]
) -> pl.DataFrame:
    """Leave out prompts of which the user's message overlaps, or an earlier one of the user's."""
    if not benchmark:
        return prompts
    remaining = prompts.filter(pl.col("rule").is_null())
    asked = turns[remaining["at"]].with_columns(remaining["group"])
    if CONTEXT in turns.columns:
        earlier = asked.select("group", turn=CONTEXT).explode("turn").drop_nulls().unnest("turn")
        earlier = earlier.filter(pl.col("role") == "user").select("group", instruction="content")
        asked = pl.concat([asked.select("group", "instruction"), earlier])
    shares = overlap(asked["instruction"], benchmark, filters.contamination.ngram)
    return _mark(prompts, asked["group"].filter(shares > filters.contamination.max_overlap), "contaminated")


def _mark(prompts: pl.DataFrame, groups: pl.Series, rule: str) -> pl.DataFrame:
    taken = pl.col("group").is_in(groups.implode())
    return prompts.with_columns(rule=pl.when(taken).then(pl.lit(rule)).otherwise("rule"))


def _rule(filters: Filters) -> pl.Expr:
    """Return the completion rule that takes a completion, or null."""
    chars = pl.col("response").str.len_chars()
    empty = ~pl.col("response").str.contains(r"\S") if filters.empty_responses else pl.lit(False)
    too_long = chars > filters.max_chars if filters.max_chars is not None else pl.lit(False)
    return (
        pl.when(empty)
        .then(pl.lit("empty_response"))
        .when(chars < filters.min_chars)
        .then(pl.lit("below_min_chars"))
        .when(too_long)
        .then(pl.lit("above_max_chars"))
    )
