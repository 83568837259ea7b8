"""The stage `feedback`: from any source, or several, to the completions table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.config.data_settings import MadeFeedback, Mix
from notus_exp.config.mix_sources import named, told_of
from notus_exp.disk import files
from notus_exp.disk.json_lines import write_lines
from notus_exp.errors import UserError
from notus_exp.feedback import mixing
from notus_exp.feedback.made_table import answers_table, rated_table
from notus_exp.feedback.one_source import check_source, read_source, spec_of
from notus_exp.feedback.prompt_turns import CONTEXT
from notus_exp.feedback.records import Malformed, OnShareRead
from notus_exp.feedback.table import check
from notus_exp.stages.context import Context
from notus_exp.stages.settings import FeedbackSettings


def run(settings: FeedbackSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write `completions.parquet`, and `quarantine.jsonl` where there are malformed rows.

    Args:
        settings: The data group without its place; a hub dataset keeps `hub_id` and `hub_split`.
        inputs: None where feedback is read. Of what is made here `instructions` and `responses_WRITER` each, which
            give the answers; or `answers` and `annotations_ASPECT` each, which give the answers with their ratings.
        out: Folder to write into.
        context: `sources["data"]` has the local files in reading order; nothing for hub and simulated data. Of a mix
            `sources["data/CORPUS"]` has those of a source.

    Returns:
        records, bad_rows, prompts, completions, models and sources (distinct, "" counted as one), missing_overall,
        `na_ratings/ASPECT` each, multi_turn_prompts (where there are any), the counts of the reader, and of each rule
        that took any, `quarantined/RULE` (records) and `stripped/RULE`, `emptied/RULE` (nothing was left) or
        `kept/RULE` (responses). Of a mix also those of each source (see `mixing.counted`), and of what is made here
        those of `made_table.answers_table` and `made_table.rated_table`.

    Raises:
        UserError: More malformed rows than `data.max_bad_rows` (they are in the quarantine file then), no rows at all,
            columns or files that are not there.
    """
    spec = spec_of(settings.data)
    quarantine = out / files.QUARANTINE
    if isinstance(spec, MadeFeedback):
        table, counts = _made(spec, inputs)
    elif isinstance(spec, Mix):
        table, counts = _mix(spec, settings.source_digests, quarantine, context)
    else:
        local = context.sources.get("data", [])
        read = read_source(settings.data, settings.data_digest, local, _reporter(context, 0, 1))
        _write(read.malformed, quarantine)
        check_source(read, quarantine)
        table, counts = read.table, dict[str, Any](read.counts)
    check(table, spec.aspects)
    table.write_parquet(out / files.COMPLETIONS, compression="zstd")
    facts = counts | _facts(table, spec.aspects)
    numbers = {name: float(count) for name, count in facts.items() if isinstance(count, int)}
    context.events.emit(facts["records"], numbers)
    return facts


def _made(spec: MadeFeedback, inputs: dict[str, Path]) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the table of what is made here, and its counts: of answers, or of answers that are rated."""
    if "answers" not in inputs:
        answers = answers_table(inputs, spec.aspects)
        if answers.table.is_empty():
            reasons = "; ".join(f"{reason} ({count})" for reason, count in answers.facts["failed_answers"].items())
            raise UserError(f"no prompt has an answer: {reasons or 'no prompt was asked'}", "look at data.writers")
        return answers
    return rated_table(inputs["answers"], inputs, spec.aspects)


def _mix(
    spec: Mix, digests: Sequence[str | None], quarantine: Path, context: Context
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the table of a mix and its counts; the malformed records of all sources go into one file."""
    sources: list[mixing.MixPart] = []
    malformed: list[Malformed] = []
    for number, (source, made_of) in enumerate(zip(spec.sources, digests, strict=True)):
        corpus = source["corpus"]
        local = context.sources.get(f"data/{corpus}", [])
        with told_of(named(number)):
            read = read_source(source["data"], made_of, local, _reporter(context, number, len(spec.sources)))
            read = read._replace(malformed=[row._replace(file=f"{corpus}/{row.file}") for row in read.malformed])
            malformed += read.malformed
            _write(malformed, quarantine)
            check_source(read, quarantine)
        sources.append(mixing.MixPart(corpus, source["weight"], read.table, read.counts))
    table = mixing.mix(sources, spec.aspects, spec.prompts, spec.seed)
    return table, mixing.counted(sources, table)


def _reporter(context: Context, number: int, sources: int) -> OnShareRead:
    """Return what tells how far the source of this number is, as a share of all."""

    def report(share: float) -> None:
        context.events.progress(int((number + share) / sources * 1000), 1000)

    return report


def _write(malformed: Sequence[Malformed], path: Path) -> None:
    if malformed:  # in ASCII: a malformed row may hold what UTF-8 cannot
        write_lines(path, (row._asdict() for row in malformed))


def _facts(table: pl.DataFrame, aspects: list[str]) -> dict[str, int]:
    facts = {
        "prompts": table["prompt_id"].n_unique(),
        "completions": table.height,
        "models": table["model"].n_unique(),
        "sources": table["source"].n_unique(),
        "missing_overall": table["overall_score"].null_count(),
    }
    if CONTEXT in table.columns:
        facts["multi_turn_prompts"] = table.filter(pl.col(CONTEXT).list.len() > 0)["prompt_id"].n_unique()
    return facts | {f"na_ratings/{aspect}": table[f"rating_{aspect}"].null_count() for aspect in aspects}
