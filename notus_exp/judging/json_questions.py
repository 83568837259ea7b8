"""Questions that a judge answers in JSON: several answers rated together, or one with feedback and a score."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from notus_exp.chat.messages import Messages
from notus_exp.judging.marks import marks_of
from notus_exp.judging.rubrics import Rubric
from notus_exp.judging.templates import FOLDER, compiled
from notus_exp.judging.verdicts import NOT_APPLICABLE

TOGETHER, CRITIQUE = "together", "critique"
"""Forms of a question, and stems of the templates' names."""


class AnswersToRate(NamedTuple):
    """What one question shows.

    Attributes:
        prompt_id: First 16 hex digits of the sha256 of the instruction.
        instruction: The user's message, with the turns before it.
        responses: The answers, in the order in which they are shown; one for a critique.
        earlier: Feedback that an annotator gave before on the one answer; "" for none.
    """

    prompt_id: str
    instruction: str
    responses: tuple[str, ...]
    earlier: str = ""


class ReadBy(NamedTuple):
    """How the replies to an annotator's questions are read.

    Attributes:
        form: `TOGETHER` or `CRITIQUE`.
        rubric: What is rated by.
        scale: The least and the best rating.
    """

    form: str
    rubric: Rubric
    scale: tuple[float, float]


class JsonQuestion(NamedTuple):
    """What is sent, and by what marks the reply names the answers, in the order shown."""

    messages: Messages
    marks: tuple[str, ...]


def json_question(shown: AnswersToRate, by: ReadBy) -> JsonQuestion:
    """Return the question on answers, each text fenced by a mark that it cannot hold (see `marks`)."""
    texts = [shown.instruction, *shown.responses, *([shown.earlier] if shown.earlier else [])]
    mark, *marks = marks_of(texts)
    named = [{"id": one, "text": text} for one, text in zip(marks, texts[1:], strict=True)]
    answers = named[: len(shown.responses)]
    least, best = (f"{end:g}" for end in by.scale)
    of_form: dict[str, dict[str, Any]] = {
        TOGETHER: {
            "answers": answers,
            "types": by.rubric.types,
            "not_applicable": by.rubric.not_applicable,
        },
        CRITIQUE: {"answer": answers[0], "earlier": named[1] if shown.earlier else None},
    }
    text = compiled(_source(by.form)).render(
        mark=mark,
        instruction=shown.instruction,
        criterion=by.rubric.criterion,
        least=least,
        best=best,
        **of_form[by.form],
    )
    return JsonQuestion([{"role": "user", "content": text}], tuple(marks[: len(shown.responses)]))


def schema_of(by: ReadBy) -> dict[str, Any]:
    """Return the JSON schema of a reply, as `response_format` takes it; it fits the questions on any prompt."""
    of_form: dict[str, Callable[[ReadBy], dict[str, Any]]] = {TOGETHER: _ratings_schema, CRITIQUE: _critique_schema}
    return {
        "type": "json_schema",
        "json_schema": {"name": by.form, "strict": True, "schema": of_form[by.form](by)},
    }


def _ratings_schema(by: ReadBy) -> dict[str, Any]:
    rating: dict[str, Any] = {"type": "integer", "enum": _whole(by.scale)}
    if by.rubric.not_applicable:
        rating = {"anyOf": [rating, {"type": "string", "enum": [NOT_APPLICABLE]}]}
    types = {"types": {"type": "array", "items": {"type": "string", "enum": [*by.rubric.types]}}}
    entry = _object({"id": _TEXT, "rationale": _TEXT, **(types if by.rubric.types else {}), "rating": rating})
    return _object({"answers": {"type": "array", "items": entry}})


def _critique_schema(by: ReadBy) -> dict[str, Any]:
    return _object({"id": _TEXT, "feedback": _TEXT, "overall_score": {"type": "integer", "enum": _whole(by.scale)}})


_TEXT = {"type": "string"}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


def _whole(scale: tuple[float, float]) -> list[int]:
    return [*range(int(scale[0]), int(scale[1]) + 1)]


@cache
def _source(form: str) -> str:
    return (FOLDER / f"{form}.j2").read_text(encoding="utf-8")
