"""Chat models behind any OpenAI-compatible endpoint: hosted, vLLM, `transformers serve`, llama.cpp.

The official client repeats requests after 408, 409, 429, 5xx, time-outs and broken connections, with exponential
backoff, jitter and the server's Retry-After. What it does not repeat, and this file does with the same backoff, is a
success whose body is no answer: malformed JSON, wrong keys, no choices.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from functools import cached_property
from http import HTTPStatus
from typing import Any, Self, cast

from openai import APIConnectionError, APIStatusError, APITimeoutError, AsyncOpenAI
from pydantic import BaseModel, Field, ValidationError

from notus_exp.chat.messages import Messages, OnDiscarded, Reply, Unanswered
from notus_exp.errors import UserError

BACKOFF_SECONDS, MOST_BACKOFF_SECONDS, JITTER = 0.5, 8.0, 0.25
"""The official client's: the first wait, doubled each time up to the most, each cut by up to a quarter."""
NO_KEY = "none"
"""Sent to an endpoint of one's own where no key is set: most ignore it, and the client wants one."""
SHOWN_CHARACTERS = 300
"""Of a server's own error message."""
SECRET_CHARACTERS = 8
"""A shorter key is a placeholder ("EMPTY", "x") of an endpoint that needs none; striking it out would spoil words."""
STRUCK, LONE_SURROGATE = "***", re.compile("[\ud800-\udfff]")


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
    prompt_tokens: int = Field(gt=0)
    completion_tokens: int = Field(ge=0)


class _Completion(BaseModel):
    """What is read of a body. The client's own type accepts bodies that lack anything."""

    model: str
    choices: list[_Choice] = Field(min_length=1)


class OpenAIChat:
    """Asks one model at one endpoint; an async context manager, which closes the connections.

    The key is read from the environment at the first request. It is in no attribute that `repr` shows, no exception
    and no log.

    Args:
        model: Name of the model, as the endpoint knows it.
        base_url: Such as http://127.0.0.1:8000/v1; None for OpenAI's own.
        api_key_env: Environment variable with the key.
        timeout: Seconds without a byte after which a request counts as lost.
        max_retries: How often a request is repeated at most.
        max_tokens: Tokens written at most.
        temperature: 0 decodes greedily.
        seed: Sent where given.
        top_logprobs: Likeliest first tokens to ask for; None for none.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None,
        api_key_env: str,
        timeout: float,
        max_retries: int,
        max_tokens: int,
        temperature: float,
        seed: int | None,
        top_logprobs: int | None = None,
    ) -> None:
        self._base_url, self._api_key_env = base_url, api_key_env
        self._timeout, self._max_retries = timeout, max_retries
        self._parameters: dict[str, Any] = {"model": model, "max_tokens": max_tokens, "temperature": temperature}
        if seed is not None:
            self._parameters["seed"] = seed
        if top_logprobs is not None:
            self._parameters |= {"logprobs": True, "top_logprobs": top_logprobs}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        if "_client" in self.__dict__:
            await self._client.close()

    async def ask(self, messages: Messages, on_discarded: OnDiscarded | None = None) -> Reply:
        """Return the model's answer.

        Args:
            messages: The chat.
            on_discarded: Awaited for every success whose body is no answer, before the request is repeated: the
                endpoint charges for it.

        Raises:
            Unanswered: No valid answer came in `max_retries` repetitions.
            UserError: The key is missing or refused (401, 403), or there is no such model or address (404).
        """
        left = self._max_retries  # repetitions, the client's and ours together
        while True:
            body, taken = await self._request(messages, left)
            try:
                return read_body(body, self._client.api_key)
            except ValueError as error:
                left -= taken + 1
                if on_discarded:
                    await on_discarded(*discarded_usage(body), again=left >= 0)
                if left < 0:
                    raise Unanswered(str(error)) from None
            await asyncio.sleep(backoff(self._max_retries - left - 1))

    @cached_property
    def _client(self) -> AsyncOpenAI:
        key = _key(self._api_key_env, self._base_url)
        return AsyncOpenAI(api_key=key, base_url=self._base_url, timeout=self._timeout, max_retries=self._max_retries)

    async def _request(self, messages: Messages, retries: int) -> tuple[str, int]:
        """Return the body of a success and how often the client repeated the request for it."""
        client = self._client if retries == self._max_retries else self._client.with_options(max_retries=retries)
        create = client.chat.completions.with_raw_response.create
        try:
            raw = await create(messages=cast(Any, messages), **self._parameters)
        except APIStatusError as error:
            # `from None`: what it was raised from holds the request, whose headers hold the key.
            raise self._refused(error) from None
        except APITimeoutError:
            raise Unanswered(f"no answer within {self._timeout:g} s") from None
        except APIConnectionError as error:
            raise Unanswered(f"the connection failed ({type(error.__cause__).__name__})") from None
        except UnicodeEncodeError:
            raise Unanswered("the prompt has characters that UTF-8 cannot write (lone surrogates)") from None
        return raw.http_response.text, raw.retries_taken

    def _refused(self, error: APIStatusError) -> Exception:
        status = error.status_code
        where = self._base_url or "the default endpoint"
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):  # a server may say the key: its text is not shown
            return UserError(
                f"{where} refuses the key of the environment variable {self._api_key_env} (status {status})",
                f"set {self._api_key_env} to a key that may use the model {self._parameters['model']!r}",
            )
        key = self._client.api_key
        said = _on_one_line(error.response.text if key == NO_KEY else error.response.text.replace(key, "***"))
        if status == HTTPStatus.NOT_FOUND:
            return UserError(
                f"{where} has no model {self._parameters['model']!r}, or no such address: {said}",
                "check the model's name and base_url (most end in /v1)",
            )
        return Unanswered(f"status {status}: {said}")


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
    prompt_tokens, completion_tokens = _usage(content) or (0, 0)
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
        return LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", _struck(value, key))
    if isinstance(value, list):
        return [_cleaned(one, key) for one in value]
    if isinstance(value, dict):
        return {name: _cleaned(one, key) for name, one in value.items()}
    return value


def _struck(text: str, key: str) -> str:
    return text if len(key) < SECRET_CHARACTERS else text.replace(key, STRUCK)


def _usage(content: Any) -> tuple[int, int] | None:
    """Return the tokens read and written that a parsed body tells; None where it does not tell both."""
    try:
        usage = _Usage.model_validate(content["usage"])
    except (ValidationError, LookupError, TypeError):
        return None
    return usage.prompt_tokens, usage.completion_tokens


def backoff(repetition: int) -> float:
    """Return how many seconds to wait before a repetition, counted from 0."""
    longest: float = min(BACKOFF_SECONDS * 2**repetition, MOST_BACKOFF_SECONDS)
    return longest * (1 - JITTER * random.random())


def _key(variable: str, base_url: str | None) -> str:
    key = os.environ.get(variable, "").strip()
    if not key and base_url is None:
        raise UserError(
            f"the environment variable {variable} with the key is not set",
            f"export {variable}=..., or give the base_url of an endpoint that needs none",
        )
    if not (key.isascii() and key.isprintable()):  # the transport's own error would show it
        raise UserError(f"the environment variable {variable} has characters that no key has", "set it anew")
    return key or NO_KEY


def _on_one_line(text: str) -> str:
    return " ".join(text.split())[:SHOWN_CHARACTERS]
