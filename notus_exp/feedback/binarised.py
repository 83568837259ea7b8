"""Already binarised preferences: a prompt with a chosen and a rejected answer, as texts or as conversations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from notus_exp.config.data_settings import Pairs
from notus_exp.errors import UserError
from notus_exp.feedback.prompt_turns import CONVERSATION
from notus_exp.feedback.records import Malformed, Record
from notus_exp.feedback.table import (
    Parsed,
    Row,
    RowError,
    check_columns,
    number,
    optional_text,
    parse_all,
    required_text,
    with_answer_alone,
)


class Turns(NamedTuple):
    """A system message, a user's message and an answer; None for a turn that is not there."""

    system: str | None
    user: str | None
    answer: str | None


def read(spec: Pairs, records: Iterable[Record | Malformed]) -> Parsed:
    """Return two completions a record: 0 is the chosen one, 1 the rejected one.

    Prompt, chosen and rejected are each a text or a list of `{role, content}` messages; chosen and rejected may repeat
    the prompt's turns, which must then be the same; what an answer itself repeats of the prompt is stripped. A system
    turn (an empty one too) goes to `system_prompt`, and `principle` is then "conversation": for this reader alone it is
    part of the prompt. Only single-turn prompts are read. The scores become `overall_score`: 1 and 0 without score
    columns.
    Scores that contradict the labels, and equal ones, are kept and counted as `contradicting_scores` and `tied_scores`:
    curation goes by the scores.

    Raises:
        UserError: A configured column is in no record, only one score column is set, or aspects are given.
    """
    if spec.aspects:
        raise UserError(f"data.aspects is {spec.aspects}, but data=pairs has no ratings", "leave data.aspects empty")
    if (spec.chosen_score_column is None) != (spec.rejected_score_column is None):
        hint = "set both or neither: a score and a label are not on one scale"
        raise UserError("only one of data.chosen_score_column and data.rejected_score_column is set", hint)
    found: set[str] = set()
    contradicting = tied = 0

    def parse(record: Record) -> list[Row]:
        nonlocal contradicting, tied
        found.update(record.value)
        chosen, rejected = _rows(spec, record)
        better, worse = chosen.overall_score, rejected.overall_score
        if better is not None and worse is not None:
            contradicting += better < worse
            tied += better == worse
        return [chosen, rejected]

    parsed = parse_all(records, parse)
    check_columns(_columns(spec), found)
    return parsed._replace(facts={"contradicting_scores": contradicting, "tied_scores": tied})


def _rows(spec: Pairs, record: Record) -> tuple[Row, Row]:
    value = record.value
    prompt = _prompt(value.get(spec.prompt_column), spec.prompt_column)
    chosen = _answer(value.get(spec.chosen_column), spec.chosen_column)
    rejected = _answer(value.get(spec.rejected_column), spec.rejected_column)
    user = _agreed([prompt.user, chosen.user, rejected.user], "user")
    system = _agreed([prompt.system, chosen.system, rejected.system], "system")
    row = Row(
        row=record.row,
        completion=0,
        instruction=required_text(user, spec.prompt_column, filled=True),
        response=required_text(chosen.answer, spec.chosen_column),
        source=optional_text(value.get(spec.source_column), spec.source_column) if spec.source_column else "",
        principle="" if system is None else CONVERSATION,
        system_prompt=system or "",
        overall_score=_score(value, spec.chosen_score_column, 1.0),
    )
    worse = row._replace(
        completion=1,
        response=required_text(rejected.answer, spec.rejected_column),
        overall_score=_score(value, spec.rejected_score_column, 0.0),
    )
    return (
        with_answer_alone(row, spec.chosen_column, spec.repeated_prompts),
        with_answer_alone(worse, spec.rejected_column, spec.repeated_prompts),
    )


def _score(value: dict[str, Any], column: str | None, label: float) -> float | None:
    return label if column is None else number(value.get(column), column)


def _prompt(value: Any, name: str) -> Turns:
    if not isinstance(value, list):
        return Turns(None, required_text(value, name), None)
    turns = _conversation(value, name)
    if turns.user is None or turns.answer is not None:
        raise RowError(f"{name} does not end with a user's message")
    return turns


def _answer(value: Any, name: str) -> Turns:
    if not isinstance(value, list):
        return Turns(None, None, required_text(value, name))
    turns = _conversation(value, name)
    if turns.answer is None:
        raise RowError(f"{name} does not end with an assistant's message")
    return turns


def _conversation(messages: list[Any], name: str) -> Turns:
    """Return the turns of a list of messages: at most one of each role, in the order system, user, assistant."""
    order = ("system", "user", "assistant")
    turns: dict[str, str] = {}
    for index, message in enumerate(messages):
        place = f"{name}[{index}]"
        if not isinstance(message, dict):
            raise RowError(f"{place} is not a message with role and content")
        role = message.get("role")
        if role not in order:
            raise RowError(f"{place}.role is {role!r}, expected one of {', '.join(order)}")
        if role in turns and role != "system":
            raise RowError(f"{name} has several {role} turns: multi-turn prompts are not supported")
        if any(order.index(earlier) >= order.index(role) for earlier in turns):
            raise RowError(f"{place} is a {role} turn out of order")
        turns[role] = required_text(message.get("content"), f"{place}.content")
    return Turns(*(turns.get(role) for role in order))


def _agreed(texts: list[str | None], role: str) -> str | None:
    given = [text for text in texts if text is not None]
    if len(set(given)) > 1:
        raise RowError(f"prompt, chosen and rejected have different {role} messages")
    return given[0] if given else None


def _columns(spec: Pairs) -> dict[str, str]:
    named = {
        "prompt_column": spec.prompt_column,
        "chosen_column": spec.chosen_column,
        "rejected_column": spec.rejected_column,
        "chosen_score_column": spec.chosen_score_column,
        "rejected_score_column": spec.rejected_score_column,
        "source_column": spec.source_column,
    }
    return {column: f"data.{key}" for key, column in named.items() if column}
