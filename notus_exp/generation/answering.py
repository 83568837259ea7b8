"""Stage `generations`: a model's answers to the prompts of one evaluation, turn by turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from notus_exp.disk import files
from notus_exp.generation.questions import Question, read_questions
from notus_exp.stages.context import Context
from notus_exp.stages.settings import GenerationsSlice

GENERATIONS_SCHEMA = pl.Schema(
    {
        "prompt_id": pl.String(),
        "turn": pl.Int64(),
        "category": pl.String(),
        "instruction": pl.String(),
        "constraints": pl.String(),
        "response": pl.String(),
        "tokens": pl.Int64(),
        "truncated": pl.Boolean(),
        "prompt_ids": pl.List(pl.Int64),
        "response_ids": pl.List(pl.Int64),
    }
)


class Answer(NamedTuple):
    """What came back for one turn.

    Attributes:
        response: The text.
        tokens: Generated tokens without an end token.
        truncated: It was cut at the limit of tokens.
        prompt_ids: Tokens of the templated conversation before it; empty where an endpoint answered.
        response_ids: The generated tokens, with the end token where there is one; likewise empty.
    """

    response: str
    tokens: int
    truncated: bool
    prompt_ids: list[int]
    response_ids: list[int]


class Conversation(NamedTuple):
    """A question and the model's answers so far."""

    question: Question
    answers: list[Answer]

    def messages(self) -> list[dict[str, str]]:
        """Return the messages up to and with the user's next turn."""
        turns: list[dict[str, str]] = []
        for place, text in enumerate(self.question.turns[: len(self.answers) + 1]):
            turns.append({"role": "user", "content": text})
            if place < len(self.answers):
                turns.append({"role": "assistant", "content": self.answers[place].response})
        return turns


AnswerTurn = Callable[[int, list[Conversation]], dict[str, Answer]]
"""Answers the next turn (numbered from 1) of conversations; returns prompt id -> answer."""


def run(slice: GenerationsSlice, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Answer an evaluation's prompts and write `generations.parquet`, one row a turn, in the prompts' order.

    `prompt_ids` are the templated conversation's tokens, `response_ids` the generated ones with the end token where
    there is one, `tokens` their number without it; an answer without an end token was `truncated`. What is finished is
    kept at once, so a killed attempt goes on where it was.

    Args:
        slice: Which prompts, how long and how hot the answers are, and the precision.
        inputs: Artifacts `base_model`; for a policy's answers `policy`; for `verifiable` `feedback`, whose prompts are
            not asked.
        out: Folder to write into, perhaps with the work of a killed attempt.
        context: Device, batch size, events; the endpoint where one answers.

    Returns:
        Facts: prompts, answers, tokens (generated, without end tokens), truncated, seconds (of this attempt).

    Raises:
        UserError: There are not enough unseen prompts, a prompt and its answer are longer than the model reads, or an
            endpoint does not answer.
    """
    start = time.monotonic()
    questions = read_questions(slice, inputs, context.sources)
    if slice.endpoint_model is None:
        from notus_exp.generation.local import local_answers  # imports torch: not where an endpoint answers

        answer_turn: AnswerTurn = local_answers(slice, inputs, out, context)
    else:
        from notus_exp.generation.served import served_answers

        answer_turn = served_answers(slice, out, context)
    conversations = [Conversation(question, []) for question in questions]
    for turn in range(1, max((len(question.turns) for question in questions), default=0) + 1):
        going_on = [one for one in conversations if len(one.question.turns) >= turn]
        answers = answer_turn(turn, going_on)
        for one in going_on:
            one.answers.append(answers[one.question.prompt_id])
    table = to_table(conversations)
    table.write_parquet(out / files.GENERATIONS)
    for left in out.glob(files.ANSWERS.format("*")):
        left.unlink()
    return {
        "prompts": len(questions),
        "answers": len(table),
        "tokens": int(table["tokens"].sum()),
        "truncated": int(table["truncated"].sum()),
        "seconds": round(time.monotonic() - start, 3),
    }


def to_table(conversations: list[Conversation]) -> pl.DataFrame:
    """Return the table of `GENERATIONS_SCHEMA`."""
    rows = [
        {
            "prompt_id": question.prompt_id,
            "turn": turn,
            "category": question.category,
            "instruction": question.turns[turn - 1],
            "constraints": question.constraints,
            **answer._asdict(),
        }
        for question, answers in conversations
        for turn, answer in enumerate(answers, start=1)
    ]
    return pl.DataFrame(rows, schema=GENERATIONS_SCHEMA)


def read_conversations(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return prompt id -> its rows of a `generations.parquet`, turn by turn, in the table's order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in pl.read_parquet(path).iter_rows(named=True):
        found.setdefault(row["prompt_id"], []).append(row)
    return found
