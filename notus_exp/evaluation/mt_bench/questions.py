"""MT-Bench's questions and reference answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError
from notus_exp.evaluation.kit.published_files import read_objects, refuse_twice, require


class TurnsQuestion(NamedTuple):
    """A question of MT-Bench: its number, category and the user's messages."""

    question_id: int
    prompt_id: str
    category: str
    turns: tuple[str, ...]


def read_turns_questions(path: Path) -> list[TurnsQuestion]:
    """Read MT-Bench's question.jsonl: objects with question_id, category and turns.

    Raises:
        UserError: The file cannot be read, a field is malformed, or a number or a first turn comes twice.
    """
    what = "evaluation.mt_bench.questions"
    found = []
    for number, row in enumerate(read_objects(path, ["question_id", "category", "turns"], what), start=1):
        place = f"{what}: '{path}' record {number}"
        require(row, "question_id", "integer", place)
        require(row, "category", "text", place)
        turns = _turns(row["turns"], place)
        found.append(TurnsQuestion(row["question_id"], prompt_id(turns[0]), row["category"], turns))
    refuse_twice([f"question_id {question.question_id}" for question in found], what, path)
    refuse_twice([question.turns[0] for question in found], what, path)
    return found


def read_turns_references(path: Path, questions: list[TurnsQuestion]) -> dict[str, tuple[str, ...]]:
    """Read reference answers in FastChat's layout: question_id and choices[0].turns.

    Returns:
        Prompt id -> an answer for each turn, of the questions that have one.

    Raises:
        UserError: The file cannot be read, an answer is malformed, or has other turns than its question.
    """
    what = "evaluation.mt_bench.references"
    known = {question.question_id: question for question in questions}
    found = {}
    for number, row in enumerate(read_objects(path, ["question_id", "choices"], what), start=1):
        place = f"{what}: '{path}' record {number}"
        question = known.get(row["question_id"])
        if question is None:
            continue
        if question.prompt_id in found:
            raise UserError(f"{place}: question {question.question_id} has a second reference answer")
        try:
            answers = row["choices"][0]["turns"]
        except (IndexError, KeyError, TypeError) as error:
            raise UserError(f"{place}: it has no choices[0].turns", "the file must have FastChat's layout") from error
        turns = _turns(answers, place)
        if len(turns) != len(question.turns):
            raise UserError(
                f"{place}: {len(turns)} reference answers to the {len(question.turns)} turns of question "
                f"{question.question_id}",
                "give one for each turn, or leave the question's references out",
            )
        found[question.prompt_id] = turns
    return found


def _turns(value: Any, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one.strip() for one in value):
        raise UserError(f"{place}: turns is {ascii(value)[:60]}", "it must be a list of texts")
    for turn in value:
        require({"turn": turn}, "turn", "text", place)
    return tuple(value)
