"""A question, the model's answers turn by turn, and the table that holds them.

generations.parquet of an artifact `generations` has one row a turn:

    prompt_id       String       first 16 hex digits of the sha256 of the first turn's instruction
    turn            Int64        from 1
    category        String       the evaluation's own grouping, or ""
    instruction     String       the user's message
    constraints     String       what a program can check in the answer, as JSON
    response        String       the answer
    tokens          Int64        generated tokens without an end token; null where an endpoint does not tell
    truncated       Boolean      it was cut at the limit of tokens
    prompt_ids      List(Int64)  tokens of the templated conversation before it; empty where an endpoint answered
    response_ids    List(Int64)  the generated tokens, with the end token where there is one; likewise empty
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl


class Question(NamedTuple):
    """One conversation to hold.

    Attributes:
        prompt_id: Of the first turn.
        turns: The user's messages, in order; the model answers each with the earlier ones and its answers before it.
        temperature: At which its answers are sampled; 0 is greedy.
        category: The evaluation's own grouping, or "".
        constraints: What a program can check in the answer, as JSON; "[]" where nothing is.
        before: Role and content of the turns that precede the first one, whoever said them.
        system: What the model is told before all of it; None for what the settings say.
    """

    prompt_id: str
    turns: tuple[str, ...]
    temperature: float
    category: str = ""
    constraints: str = "[]"
    before: tuple[tuple[str, str], ...] = ()
    system: str | None = None


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
        tokens: Generated tokens without an end token; None where an endpoint does not tell.
        truncated: It was cut at the limit of tokens.
        prompt_ids: Tokens of the templated conversation before it; empty where an endpoint answered.
        response_ids: The generated tokens, with the end token where there is one; likewise empty.
        endpoint: The address that answered; "" where none did, and of answers from before it was noted. In no table.
        refused: Why there is no answer, nor will be; "" where there is one. In no table.
    """

    response: str
    tokens: int | None
    truncated: bool
    prompt_ids: list[int]
    response_ids: list[int]
    endpoint: str = ""
    refused: str = ""


OF_NO_TABLE = ("endpoint", "refused")


class Conversation(NamedTuple):
    """A question and the model's answers so far."""

    question: Question
    answers: list[Answer]

    def messages(self) -> list[dict[str, str]]:
        """Return the messages up to and with the user's next turn."""
        turns = [{"role": role, "content": said} for role, said in self.question.before]
        for place, text in enumerate(self.question.turns[: len(self.answers) + 1]):
            turns.append({"role": "user", "content": text})
            if place < len(self.answers):
                turns.append({"role": "assistant", "content": self.answers[place].response})
        return turns

    def system(self, default: str | None) -> str | None:
        """Return what the model is told before all of it, where that is not the default."""
        return default if self.question.system is None else self.question.system


AnswerTurn = Callable[[int, list[Conversation]], dict[str, Answer]]
"""Answers the next turn (numbered from 1) of conversations; returns prompt id -> answer."""


def to_table(conversations: list[Conversation]) -> pl.DataFrame:
    """Return the table of `GENERATIONS_SCHEMA`."""
    rows = [
        {
            "prompt_id": question.prompt_id,
            "turn": turn,
            "category": question.category,
            "instruction": question.turns[turn - 1],
            "constraints": question.constraints,
            **{name: value for name, value in answer._asdict().items() if name not in OF_NO_TABLE},
        }
        for question, answers in conversations
        for turn, answer in enumerate(answers, start=1)
    ]
    return pl.DataFrame(rows, schema=GENERATIONS_SCHEMA)


def read_conversations(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return prompt id -> its rows of a `generations.parquet`, turn by turn, in the table's order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in pl.read_parquet(path, glob=False).iter_rows(named=True):
        found.setdefault(row["prompt_id"], []).append(row)
    return found
