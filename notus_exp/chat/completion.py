"""What a chat completion's body says, read strictly: a body that lacks something is no answer."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from notus_exp.chat.messages import Reply
from notus_exp.errors import without_secret

NO_KEY = "none"
"""Sent to an endpoint of one's own where no key is set: most ignore it."""
MOST_TOKENS = 10_000_000
"""Of one request or answer; no model reads more, and a server that tells more has not counted."""
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class _Likely(BaseModel):
    token: str
    logprob: float


class _Position(BaseModel):
    top_logprobs: list[_Likely]


class _Logprobs(BaseModel):
    content: list[_Position] | None = None


class _Message(BaseModel):
    content: str | None  # the key must be there: an answer without it is no answer


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(gt=0, le=MOST_TOKENS)
    completion_tokens: int = Field(ge=0, le=MOST_TOKENS)


class _Completion(BaseModel):
    """What is read of a body."""

    model: str
    choices: list[_Choice] = Field(min_length=1)


def read_body(body: str, key: str = NO_KEY) -> Reply:
    """Return the answer that a response's body holds, with U+FFFD for lone surrogates, which no file can hold.

    Args:
        body: JSON.
        key: What the request was allowed with: a server that repeats it gets "***" in its place.

    Raises:
        ValueError: It is no JSON, lacks a key, or has no choice; the message says which.
    """
    content = _parsed(body, key)
    try:
        completion = _Completion.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise ValueError(f"the answer is not a chat completion: {place}: {first['msg']}") from None
    choice = completion.choices[0]
    prompt_tokens, completion_tokens = _usage(content) or (None, None)
    positions = choice.logprobs.content if choice.logprobs else None
    return Reply(
        text=choice.message.content or "",
        top_logprobs=[(likely.token, likely.logprob) for likely in positions[0].top_logprobs] if positions else None,
        snapshot=completion.model,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        finish_reason=choice.finish_reason or "",
    )


def discarded_usage(body: str) -> tuple[int, int] | tuple[None, None]:
    """Return the tokens read and written that a body tells which is no answer; None where it does not tell both."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None, None
    return _usage(content) or (None, None)


def _parsed(body: str, key: str) -> Any:
    # The standard parser: pydantic's refuses lone surrogates, which a text cut in the middle of an emoji ends with.
    try:
        return _cleaned(json.loads(body), key)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise ValueError(f"the answer is not a chat completion: the body: {reason}") from None


def _cleaned(value: Any, key: str) -> Any:
    if isinstance(value, str):
        return LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", without_secret(value, key))
    if isinstance(value, list):
        return [_cleaned(one, key) for one in value]
    if isinstance(value, dict):
        return {name: _cleaned(one, key) for name, one in value.items()}
    return value


def _usage(content: Any) -> tuple[int, int] | None:
    """Return the tokens read and written that a parsed body tells; None where it does not tell both."""
    try:
        usage = _Usage.model_validate(content["usage"])
    except (ValidationError, LookupError, TypeError):
        return None
    return usage.prompt_tokens, usage.completion_tokens
