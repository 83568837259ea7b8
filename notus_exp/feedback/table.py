"""The completions table: its schema, the parsing of single values, and building it from parsed records.

completions.parquet of the artifact `feedback` has one row a completion, ordered by (row, completion), columns in this
order:

    prompt_id           String   first 16 hex digits of the sha256 of the instruction (UTF-8)
    row                 Int64    number of the raw record in its source, from 0: with `completion` it traces a pair back
    source              String   dataset that the prompt is from, "" where unknown
    instruction         String   the user's message, of several the last one
    completion          Int64    index within the record, from 0
    model               String   who wrote it, "" where unknown
    principle           String   what the writer was told, in a word, "" where unknown; `conversation` where the data
                                 itself was a conversation with a system turn: only then does that enter the prompt
    system_prompt       String   what the writer was told, "" where unknown
    response            String   the text
    rating_<aspect>     Float64  one an aspect of the config, null where it was not given
    overall_score       Float64  null where missing
    critique            String   "" where missing
    context             List     of structs {role, content}: the turns before the user's message, without the system
                                 turn, [] where there are none; only where some prompt has any
    corpus              String   which source of a mix, by its name; only where the data is a mix
    latent_quality      Float64  simulated data only; curation never reads it

The prompt id of a prompt with earlier turns is that of all of them (`hashing.prompt_id`).

Beside it lies quarantine.jsonl where there were malformed records: file, number of line or record, reason, raw text,
and the name of the rule that set the record aside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import polars as pl

from notus_exp.config.data_settings import RepeatedPrompts
from notus_exp.disk import given
from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError, did_you_mean
from notus_exp.feedback.prompt_turns import CONTEXT, TURNS
from notus_exp.feedback.records import Malformed, Record
from notus_exp.feedback.repeats import answer_alone
from notus_exp.feedback.serialised import MESSAGES_AS_TEXT, as_text, holds_messages

CORPUS = "corpus"
"""Column that only a mix has: the name of the source."""
LATENT_QUALITY = "latent_quality"
"""Column that only simulated data has, after all others."""
MISSING = ("", "n/a", "nan")
"""Texts (in lower case) that stand for a rating that was not given."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


WRONG_FIELD, UNUSABLE_NUMBER = "wrong_field", "unusable_number"
"""Rules by which a record is set aside for one of its fields."""


class RowError(Exception):
    """A record that cannot be used; the text says why, naming the field and its value.

    Args:
        reason: Why.
        rule: Name of the rule that sets the record aside.
    """

    def __init__(self, reason: str, rule: str = WRONG_FIELD) -> None:
        super().__init__(reason)
        self.rule = rule


class LayoutError(UserError):
    """The data has another layout than the one that was chosen: a field that is named is in no record."""


class Row(NamedTuple):
    """One completion; the fields are the table's columns, with `ratings` in the order of the aspects.

    `repeats` is no column: `stripped/RULE`, `emptied/RULE` (nothing was left) or `kept/RULE` of a response that was
    not the answer alone, else "". `context` has the role and the content of each earlier turn.
    """

    row: int
    completion: int
    instruction: str
    response: str
    source: str = ""
    model: str = ""
    principle: str = ""
    system_prompt: str = ""
    ratings: tuple[float | None, ...] = ()
    overall_score: float | None = None
    critique: str = ""
    context: tuple[tuple[str, str], ...] = ()
    repeats: str = ""


class Parsed(NamedTuple):
    """What a reader made of a source.

    Attributes:
        rows: The completions.
        malformed: The records that are not in `rows`.
        records: How many raw records there were, malformed ones included.
        facts: Counts that only this reader has.
    """

    rows: list[Row]
    malformed: list[Malformed]
    records: int
    facts: dict[str, int]


def schema(aspects: Sequence[str]) -> dict[str, pl.DataType]:
    """Return the table's columns in order with their types (without `corpus` and `latent_quality`)."""
    columns: dict[str, pl.DataType] = {"prompt_id": pl.String(), "row": pl.Int64(), "source": pl.String()}
    columns |= {"instruction": pl.String(), "completion": pl.Int64()}
    columns |= {name: pl.String() for name in ("model", "principle", "system_prompt", "response")}
    columns |= {f"rating_{aspect}": pl.Float64() for aspect in aspects}
    return columns | {"overall_score": pl.Float64(), "critique": pl.String()}


def build(rows: Sequence[Row], aspects: Sequence[str]) -> pl.DataFrame:
    """Return the completions table of parsed rows, ordered by (row, completion)."""
    ids = {prompt: prompt_id(*prompt) for prompt in {(row.instruction, row.context) for row in rows}}
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in _PLAIN}
    columns["prompt_id"] = [ids[row.instruction, row.context] for row in rows]
    for index, aspect in enumerate(aspects):
        columns[f"rating_{aspect}"] = [row.ratings[index] for row in rows]
    types = schema(aspects)
    if any(row.context for row in rows):
        columns[CONTEXT] = [[{"role": role, "content": said} for role, said in row.context] for row in rows]
        types |= {CONTEXT: TURNS}
    series = [pl.Series(name, columns[name], dtype=dtype, strict=True) for name, dtype in types.items()]
    return pl.DataFrame(series).sort("row", "completion")


_PLAIN = [name for name in Row._fields if name not in ("ratings", CONTEXT, "repeats")]


def check(table: pl.DataFrame, aspects: Sequence[str]) -> None:
    """Check that a table keeps the contract that every later stage relies on.

    Raises:
        ValueError: It does not, which is a mistake of the code that built the table, not of the user.
    """
    expected = schema(aspects)
    if CONTEXT in table.columns:
        expected[CONTEXT] = TURNS
    if CORPUS in table.columns:
        expected[CORPUS] = pl.String()
    if LATENT_QUALITY in table.columns:
        expected[LATENT_QUALITY] = pl.Float64()
    if dict(table.schema) != expected or table.columns != list(expected):
        raise ValueError(f"the completions table has the columns {dict(table.schema)}, expected {expected}")
    full = [name for name in expected if not name.startswith("rating_") and name != "overall_score"]
    holes = [name for name in full if table[name].null_count()]
    if holes:
        raise ValueError(f"the completions table has nulls in {holes}")
    if table.select(pl.struct("row", "completion").is_duplicated().any()).item():
        raise ValueError("the completions table has two rows with the same (row, completion)")
    turns = [CONTEXT] if CONTEXT in table.columns else []
    prompts = table.select("prompt_id", "instruction", *turns).unique()
    if any(prompt_id(text, _pairs(*context)) != made for made, text, *context in prompts.iter_rows()):
        raise ValueError("the completions table has a prompt id that is not the hash of its turns")


def _pairs(context: Sequence[dict[str, str]] = ()) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in context]


def parse_all(records: Iterable[Record | Malformed], parse: Callable[[Record], list[Row]]) -> Parsed:
    """Apply `parse` to each record; a record for which it raises `RowError` is set aside with the reason."""
    rows: list[Row] = []
    malformed: list[Malformed] = []
    count = 0
    for record in records:
        count += 1
        if isinstance(record, Malformed):
            malformed.append(record)
            continue
        try:
            rows += parse(record)
        except RowError as problem:
            malformed.append(record.malformed(str(problem), problem.rule))
    return Parsed(rows, malformed, count, {})


def with_answer_alone(row: Row, name: str, repeated: RepeatedPrompts) -> Row:
    """Return a completion without what its response repeats of the prompt (see repeats.py).

    Args:
        row: The completion.
        name: The response's field, for the message.
        repeated: What is done about it; what is kept is counted all the same.

    Raises:
        RowError: With `strip`: the response is not the answer alone, and what belongs to it is not certain.
    """
    answer = answer_alone(row.instruction, row.response)
    rule = answer.stripped or answer.rule
    if not rule:
        return row
    if repeated is RepeatedPrompts.keep:
        return row._replace(repeats=f"kept/{rule}")
    if answer.reason:
        raise RowError(f"{name} {answer.reason}", answer.rule)
    done = "stripped" if answer.text.strip() else "emptied"
    return row._replace(response=answer.text, repeats=f"{done}/{rule}")


def number(value: Any, name: str) -> float | None:
    """Return a rating or score as a float, or None where it is "N/A", empty or missing, as NaN is too.

    Args:
        value: A number, or a text that holds one.
        name: The field, for the message.

    Raises:
        RowError: Anything else: true and false, infinities, and numbers beyond `given.LARGEST`.
    """
    if _missing(value):
        return None
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in MISSING:
            return None
        if _NUMBER.fullmatch(text):
            value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not given.usable(value):
        expected = f'expected one from -{given.LARGEST:.0e} to {given.LARGEST:.0e}, or "N/A"'
        raise RowError(f"{name} is {_shown(value)}, which is not a usable number: {expected}", UNUSABLE_NUMBER)
    return float(value)


def optional_text(value: Any, name: str) -> str:
    """Return a text, "" where it is missing.

    Raises:
        RowError: It is not text, or holds half of a surrogate pair, which UTF-8 cannot hold.
    """
    if _missing(value):
        return ""
    if not isinstance(value, str):
        raise RowError(f"{name} is {_shown(value)}, expected text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as problem:
            raise RowError(f"{name} has half a surrogate pair at character {problem.start}") from problem
    return value


def required_text(value: Any, name: str, *, filled: bool = False) -> str:
    """Return what somebody said: a text that must be there, and with `filled` must not be blank.

    Raises:
        RowError: It is missing, blank where it must not be, not text, or a text that holds messages.
    """
    if _missing(value):
        raise RowError(f"{name} is missing")
    text = optional_text(value, name)
    if filled and not text.strip():
        raise RowError(f"{name} is empty")
    if holds_messages(text):
        raise RowError(as_text(name), MESSAGES_AS_TEXT)
    return text


def check_columns(wanted: dict[str, str], found: set[str]) -> None:
    """Check that each configured column is in the data.

    Args:
        wanted: Column -> the config key that names it.
        found: The fields that any record has; empty where no record could be read, and nothing is checked then.

    Raises:
        LayoutError: Naming the key, the column, the nearest one and those found.
    """
    missing = [column for column in wanted if column not in found]
    if found and missing:
        named = ", ".join(f"{wanted[column]}='{column}'" for column in missing)
        near = did_you_mean(missing[0], found)
        near = f"{near} " if near.startswith("did") else ""
        raise LayoutError(f"no record has the column {named}", f"{near}columns found: {', '.join(sorted(found))}")


def _missing(value: Any) -> bool:
    """Say whether a field was not given: NaN is what data frames write in its place, for texts too."""
    return value is None or (isinstance(value, float) and value != value)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
