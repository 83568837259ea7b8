"""OpenBMB's UltraFeedback: one record a prompt, with its completions and their annotations.

The files differ: an aspect's annotation is an object or a list of one, ratings are texts, "N/A" or missing, `models`
is in another order than `completions`, and scores, critiques or all annotations may be absent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from notus_exp.config.data_settings import UltraFeedback
from notus_exp.errors import did_you_mean
from notus_exp.feedback.records import Malformed, Record
from notus_exp.feedback.table import (
    LayoutError,
    Parsed,
    Row,
    RowError,
    number,
    optional_text,
    parse_all,
    required_text,
    with_answer_alone,
)


def read(spec: UltraFeedback, records: Iterable[Record | Malformed]) -> Parsed:
    """Return the completions of UltraFeedback records.

    A record is used as a whole or not at all. One whose list of completions is empty (the original data has such) is
    not malformed: there is nothing to curate, and it is counted as `records_without_completions`. The record's
    `fine-grained_score` is not read: it is a mean of the ratings.

    Raises:
        LayoutError: An aspect of `data.aspects` is in no record while the records rate other aspects.
    """
    found: set[str] = set()
    without = 0

    def parse(record: Record) -> list[Row]:
        nonlocal without
        rows = _rows(record, spec, found)
        without += not rows
        return rows

    parsed = parse_all(records, parse)
    _check_aspects(spec.aspects, found)
    return parsed._replace(facts={"records_without_completions": without})


def _rows(record: Record, spec: UltraFeedback, found: set[str]) -> list[Row]:
    value = record.value
    instruction = required_text(value.get("instruction"), "instruction", filled=True)
    source = optional_text(value.get("source"), "source")
    completions = value.get("completions")
    if not isinstance(completions, list):
        raise RowError("completions is missing" if completions is None else "completions is not a list")
    rows = []
    for index, completion in enumerate(completions):
        name = f"completions[{index}]"
        if not isinstance(completion, dict):
            raise RowError(f"{name} is not an object")
        row = Row(
            row=record.row,
            completion=index,
            instruction=instruction,
            response=required_text(completion.get("response"), f"{name}.response"),
            source=source,
            model=_model(completion, value.get("models"), index, len(completions)),
            principle=optional_text(completion.get("principle"), f"{name}.principle"),
            system_prompt=optional_text(completion.get("custom_system_prompt"), f"{name}.custom_system_prompt"),
            ratings=_ratings(completion, spec.aspects, found, name),
            overall_score=number(completion.get("overall_score"), f"{name}.overall_score"),
            critique=optional_text(completion.get("critique"), f"{name}.critique"),
        )
        rows.append(with_answer_alone(row, f"{name}.response", spec.repeated_prompts))
    return rows


def _model(completion: dict[str, Any], models: Any, index: int, count: int) -> str:
    """Return the completion's own model; the record's list counts only without one, and only where it can match."""
    own = optional_text(completion.get("model"), f"completions[{index}].model")
    if own or not isinstance(models, list) or len(models) != count:
        return own
    return optional_text(models[index], f"models[{index}]")


def _ratings(completion: dict[str, Any], aspects: list[str], found: set[str], name: str) -> tuple[float | None, ...]:
    annotations = _single(completion.get("annotations"), f"{name}.annotations")
    found.update(annotations)
    ratings = []
    for aspect in aspects:
        place = f"{name}.annotations.{aspect}"
        ratings.append(number(_single(annotations.get(aspect), place).get("Rating"), f"{place}.Rating"))
    return tuple(ratings)


def _single(value: Any, name: str) -> dict[str, Any]:
    """Return an object that may be wrapped in a list of one; an empty one where it is missing."""
    if isinstance(value, list):
        if len(value) > 1:
            raise RowError(f"{name} has {len(value)} entries, expected one")
        value = value[0] if value else None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RowError(f"{name} is not an object")
    return value


def _check_aspects(aspects: list[str], found: set[str]) -> None:
    """Refuse a misspelt aspect: it would read as a rating that is always missing.

    Data that merely lacks an aspect (nothing that it rates is outside `aspects`) is taken as it is.
    """
    others = found - set(aspects)
    for aspect in aspects:
        if aspect not in found and others:
            near = did_you_mean(aspect, others)
            near = f"{near} " if near.startswith("did") else ""
            raise LayoutError(
                f"data.aspects: no record rates '{aspect}'", f"{near}aspects found: {', '.join(sorted(found))}"
            )
