"""Reading one source of feedback: the reader of its option, and what is done about records that it cannot read."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from notus_exp.config.data_settings import DATA_SCHEMAS, Data, FileData, Mapped, Simulated, data_kind
from notus_exp.errors import UserError, did_you_mean
from notus_exp.feedback import binarised as pairs
from notus_exp.feedback import mapped, prompts_alone, rated, ultrafeedback
from notus_exp.feedback.fitting import FIRST, advice, options_that_read
from notus_exp.feedback.records import Malformed, OnShareRead, Record, read_files, read_hub
from notus_exp.feedback.repeats import REPEATED_PROMPT, TRANSCRIPT
from notus_exp.feedback.serialised import MESSAGES_AS_TEXT
from notus_exp.feedback.table import LayoutError, Parsed, build
from notus_exp.stages.settings import from_json

READERS: dict[str, Callable[[Any, Iterable[Record | Malformed]], Parsed]] = {
    "ultrafeedback": ultrafeedback.read,
    "rated": rated.read,
    "pairs": pairs.read,
    "prompts": prompts_alone.read,
}
SHOWN = 3
"""Malformed rows named in the error; the quarantine file has them all."""


class ReadSource(NamedTuple):
    """What was read of one source.

    Attributes:
        spec: Its settings.
        table: Its completions table.
        counts: What the reader counted; `records` and `bad_rows` at least.
        malformed: The records that are not in the table.
        head: The first records.
    """

    spec: Data
    table: pl.DataFrame
    counts: dict[str, int]
    malformed: list[Malformed]
    head: list[Record]


def spec_of(data: dict[str, Any]) -> Data:
    """Return the settings of an option that `to_json` or `keyed` made plain.

    Raises:
        UserError: No option has this name.
    """
    kind = data_kind(data)
    if kind is None:
        raise UserError(f"data.name is '{data['name']}'", did_you_mean(data["name"], DATA_SCHEMAS))
    return from_json(kind, data)


def read_source(data: dict[str, Any], made_of: str | None, local: list[str], report: OnShareRead) -> ReadSource:
    """Read one source.

    Args:
        data: The settings of its option.
        made_of: The digest of its files or its commit on the hub; None for simulated data.
        local: Its files, in reading order.
        report: Told how far it is.

    Raises:
        UserError: Files or columns that are not there, or a layout that no record has.
    """
    spec = spec_of(data)
    if isinstance(spec, Simulated):
        from notus_exp.feedback.simulated import simulate

        table = simulate(spec)
        return ReadSource(spec, table, {"records": table["row"].n_unique(), "bad_rows": 0}, [], [])
    assert isinstance(spec, FileData)
    head, records = _begun(_records(data, made_of, local, report))
    try:
        parsed = _parsed(spec, records)
    except LayoutError as problem:
        advised = advice(options_that_read(head, _parsed, spec.name))
        raise UserError(problem.message, "; ".join(filter(None, (advised, problem.hint)))) from problem
    counts = {"records": parsed.records, "bad_rows": len(parsed.malformed), **parsed.facts, **_by_rule(parsed)}
    return ReadSource(spec, build(parsed.rows, spec.aspects), counts, parsed.malformed, head)


def check_source(read: ReadSource, quarantine: Path) -> None:
    """Refuse a source with more malformed rows than its `max_bad_rows`, or without a completion.

    Args:
        read: The source.
        quarantine: The file that its malformed rows are in.

    Raises:
        UserError: It is one; where no row is well-formed, with the options that would read the first ones.
    """
    malformed, spec, count = read.malformed, read.spec, read.counts["records"]
    if len(malformed) > spec.max_bad_rows:
        first = "; ".join(f"{row.file}:{row.line}: {row.reason}" for row in malformed[:SHOWN])
        rows = "1 malformed row" if len(malformed) == 1 else f"{len(malformed)} malformed rows"
        remedy = f"mend them, or set data.max_bad_rows={len(malformed)} to go without them"
        if any(row.rule in (REPEATED_PROMPT, TRANSCRIPT) for row in malformed):
            remedy += "; data.repeated_prompts=keep takes answers as they are"
        if len(malformed) == count:
            advised = advice(options_that_read(read.head, _parsed, spec.name))
            remedy = f"none fits data={spec.name}: {advised or _supposed(malformed)}"
        raise UserError(
            f"{rows}, data.max_bad_rows is {spec.max_bad_rows}: {first}",
            f"all with their text: {quarantine}; {remedy}",
        )
    if read.table.is_empty():
        raise UserError(f"the data has no completions ({count} records)", "check data.path or data.hub_id")


def _supposed(malformed: Sequence[Malformed]) -> str:
    """Return what may be wrong with data of which no record is read, by any option."""
    if all(row.rule == MESSAGES_AS_TEXT for row in malformed):
        return "give it conversations as lists, in .jsonl or .parquet, or the texts alone"
    return f"is it UTF-8, or the layout of another option ({', '.join(READERS)})?"


def _parsed(spec: FileData, records: Iterable[Record | Malformed]) -> Parsed:
    return mapped.read(spec, records) if isinstance(spec, Mapped) else READERS[spec.name](spec, records)


def _begun(records: Iterator[Record | Malformed]) -> tuple[list[Record], Iterator[Record | Malformed]]:
    """Return the first records that are any, and all of them."""
    head = list(itertools.islice(records, FIRST))
    return [record for record in head if isinstance(record, Record)], itertools.chain(head, records)


def _records(
    data: dict[str, Any], made_of: str | None, local: list[str], report: OnShareRead
) -> Iterator[Record | Malformed]:
    if local:
        return read_files([Path(file) for file in local], report)
    if made_of is None or not data.get("hub_id"):
        raise ValueError("feedback read from neither files, nor the hub, nor a simulation")
    return read_hub(data["hub_id"], data["hub_split"], made_of, report)


def _by_rule(parsed: Parsed) -> dict[str, int]:
    """Return how many records each rule set aside, and and what was done about how many responses."""
    quarantined = Counter(f"quarantined/{row.rule}" for row in parsed.malformed)
    repeats = Counter(row.repeats for row in parsed.rows if row.repeats)
    return dict(sorted(quarantined.items())) | dict(sorted(repeats.items()))
