"""The settings of `data.mapping`: where in a raw record its prompt, its completions and their scores are.

A PATH is the name of a field. A dot goes into an object or, with a number, to an item of a list (`-1` is the last one);
`*`, at most once, is every item of a list: `metadata.score`, `conversations.0.value`, `answers.*.text`. A name that has
a dot itself is found too. `PATH or none` may be in no record at all. A SCORE is a path to a number, to true or false (1
and 0) or to "N/A"; `-PATH` is its negative, such as of a rank, and `PATH is VALUE` is 1 where the field is that value,
else 0.
"""

# mypy: disable-error-code="misc"
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from notus_exp.config.ranges import one_of, unbounded

CHOSEN, REJECTED = "chosen", "rejected"
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
ROLES = {
    SYSTEM: SYSTEM,
    **dict.fromkeys((USER, "human", "prompter"), USER),
    **dict.fromkeys((ASSISTANT, "gpt", "chatgpt", "bot", "model"), ASSISTANT),
}
"""Role names that are known without `roles` -> whose turn it is."""
MESSAGE_KEYS = (("role", "content"), ("from", "value"))
"""Fields of a message that are known: whose it is, and what it says."""


@dataclass
class CompletionPaths:
    """One completion of a record, or with `*` in `text` as many as the list has items: all paths with `*` go together.

    Attributes:
        text: PATH of the answer: a text, a message, or a conversation that ends in the answer.
        side: What the data says it is: `chosen` or `rejected`; without `score` that is a score of 1 or 0, with it
            scores that contradict the sides are counted.
        score: SCORE that becomes the overall score.
        model: PATH of who wrote it.
        critique: PATH of a text about it.
        ratings: Name of an aspect -> SCORE; `data.aspects` says which of them are read.
    """

    text: str
    side: Optional[str] = one_of(CHOSEN, REJECTED, default=None)
    score: Optional[str] = unbounded(default=None)
    model: Optional[str] = unbounded(default=None)
    critique: Optional[str] = unbounded(default=None)
    ratings: dict[str, str] = field(default_factory=dict)


@dataclass
class Layout:
    r"""Where in a raw record everything is.

    Attributes:
        prompt: PATH of the prompt: a text, a message or a conversation that ends in the user's message. Null, or
            `PATH or none` where a record has no such field: the turns before the answers, the same for all of them.
        system: PATH of a system turn; null for none beside that of a conversation.
        source: PATH of which dataset the prompt is from; null where unknown.
        completions: At least one. Where it is one without `*`, records with the same prompt belong together.
        roles: Further names of roles -> system, user or assistant; see `ROLES` for those that are known.
        role_key: Field of a message that says whose it is; null for `role`, or `from` beside `value`.
        content_key: Field of a message that has its text or parts; null for `content`, or `value` beside `from`.
        speakers: Of texts that are transcripts: user and assistant -> the mark before each one's turns, such as
            "\n\nHuman:". Empty where a text is a text.
        common_beginning: Whether the prompt of a record without the field `prompt`, whose answers all are texts, is
            what these begin with in common, as TRL does it.
    """

    prompt: Optional[str]
    system: Optional[str]
    source: Optional[str]
    completions: list[CompletionPaths]
    roles: dict[str, str] = one_of(SYSTEM, USER, ASSISTANT)
    role_key: Optional[str]
    content_key: Optional[str]
    speakers: dict[str, str]
    common_beginning: bool = unbounded(since=False, default=False)
