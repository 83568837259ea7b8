"""The stage `feedback`: from any source to the completions table."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.config.data_settings import DATA_SCHEMAS, Data, FileData, Mapped, Simulated, data_kind
from notus_exp.disk import files
from notus_exp.disk.json_lines import write_lines
from notus_exp.errors import UserError, did_you_mean
from notus_exp.feedback import binarised as pairs
from notus_exp.feedback import mapped, rated, ultrafeedback
from notus_exp.feedback.fitting import FIRST, advice, options_that_read
from notus_exp.feedback.prompt_turns import CONTEXT
from notus_exp.feedback.records import Malformed, Record, read_files, read_hub
from notus_exp.feedback.repeats import REPEATED_PROMPT, TRANSCRIPT
from notus_exp.feedback.table import LayoutError, Parsed, build, check
from notus_exp.stages.context import Context
from notus_exp.stages.settings import FeedbackSettings, from_json

READERS: dict[str, Callable[[Any, Iterable[Record | Malformed]], Parsed]] = {
    "ultrafeedback": ultrafeedback.read,
    "rated": rated.read,
    "pairs": pairs.read,
}
SHOWN = 3
"""Malformed rows named in the error; the quarantine file has them all."""


def run(settings: FeedbackSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write `completions.parquet`, and `quarantine.jsonl` where there are malformed rows.

    Args:
        settings: The data group without its place; a hub dataset keeps `hub_id` and `hub_split`.
        inputs: None: this is the first stage.
        out: Folder to write into.
        context: `sources["data"]` has the local files in reading order; nothing for hub and simulated data.

    Returns:
        records, bad_rows, prompts, completions, models and sources (distinct, "" counted as one), missing_overall,
        `na_ratings/ASPECT` each, multi_turn_prompts (where there are any), the counts of the reader, and of each rule
        that took any, `quarantined/RULE` (records) and `stripped/RULE`, `emptied/RULE` (nothing was left) or
        `kept/RULE` (responses).

    Raises:
        UserError: More malformed rows than `data.max_bad_rows` (they are in the quarantine file then), no rows at all,
            columns or files that are not there.
    """
    spec = _spec(settings.data)
    if isinstance(spec, Simulated):
        from notus_exp.feedback.simulated import simulate

        table = simulate(spec)
        counts = {"records": table["row"].n_unique(), "bad_rows": 0}
    else:
        assert isinstance(spec, FileData)
        head, records = _begun(_records(settings, context))
        try:
            parsed = _parsed(spec, records)
        except LayoutError as problem:
            advised = advice(options_that_read(head, _parsed, spec.name))
            raise UserError(problem.message, "; ".join(filter(None, (advised, problem.hint)))) from problem
        _quarantine(parsed, out / files.QUARANTINE, spec, head)
        table = build(parsed.rows, spec.aspects)
        counts = {"records": parsed.records, "bad_rows": len(parsed.malformed), **parsed.facts, **_by_rule(parsed)}
    if table.is_empty():
        raise UserError(f"the data has no completions ({counts['records']} records)", "check data.path or data.hub_id")
    check(table, spec.aspects)
    table.write_parquet(out / files.COMPLETIONS, compression="zstd")
    facts = counts | _facts(table, spec.aspects)
    context.events.emit(facts["records"], {name: float(count) for name, count in facts.items()})
    return facts


def _parsed(spec: FileData, records: Iterable[Record | Malformed]) -> Parsed:
    return mapped.read(spec, records) if isinstance(spec, Mapped) else READERS[spec.name](spec, records)


def _begun(records: Iterator[Record | Malformed]) -> tuple[list[Record], Iterator[Record | Malformed]]:
    """Return the first records that are any, and all of them."""
    head = list(itertools.islice(records, FIRST))
    return [record for record in head if isinstance(record, Record)], itertools.chain(head, records)


def _spec(data: dict[str, Any]) -> Data:
    kind = data_kind(data)
    if kind is None:
        raise UserError(f"data.name is '{data['name']}'", did_you_mean(data["name"], DATA_SCHEMAS))
    return from_json(kind, data)


def _records(settings: FeedbackSettings, context: Context) -> Iterator[Record | Malformed]:
    def report(share: float) -> None:
        context.events.progress(int(share * 1000), 1000)

    local = context.sources.get("data", [])
    if local:
        return read_files([Path(file) for file in local], report)
    if settings.data_digest is None or not settings.data.get("hub_id"):
        raise ValueError("feedback read from neither files, nor the hub, nor a simulation")
    return read_hub(settings.data["hub_id"], settings.data["hub_split"], settings.data_digest, report)


def _quarantine(parsed: Parsed, path: Path, spec: FileData, head: list[Record]) -> None:
    """Write the malformed rows; raise if there are more than `data.max_bad_rows`, naming what reads the first ones."""
    malformed, most = parsed.malformed, spec.max_bad_rows
    if not malformed:
        return
    write_lines(path, (row._asdict() for row in malformed))  # in ASCII: a malformed row may hold what UTF-8 cannot
    if len(malformed) > most:
        first = "; ".join(f"{row.file}:{row.line}: {row.reason}" for row in malformed[:SHOWN])
        rows = "1 malformed row" if len(malformed) == 1 else f"{len(malformed)} malformed rows"
        remedy = f"mend them, or set data.max_bad_rows={len(malformed)} to go without them"
        if any(row.rule in (REPEATED_PROMPT, TRANSCRIPT) for row in malformed):
            remedy += "; data.repeated_prompts=keep takes answers as they are"
        if len(malformed) == parsed.records:
            advised = advice(options_that_read(head, _parsed, spec.name))
            others = advised or f"is it UTF-8, or the layout of another option ({', '.join(READERS)})?"
            remedy = f"none fits data={spec.name}: {others}"
        raise UserError(f"{rows}, data.max_bad_rows is {most}: {first}", f"all with their text: {path}; {remedy}")


def _by_rule(parsed: Parsed) -> dict[str, int]:
    """Return how many records each rule set aside, and and what was done about how many responses."""
    quarantined = Counter(f"quarantined/{row.rule}" for row in parsed.malformed)
    repeats = Counter(row.repeats for row in parsed.rows if row.repeats)
    return dict(sorted(quarantined.items())) | dict(sorted(repeats.items()))


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
