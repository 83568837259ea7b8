"""One record per prompt, without an answer: each becomes a completion whose text is empty, which nothing reads."""

from __future__ import annotations

from collections.abc import Iterable

from notus_exp.config.data_settings import PromptsAlone
from notus_exp.feedback.records import Malformed, Record
from notus_exp.feedback.table import Parsed, Row, check_columns, optional_text, parse_all, required_text


def read(spec: PromptsAlone, records: Iterable[Record | Malformed]) -> Parsed:
    """Return the prompts of records, one completion each.

    Raises:
        UserError: A configured column is in no record.
    """
    found: set[str] = set()

    def parse(record: Record) -> list[Row]:
        found.update(record.value)
        prompt = required_text(record.value.get(spec.prompt_column), spec.prompt_column, filled=True)
        column = spec.source_column
        source = optional_text(record.value.get(column), column) if column else ""
        return [Row(record.row, 0, prompt, "", source, ratings=(None,) * len(spec.aspects))]

    parsed = parse_all(records, parse)
    named = {"prompt_column": spec.prompt_column, "source_column": spec.source_column}
    check_columns({column: f"data.{key}" for key, column in named.items() if column}, found)
    return parsed
