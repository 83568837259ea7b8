"""A conversation with one or two models, each of which sees its own earlier answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError
from notus_exp.generation.conversation import Answer, Conversation, Question

Waiting = Callable[[str], AbstractContextManager[Any]]
"""Shows, within its block, that something goes on."""


class Manner(NamedTuple):
    """How answers are asked for: at which temperature (0 is greedy), of how many tokens at most, by which seed."""

    temperature: float
    max_new_tokens: int
    seed: int


class Answerer(Protocol):
    """Who answers: a `voices.Voice`, which imports torch."""

    def encode(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the tokens of a conversation.

        Raises:
            UserError: It cannot be answered.
        """
        ...

    def answer(self, prompt_id: str, turn: int, ids: list[int], manner: Manner) -> Answer:
        """Return the answer to the tokens of a conversation, the turn's number being from 1."""
        ...


class AnsweredPrompt(NamedTuple):
    """A prompt and its answers.

    Attributes:
        conversation: Its number, from 1.
        turn: Within the conversation, from 1.
        prompt: The user's message.
        answers: Of each voice, by its name.
    """

    conversation: int
    turn: int
    prompt: str
    answers: dict[str, Answer]


class Dialogue:
    """Conversations with the same models, one after the other.

    Args:
        voices: Who answers, by name.
        manner: How they are asked.
        fresh: Every prompt begins a conversation of its own.
    """

    def __init__(self, voices: Mapping[str, Answerer], manner: Manner, *, fresh: bool = False) -> None:
        self._voices, self._manner, self._fresh = voices, manner, fresh
        self._conversation = 1
        self.exchanges: list[AnsweredPrompt] = []

    def ask(self, prompt: str, waiting: Waiting = lambda what: nullcontext()) -> AnsweredPrompt:
        """Ask all voices and return what they say; where one cannot be asked, or is stopped, nothing is added.

        Raises:
            UserError: The prompt is no text, or with what was said before it is longer than a model reads.
        """
        if any("\ud800" <= letter <= "\udfff" for letter in prompt):
            raise UserError("the prompt is not UTF-8", "write it in UTF-8")
        if self._fresh:
            self.reset()
        said = [one for one in self.exchanges if one.conversation == self._conversation]
        prompts = (*(one.prompt for one in said), prompt)
        whole = Question(prompt_id(prompts[0]), prompts, self._manner.temperature)
        encoded = {
            name: voice.encode([*Conversation(whole, [one.answers[name] for one in said]).messages()])
            for name, voice in self._voices.items()
        }
        answers = {}
        for name, ids in encoded.items():
            with waiting(f"{name} answers"):
                answers[name] = self._voices[name].answer(whole.prompt_id, len(prompts), ids, self._manner)
        self.exchanges.append(AnsweredPrompt(self._conversation, len(prompts), prompt, answers))
        return self.exchanges[-1]

    def reset(self) -> None:
        """Begin a new conversation, in which nothing was said."""
        if self.exchanges and self.exchanges[-1].conversation == self._conversation:
            self._conversation += 1

    def save(self, path: Path, told: Mapping[str, Any]) -> int:
        """Write all that was said as JSON lines, one a prompt; return how many.

        Args:
            path: A file that is not there yet.
            told: What stands in every line besides.

        Raises:
            UserError: There is such a file, or it cannot be written.
        """
        lines = [
            {
                **told,
                **self._manner._asdict(),
                "conversation": one.conversation,
                "turn": one.turn,
                "prompt": one.prompt,
                **{name: answer.response for name, answer in one.answers.items()},
                "truncated": [name for name, answer in one.answers.items() if answer.truncated],
            }
            for one in self.exchanges
        ]
        try:
            with path.open("x", encoding="utf-8") as stream:
                stream.writelines(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
        except FileExistsError as error:
            raise UserError(f"{path} is there already", "give the name of a new file") from error
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}", "give another place") from error
        return len(lines)
