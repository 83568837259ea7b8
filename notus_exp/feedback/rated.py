"""One record per rated completion, such as HelpSteer: records with the same prompt belong together."""

from __future__ import annotations

from collections.abc import Iterable

from notus_exp.config.data_settings import Rated
from notus_exp.feedback.records import Malformed, Record
from notus_exp.feedback.table import (
    Parsed,
    Row,
    check_columns,
    number,
    optional_text,
    parse_all,
    required_text,
    with_answer_alone,
)


def read(spec: Rated, records: Iterable[Record | Malformed]) -> Parsed:
    """Return the completions of rated records, grouped by the text of their prompt.

    `row` is the number of the prompt's first well-formed record, `completion` counts its well-formed records in order
    of appearance, wherever in the data they are. Ratings keep their scale.

    Raises:
        UserError: A configured column is in no record.
    """
    found: set[str] = set()
    first: dict[str, int] = {}
    count: dict[str, int] = {}

    def parse(record: Record) -> list[Row]:
        found.update(record.value)
        row = _row(spec, record)
        first.setdefault(row.instruction, record.row)
        number_ = count.get(row.instruction, 0)
        count[row.instruction] = number_ + 1
        return [row._replace(row=first[row.instruction], completion=number_)]

    parsed = parse_all(records, parse)
    check_columns(_columns(spec), found)
    return parsed


def _row(spec: Rated, record: Record) -> Row:
    value = record.value

    def text(column: str | None) -> str:
        return optional_text(value.get(column), column) if column else ""

    row = Row(
        row=record.row,
        completion=0,
        instruction=required_text(value.get(spec.prompt_column), spec.prompt_column, filled=True),
        response=required_text(value.get(spec.response_column), spec.response_column),
        source=text(spec.source_column),
        model=text(spec.model_column),
        ratings=tuple(number(value.get(aspect), aspect) for aspect in spec.aspects),
        overall_score=number(value.get(spec.overall_column), spec.overall_column) if spec.overall_column else None,
        critique=text(spec.critique_column),
    )
    return with_answer_alone(row, spec.response_column, spec.repeated_prompts)


def _columns(spec: Rated) -> dict[str, str]:
    named = {
        "prompt_column": spec.prompt_column,
        "response_column": spec.response_column,
        "model_column": spec.model_column,
        "source_column": spec.source_column,
        "overall_column": spec.overall_column,
        "critique_column": spec.critique_column,
    }
    columns = dict.fromkeys(spec.aspects, "data.aspects")
    return columns | {column: f"data.{key}" for key, column in named.items() if column}
