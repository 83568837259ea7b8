"""Feedback that is made here as a completions table: writers' answers to prompts, and then what a judge says of them.

responses.parquet of an artifact `responses` has one row a prompt that its writer answers, in the prompts' order:

    prompt_id       String
    place           Int64    which of the prompt's answers it is, from 0: the writers of a prompt are in a drawn order
    principle       String   what the writer was told, in a word; `conversation` where the prompt itself has a system
                             turn, and "" where nothing was told
    system_prompt   String   what it was told, "" for nothing
    response        String   the answer, "" where there is none
    tokens          Int64    written tokens; null where nobody tells
    truncated       Boolean  it was cut at the limit of tokens
    refused         String   why there is no answer, "" where there is one
    quality         Float64  the true quality of a simulated answer; null of others
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from notus_exp.config.made_settings import NO_PRINCIPLE, OVERALL
from notus_exp.disk import files
from notus_exp.feedback.prompt_turns import CONTEXT
from notus_exp.feedback.table import CORPUS, LATENT_QUALITY, schema
from notus_exp.stages.settings import ANNOTATED, WRITTEN

RESPONSES_SCHEMA = pl.Schema(
    {
        "prompt_id": pl.String(),
        "place": pl.Int64(),
        "principle": pl.String(),
        "system_prompt": pl.String(),
        "response": pl.String(),
        "tokens": pl.Int64(),
        "truncated": pl.Boolean(),
        "refused": pl.String(),
        "quality": pl.Float64(),
    }
)
EMPTY = "empty answer"
"""Why an answer is not rated, beside what the judge's own table says."""
_LONGEST = 120
"""Characters of a reason that are counted as one."""
_OF_PROMPT = ("prompt_id", "row", "source", "instruction", "principle", "system_prompt", CONTEXT, CORPUS)


class MadeTable(NamedTuple):
    """A completions table, and counts of how it came to be."""

    table: pl.DataFrame
    facts: dict[str, Any]


def asked_prompts(instructions: Path) -> pl.DataFrame:
    """Return the prompts of a feedback that lies there, each once, in its order.

    Args:
        instructions: Its folder.

    Returns:
        Columns prompt_id, row, source, instruction, principle, system_prompt and, where the feedback has them, context
        and corpus: those of the first completion of each prompt.
    """
    path = instructions / files.COMPLETIONS
    known = pl.scan_parquet(path, glob=False).collect_schema().names()
    table = pl.read_parquet(path, columns=[name for name in _OF_PROMPT if name in known], glob=False)
    return table.unique("prompt_id", keep="first", maintain_order=True)


def answers_table(inputs: Mapping[str, Path], aspects: Sequence[str]) -> MadeTable:
    """Return the completions table of all writers' answers, not yet rated.

    An answer that there is not is left out; an empty one is in the table.

    Args:
        inputs: `instructions`, and each writer's `responses_WRITER`.
        aspects: What they will be rated by.

    Returns:
        The table, with the true quality where all answers have one, and counts: records (prompts that were asked),
        those of `_counted`, `failed/WRITER` (answers left out) and failed_answers (reason -> number).
    """
    writers = {name.removeprefix(WRITTEN): path for name, path in inputs.items() if name.startswith(WRITTEN)}
    given = [
        pl.read_parquet(path / files.RESPONSES, glob=False).with_columns(pl.lit(name).alias("model"))
        for name, path in writers.items()
    ]
    responses = pl.concat(given)
    there = responses.filter(pl.col("refused") == "")
    prompts = asked_prompts(inputs["instructions"]).drop("principle", "system_prompt")
    table = prompts.join(there, on="prompt_id", how="inner").sort("row", "place")
    table = table.with_columns(pl.int_range(pl.len()).over("row").cast(pl.Int64).alias("completion"))
    types = schema(aspects)
    unrated = [
        pl.lit(None, pl.Float64).alias(name) for name in types if name not in table.columns and name != "critique"
    ]
    table = table.with_columns(*unrated, pl.lit("").alias("critique"))
    beside = [name for name in (CONTEXT, CORPUS) if name in table.columns]
    if table.height and not table["quality"].null_count():
        table, beside = table.rename({"quality": LATENT_QUALITY}), [*beside, LATENT_QUALITY]
    facts: dict[str, Any] = {"records": responses["prompt_id"].n_unique(), **_counted(table)}
    for name in writers:
        facts[f"failed/{name}"] = responses.filter((pl.col("model") == name) & (pl.col("refused") != "")).height
    failed = Counter(_short(reason) for reason in responses["refused"].to_list() if reason)
    return MadeTable(table.select(*types, *beside), facts | {"failed_answers": dict(sorted(failed.items()))})


def rated_table(answers: Path, inputs: Mapping[str, Path], aspects: Sequence[str]) -> MadeTable:
    """Return a completions table with what a judge says of each answer.

    Args:
        answers: Folder of the table without ratings.
        inputs: `annotations_ASPECT` each, and `annotations_overall` where there are overall scores and critiques.
        aspects: What is rated.

    Returns:
        The table, and counts: records (its prompts), those of `_counted`, and missing_ratings: of each aspect, and of
        overall, reason -> number of answers without a rating.
    """
    table = pl.read_parquet(answers / files.COMPLETIONS, glob=False)
    missing: dict[str, dict[str, int]] = {}
    for aspect in (*aspects, OVERALL):
        folder = inputs.get(f"{ANNOTATED}{aspect}")
        if folder is None:
            continue
        column = "overall_score" if aspect == OVERALL else f"rating_{aspect}"
        said = pl.read_parquet(folder / files.COLUMNS, glob=False).rename({aspect: column})
        order = table.columns
        table = table.drop(column).join(said, on=["row", "completion"], how="left", maintain_order="left")
        verdicts = pl.read_parquet(folder / files.ANNOTATIONS, glob=False)
        if aspect == OVERALL and "rationale" in verdicts.columns:
            told = verdicts.select("row", "completion", "rationale").unique(["row", "completion"], keep="first")
            table = table.join(told, on=["row", "completion"], how="left", maintain_order="left")
            table = table.with_columns(pl.col("rationale").fill_null("").alias("critique")).drop("rationale")
        table = table.select(order)
        missing[aspect] = _missing(table, column, verdicts)
    return MadeTable(table, {"records": table["row"].n_unique(), **_counted(table), "missing_ratings": missing})


def _counted(table: pl.DataFrame) -> dict[str, int]:
    """Count answers by writer and principle: bad_rows (0), `answers/WRITER`, `empty/WRITER`, `principle/PRINCIPLE`."""
    writers, principles = (Counter(table[name].to_list()) for name in ("model", "principle"))
    empty = Counter(table.filter(pl.col("response").str.strip_chars() == "")["model"].to_list())
    facts = {"bad_rows": 0}
    facts |= {f"answers/{name}": count for name, count in sorted(writers.items())}
    facts |= {f"empty/{name}": empty[name] for name in sorted(writers)}
    return facts | {f"principle/{name or NO_PRINCIPLE}": count for name, count in sorted(principles.items())}


def _missing(table: pl.DataFrame, column: str, verdicts: pl.DataFrame) -> dict[str, int]:
    """Count why answers have no rating: the judge was not asked, or its verdict failed."""
    failed = verdicts.filter(pl.col("value").is_null()).unique(["row", "completion"], keep="first")
    without = table.filter(pl.col(column).is_null()).select("row", "completion")
    reasons = without.join(failed.select("row", "completion", "reason"), on=["row", "completion"], how="left")
    counts = Counter(EMPTY if reason is None else _short(reason) for reason in reasons["reason"].to_list())
    return dict(sorted(counts.items()))


def _short(reason: str) -> str:
    return reason if len(reason) <= _LONGEST else f"{reason[: _LONGEST - 3]}..."
